//! Compact batches in a session's lanes: what was sampled every so often in `P/b`, a publish for many records.
//!
//! In the window a batch stands under its last position, and its lane is settled up to there: so one acknowledgement settles
//! all of it. Live records are taken out of the spool when their batch is due and hardly before, so what waits, waits in
//! the spool; history has waited long enough and goes as fast as it may. A batch holds records of one lane, and live ones
//! or such from the backlog, never both; it ends where a record can't be read, which is given up by name, or where
//! one may yet be dated. After a break the same records may be cut into other batches; each still has its (`epoch`, `seq`).

use super::config::Config;
use super::lane::Lane;
use super::session::{Ended, Session};
use super::trials::Span;
use super::window::What;
use crate::encode::batch::{self, Options, Schema};
use crate::encode::{Encoding, Number, Numbered};
use crate::model::{Reading, Site};
use crate::record;
use crate::spool::Stored;
use crate::uplink::Policy;
use crate::upstream::witness::number_of;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A record out of the spool; `None` where it could not be read.
struct Piece {
    position: u64,
    ts_ms: i64,
    read: Option<(Reading, Number)>,
}

impl Piece {
    fn of(stored: &Stored) -> Piece {
        let read = match record::decode(&stored.octets) {
            Ok(reading) => Some((reading, number_of(stored))),
            Err(error) => {
                tracing::warn!(position = stored.position, %error, "record given up");
                None
            }
        };
        Piece { position: stored.position, ts_ms: stored.ts_ms, read }
    }
}

/// What was taken out of a lane for its next batch.
#[derive(Default)]
struct Pile {
    pieces: VecDeque<Piece>,
    values: usize,
}

impl Pile {
    fn put(&mut self, piece: Piece) {
        self.values += piece.read.as_ref().map_or(0, |(reading, _)| reading.samples.len());
        self.pieces.push_back(piece);
    }

    fn drop_first(&mut self, count: usize) {
        for piece in self.pieces.drain(..count.min(self.pieces.len())) {
            let values = piece.read.map_or(0, |(reading, _)| reading.samples.len());
            self.values = self.values.saturating_sub(values);
        }
    }

    fn is_full(&self) -> bool {
        self.values >= batch::MOST_VALUES || self.pieces.len() >= batch::MOST_READINGS
    }

    /// Takes out of the lane what a batch may hold, up to a position; `true` when a batch can be made: it is full, or
    /// there is no more up to there.
    fn gather(&mut self, lane: &mut Lane, upto: u64) -> bool {
        loop {
            if self.is_full() {
                return true;
            }
            match lane.front().map(|stored| stored.position) {
                Some(position) if position <= upto => {
                    if let Some(stored) = lane.take() {
                        self.put(Piece::of(&stored));
                    }
                }
                Some(_) => return true,
                None => return lane.has_taken(upto),
            }
        }
    }
}

/// What a session knows of its batches.
pub(super) struct Batches {
    /// None where a layout packs readings in its own way.
    options: Option<Options>,
    every: Duration,
    /// As configured, where the path says nothing.
    plain: Duration,
    schema: Option<Schema>,
    live: Pile,
    history: Pile,
    /// Fresh records are put into batches up to this position.
    upto: Option<u64>,
    due: Instant,
    /// The first position of each batch in flight, by its last.
    spans: BTreeMap<u64, u64>,
}

impl Batches {
    /// `None` where each reading is a message. Where there is no backlog lane, what waits has waited long enough.
    pub(super) fn of(config: &Config, site: &Site, strict: bool) -> Option<Batches> {
        let options =
            if let Encoding::Batch(options) = &config.encoding { Some(options.clone()) } else { None };
        if options.is_none() && !config.layout.packs() {
            return None;
        }
        let (now, every) = (Instant::now(), config.batch_every);
        Some(Batches {
            every,
            plain: every,
            schema: options.as_ref().map(|options| Schema::unpublished(site, options)),
            options,
            live: Pile::default(),
            history: Pile::default(),
            upto: None,
            due: if strict { now } else { now + every },
            spans: BTreeMap::new(),
        })
    }

    /// Meta has been said of this site, or was too large to be.
    pub(super) fn describe(&mut self, site: &Site, said: bool) {
        let make = if said { Schema::of } else { Schema::unpublished };
        self.schema = self.options.as_ref().map(|options| make(site, options));
    }

