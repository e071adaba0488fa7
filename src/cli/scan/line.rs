//! A scan of a serial line: listen, then ask, or listen on.

use super::identify::{self, Identified};
use super::{Context, fit};
use crate::bus::capture::Tap;
use crate::bus::scan::{
    Eavesdropper, End, Exchanged, Found, How, Lane, Pastime, Progress, SerialPorts, Settings, Sweep, Watch,
    Wishes, sweep,
};
use crate::bus::{self, Failure, Field, LineConfig, PortConfig, SerialConfig};
use crate::model::{Name, Sample};
use crate::normalize;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(80);
/// At each of the settings, as long as nothing is understood: what is said once a second is heard.
const TUNING: Duration = Duration::from_millis(1500);

type Line = Lane<SerialPorts>;

pub(super) fn scan(port: &str, context: &mut Context<'_>) -> Result<(End, Pastime), Failure> {
    let arguments = context.arguments;
    let settings = arguments.settings();
    let mut wishes = Wishes::new(&arguments.units.0, &settings, &context.library);
    wishes.thorough = arguments.thorough;
    let mut lane = open(port, context);
    let mut ear = Eavesdropper::default();
    let span = if arguments.listen_only { arguments.listen_for } else { arguments.listen };
    let at = listen(&mut lane, &wishes.settings, span, &mut ear, context)?;
    let masters = ear.heard.is_understood() && ear.heard.questions > 0;
    match (at, arguments.listen_only) {
        (Some(settings), _) if masters && !arguments.talk_anyway => {
            context.screen.say(&format_args!(
                "{port}: another master is talking here at {settings}; only listening, for at most {} \
                 (--talk-anyway asks all the same)",
                super::screen::time(arguments.listen_for)
            ));
            overhear(port, &mut lane, settings, ear, context)
        }
        (_, true) => Ok((end(context), conclude(port, at, &ear, context))),
        _ => {
            if ear.heard.octets > 0 && !masters {
                context.screen.say(&format_args!(
                    "{port}: {} octets came that are no frames at any of the settings: noise (is the line biased?), \
                     or another master of another kind",
                    ear.heard.octets
                ));
            }
            ask(port, &mut lane, wishes, context)
        }
    }
}

fn open(port: &str, context: &Context<'_>) -> Line {
    let (capture, name) = (context.capture.clone(), name_of(port));
    let taps = move |serial: &SerialConfig| {
        let (name, port) = (name.clone(), PortConfig::Serial(serial.clone()));
        let line = LineConfig { name, port, devices: Vec::new(), max_probe: bus::MAX_PROBE };
        capture.as_ref().map_or_else(Tap::none, |capture| capture.tap(&line))
    };
    Lane::new(port, SerialPorts::new(Path::new(port), Box::new(taps), context.stop.clone()))
}

fn name_of(port: &str) -> Name {
    Name::from_host(&Path::new(port).file_name().unwrap_or_default().to_string_lossy())
}

fn end(context: &Context<'_>) -> End {
    if context.stop.is_cancelled() { End::Stopped } else { End::Done }
}

/// Listens at the likeliest settings, and where something is heard that is not understood at all others in turn: at
/// which it was understood.
fn listen(
    lane: &mut Line,
    settings: &[Settings],
    span: Duration,
    ear: &mut Eavesdropper,
    context: &mut Context<'_>,
) -> Result<Option<Settings>, Failure> {
    let mut left = span;
    let mut to_try: Vec<Settings> = settings.to_vec();
    while let (false, false) = (to_try.is_empty(), context.stop.is_cancelled()) {
        let at = to_try.remove(0);
        if !lane.switch(at)? {
            continue;
        }
        ear.begin_anew();
        let (before, silent) = (ear.heard.frames, ear.heard.octets == 0);
        let part = if silent { left.min(TUNING) } else { TUNING };
        lane.overhear(part, ear, &context.stop, &mut |_| {})?;
        left = left.saturating_sub(part);
        if ear.heard.frames > before + 1 {
            if ear.heard.questions == 0 {
                lane.overhear(left, ear, &context.stop, &mut |_| {})?;
            }
            return Ok(Some(at));
        }
        if ear.heard.octets == 0 {
            // Silence sounds the same at all of them.
            if left.is_zero() {
                return Ok(None);
            }
            to_try.insert(0, at);
        } else if context.arguments.listen_only && !left.is_zero() {
            to_try.push(at);
        }
    }
    Ok(None)
}