    /// The lanes begin anew, and nothing is in flight.
    pub(super) fn start_over(&mut self) {
        (self.live, self.history) = (Pile::default(), Pile::default());
        self.spans.clear();
    }

    /// Nothing waits for its batch here.
    pub(super) fn is_empty(&self) -> bool {
        self.live.pieces.is_empty() && self.history.pieces.is_empty()
    }

    /// The path may want them less often, or more; what is due by now stays so.
    fn follow(&mut self, policy: &Policy) {
        let every = policy.batch.unwrap_or(self.plain);
        if every != self.every {
            let (now, shorter) = (Instant::now(), every < self.every);
            self.every = every;
            if self.due > now {
                self.due = if shorter { self.due.min(now + every) } else { self.due.max(now + every) };
            }
        }
    }

    /// How long a live record waits for its batch.
    pub(super) fn every(&self) -> Duration {
        self.every
    }

    /// When the oldest live record that waits here was stamped.
    pub(super) fn oldest_live(&self) -> Option<i64> {
        self.live.pieces.front().map(|piece| piece.ts_ms)
    }

    /// The first position of each batch in flight, by its last.
    pub(super) fn spans(&self) -> &BTreeMap<u64, u64> {
        &self.spans
    }
}

impl Session<'_> {
    /// The positions that the publish under this one stands for.
    pub(super) fn span_of(&self, position: u64) -> Span {
        let first = self.batches.as_ref().and_then(|batches| batches.spans.get(&position));
        first.copied().unwrap_or(position)..=position
    }

    /// Makes batches while the window has room; `Err` is trouble. When there is something to wait for: until when.
    pub(super) fn fill_batches(&mut self, batches: &mut Batches) -> Result<Option<Instant>, Ended> {
        let policy = self.policy();
        batches.follow(&policy);
        if let Some(stopping) = self.stopping.filter(|stopping| !stopping.moving) {
            batches.upto = Some(stopping.upto);
        } else if batches.upto.is_none() && Instant::now() >= batches.due {
            batches.upto = Some(self.work.reader.head());
        }
        let mut wake = batches.upto.is_none().then_some(batches.due);
        if self.live.is_some()
            && policy.allow.live
            && let Some(upto) = batches.upto
            && self.drain_live(batches, upto)?
        {
            self.had_all(batches);
        }
        let held = self.drain_history(batches)?;
        if let Some(until) = held {
            wake = Some(wake.map_or(until, |wake| wake.min(until)));
        }
        Ok(wake)
    }

    /// All fresh records are in batches: when the next one is due.
    fn had_all(&self, batches: &mut Batches) {
        if self.stopping.is_none() {
            (batches.upto, batches.due) = (None, Instant::now() + batches.every);
        }
    }

    /// `true` when nothing is left up to there.
    fn drain_live(&mut self, batches: &mut Batches, upto: u64) -> Result<bool, Ended> {
        while self.has_room() && !self.recut {
            if !self.live.as_mut().is_some_and(|live| batches.live.gather(live, upto)) {
                return Ok(false);
            }
            if batches.live.pieces.is_empty() {
                return Ok(true);
            }
            let mut pile = std::mem::take(&mut batches.live);
            let handed = self.hand_over_batch(batches, &mut pile, false);
            batches.live = pile;
            handed?;
        }
        Ok(false)
    }

    /// The backlog, or all there is in strict order; until when it has to wait.
    fn drain_history(&mut self, batches: &mut Batches) -> Result<Option<Instant>, Ended> {
        let beside_live = self.live.is_some();
        // A backlog beside live records has a bound of its own.
        let Some(upto) = (if beside_live { Some(u64::MAX) } else { batches.upto }) else { return Ok(None) };
        let room = |session: &Self| match beside_live {
            true => session.window.has_room_for_history(),
            false => session.window.has_room(),
        };
        let live = self.policy().allow.live;
        while room(self) && !self.recut && !self.is_moving() {
            if !batches.history.gather(&mut self.history, upto) {
                return Ok(None);
            }
            let Some(first) = batches.history.pieces.front() else {
                if !beside_live {
                    self.had_all(batches);
                    return Ok(batches.upto.is_none().then_some(batches.due));
                }
                return Ok(None);
            };
            let is_backlog = first.position <= self.backlog_upto;
            if let Some(until) = self.backlog_waits(is_backlog, Instant::now()) {
                return Ok(Some(until));
            }
            if !is_backlog && !live {
                return Ok(None);
            }
            if let Some(until) = self.held(first) {
                return Ok(Some(until));
            }
            let mut pile = std::mem::take(&mut batches.history);
            let handed = self.hand_over_batch(batches, &mut pile, is_backlog);
            batches.history = pile;
            handed?;
        }
        Ok(None)
    }

    /// Until when a record of the backlog waits because it may yet be dated.
    fn held(&self, piece: &Piece) -> Option<Instant> {
        let (reading, _) = piece.read.as_ref()?;
        self.hold(|dating| dating.may_yet_date(reading))
    }

    /// One batch out of the pile, or one record that can't be in any.
    fn hand_over_batch(&mut self, batches: &mut Batches, pile: &mut Pile, paced: bool) -> Result<(), Ended> {
        let dating = self.work.dating.borrow().clone();
        for (reading, _) in pile.pieces.iter_mut().filter_map(|piece| piece.read.as_mut()) {
            dating.date(reading);
        }
        let Some(Piece { position, read, .. }) = pile.pieces.front() else { return Ok(()) };
        let position = *position;
        let Some((first, _)) = read else {
            self.window.given_up(position, "undecodable", Instant::now());
            pile.drop_first(1);
            return Ok(());
        };
        let live = self.is_live(position, first);
        let readings: Vec<Numbered<'_>> = pile
            .pieces
            .iter()
            .take_while(|piece| piece.position == position || !paced || self.held(piece).is_none())
            .map_while(|piece| piece.read.as_ref().map(|(reading, number)| (piece, reading, *number)))
            .take_while(|(piece, reading, _)| self.is_live(piece.position, reading) == live)
            .map(|(_, reading, number)| Numbered { reading, number })
            .collect();
        let site = Arc::clone(&self.work.site.borrow());
        let topic = self.speaker(&site).batch_topic(live);
        let room = self.room(&topic);
        let encoded = match &batches.schema {
            Some(schema) => batch::encode(&readings, schema, !live, room),
            None => self.speaker(&site).pack(&readings, room),
        };
        match encoded {
            Ok(payload) => {
                let now = Instant::now();
                (0..payload.taken).filter(|_| paced).for_each(|_| self.pace.take(now));
                let last = payload.taken.checked_sub(1).and_then(|last| pile.pieces.get(last));
                let upto = last.map_or(position, |piece| piece.position);
                let sent = pile.pieces.iter().take(payload.taken).map(|piece| piece.position);
                let span = self.goes_together(sent.collect()).unwrap_or(position..=upto);
                pile.drop_first(payload.taken);
                self.publish_batch(batches, span, &topic, payload.octets)
            }
            Err(why) => {
                tracing::warn!(upstream = %self.work.name, position, %why, "record given up");
                self.window.given_up(position, why.word(), Instant::now());
                pile.drop_first(1);
                Ok(())
            }
        }
    }

    /// Where not everything goes, positions neither follow each other nor always rise.
    fn goes_together(&mut self, positions: Vec<u64>) -> Option<Span> {
        let (first, last) = (*positions.iter().min()?, *positions.iter().max()?);
        let lane = self.live.as_mut().filter(|_| last >= self.live_from).unwrap_or(&mut self.history);
        lane.sieve()?.goes_together(last, positions);
        Some(first..=last)
    }

    fn publish_batch(
        &mut self,
        batches: &mut Batches,
        span: Span,
        topic: &str,
        octets: Vec<u8>,
    ) -> Result<(), Ended> {
        let open = self.window.records();
        batches.spans.retain(|upto, _| open.contains(upto));
        batches.spans.insert(*span.end(), *span.start());
        self.publish(What::Record(*span.end()), topic, false, octets)
    }

    /// Sends records that are suspected, and nothing else, in one batch; those that do not fit into it stay suspected.
    pub(super) fn hand_over_alone(&mut self, suspects: &[Stored]) -> Result<(), Ended> {
        let Some(mut batches) = self.batches.take() else {
            return suspects.first().map_or(Ok(()), |stored| self.hand_over(stored));
        };
        let mut pile = Pile::default();
        suspects.iter().for_each(|stored| pile.put(Piece::of(stored)));
        let handed = self.hand_over_batch(&mut batches, &mut pile, false);
        self.batches = Some(batches);
        if let Some(rest) = pile.pieces.front() {
            self.trials.part(rest.position);
        }
        handed
    }
}