fn ask(
    port: &str,
    lane: &mut Line,
    wishes: Wishes,
    context: &mut Context<'_>,
) -> Result<(End, Pastime), Failure> {
    let task = Sweep {
        wishes,
        patience: context.arguments.timeout.unwrap_or(TIMEOUT),
        talk_anyway: context.arguments.talk_anyway,
        stop: context.stop.clone(),
    };
    let mut watching = Watching { port, context, left_out: Vec::new() };
    let (end, pastime) = sweep(lane, &task, &mut watching)?;
    if !watching.left_out.is_empty() {
        let all: Vec<String> = watching.left_out.iter().map(ToString::to_string).collect();
        context
            .screen
            .say(&format_args!("{port}: left out, since the driver does not keep them: {}", all.join(", ")));
    }
    if let End::AnotherMaster(settings) = end {
        context.screen.say(&format_args!(
            "{port}: another master has begun to talk at {settings}; only listening from now on"
        ));
        return overhear(port, lane, settings, Eavesdropper::default(), context)
            .map(|(end, _)| (end, pastime));
    }
    Ok((end, pastime))
}

struct Watching<'a, 'b> {
    port: &'a str,
    context: &'a mut Context<'b>,
    left_out: Vec<Settings>,
}

impl Watch<SerialPorts> for Watching<'_, '_> {
    fn found(&mut self, lane: &mut Line, found: Found) -> Result<(), Failure> {
        let cost = match (found.settings, found.how) {
            (Some(settings), _) => PortConfig::Serial(settings.of_port(Path::new(self.port))).wire_cost(),
            (None, _) => bus::WireCost::tcp(),
        };
        let identified = identify::identify(lane, found, cost, &self.context.library)?;
        self.context.tell(self.port, identified);
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        let found = self.context.found(self.port);
        self.context.screen.progress(progress, found);
    }

    fn seen_through(&mut self, settings: Settings) {
        self.context.screen.say(&format_args!(
            "{}: everybody has been asked at {settings}; going on with other settings (Ctrl-C ends with what is found)",
            self.port
        ));
    }

    fn left_out(&mut self, settings: Settings) {
        if !self.left_out.contains(&settings) {
            self.left_out.push(settings);
        }
    }
}

/// Only listens: who answers whom, and what those devices are.
fn overhear(
    port: &str,
    lane: &mut Line,
    settings: Settings,
    mut ear: Eavesdropper,
    context: &mut Context<'_>,
) -> Result<(End, Pastime), Failure> {
    let mut known: Vec<(u8, String)> = Vec::new();
    let stop = context.stop.clone();
    let screen = &mut context.screen;
    lane.switch(settings)?;
    lane.overhear(context.arguments.listen_for, &mut ear, &stop, &mut |heard: &Exchanged| {
        let what = (heard.unit, heard.span());
        if !known.contains(&what) {
            screen.say(&format_args!(
                "  overheard: unit {}, {}: {}",
                heard.unit,
                what.1,
                octets(&heard.reply)
            ));
            known.push(what);
        }
    })?;
    Ok((end(context), conclude(port, Some(settings), &ear, context)))
}

fn octets(reply: &Result<Vec<u8>, u8>) -> String {
    match reply {
        Ok(data) => data.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().join(" "),
        Err(code) => format!("refused with exception {code}"),
    }
}

/// What was overheard, told as devices.
fn conclude(
    port: &str,
    settings: Option<Settings>,
    ear: &Eavesdropper,
    context: &mut Context<'_>,
) -> Pastime {
    for (unit, registers) in &ear.heard.devices {
        let found = Found { settings, unit: *unit, how: How::Answered, latency: Duration::ZERO };
        let evidence =
            fit::Evidence { registers: registers.clone(), settings, unit: *unit, ..fit::Evidence::default() };
        let fits = fit::rank(&context.library, &evidence);
        let mut notes = vec!["overheard, not asked".to_owned()];
        notes.extend(fits.first().map(|fit| values(&fit.profile, &evidence)).filter(|text| !text.is_empty()));
        context.tell(port, Identified { found, evidence, fits, notes });
    }
    let silent: Vec<String> = ear
        .heard
        .asked
        .iter()
        .filter(|unit| !ear.heard.devices.contains_key(unit))
        .map(u8::to_string)
        .collect();
    if !silent.is_empty() {
        context
            .screen
            .say(&format_args!("{port}: asked by the other master, and silent: unit {}", silent.join(", ")));
    }
    Pastime::default()
}

/// What passed by, as this profile reads it.
fn values(profile: &crate::profile::Profile, evidence: &fit::Evidence) -> String {
    let fields = fit::fields(profile, &evidence.registers);
    let samples =
        fields.iter().zip(normalize::samples(profile, &fields)).filter(|(field, _)| field.octets.is_ok());
    let shown = |(_, (index, sample)): (&Field, (usize, Sample))| {
        let point = profile.points.get(index)?;
        Some(format!("{} {} {}", point.name, crate::cli::shown(&sample), point.unit).trim_end().to_owned())
    };
    samples.filter_map(shown).collect::<Vec<_>>().join(", ")
}
