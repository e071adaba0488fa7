//! What ten meters of a site show: three-phase quantities that hang together, at their registers' resolution.
//!
//! Mains voltage and frequency wander slowly (AR(1)) and are the same for all meters; loads go on and off, and their
//! currents are noisy; powers follow from them, and energies add them up. Four offices, three motors, two that idle,
//! one main. Made anew from the same seed each time.

use linesman::model::{Decimal, DeviceInfo, Name, PointInfo, Reading, Site, Timestamp, Value};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

pub const METERS: usize = 10;
pub const EVERY: Duration = Duration::from_secs(10);

/// Name, quantity, unit, resolution as a power of ten, range.
type Point = (&'static str, &'static str, &'static str, i32, (&'static str, &'static str));

pub const POINTS: [Point; 30] = [
    ("voltage_l1", "voltage", "V", -1, ("0", "300")),
    ("voltage_l2", "voltage", "V", -1, ("0", "300")),
    ("voltage_l3", "voltage", "V", -1, ("0", "300")),
    ("current_l1", "current", "A", -3, ("0", "100")),
    ("current_l2", "current", "A", -3, ("0", "100")),
    ("current_l3", "current", "A", -3, ("0", "100")),
    ("power_l1", "active-power", "W", 0, ("-25000", "25000")),
    ("power_l2", "active-power", "W", 0, ("-25000", "25000")),
    ("power_l3", "active-power", "W", 0, ("-25000", "25000")),
    ("power", "active-power", "W", 0, ("-75000", "75000")),
    ("reactive_l1", "reactive-power", "var", 0, ("-25000", "25000")),
    ("reactive_l2", "reactive-power", "var", 0, ("-25000", "25000")),
    ("reactive_l3", "reactive-power", "var", 0, ("-25000", "25000")),
    ("reactive", "reactive-power", "var", 0, ("-75000", "75000")),
    ("apparent_l1", "apparent-power", "VA", 0, ("0", "25000")),
    ("apparent_l2", "apparent-power", "VA", 0, ("0", "25000")),
    ("apparent_l3", "apparent-power", "VA", 0, ("0", "25000")),
    ("apparent", "apparent-power", "VA", 0, ("0", "75000")),
    ("power_factor_l1", "power-factor", "1", -3, ("-1", "1")),
    ("power_factor_l2", "power-factor", "1", -3, ("-1", "1")),
    ("power_factor_l3", "power-factor", "1", -3, ("-1", "1")),
    ("frequency", "frequency", "Hz", -2, ("45", "65")),
    ("thd_voltage_l1", "thd", "%", -1, ("0", "100")),
    ("thd_voltage_l2", "thd", "%", -1, ("0", "100")),
    ("thd_voltage_l3", "thd", "%", -1, ("0", "100")),
    ("thd_current_l1", "thd", "%", -1, ("0", "100")),
    ("thd_current_l2", "thd", "%", -1, ("0", "100")),
    ("thd_current_l3", "thd", "%", -1, ("0", "100")),
    ("energy_import", "active-energy", "kWh", -2, ("0", "1000000")),
    ("reactive_energy_import", "reactive-energy", "kvarh", -2, ("0", "1000000")),
];

pub fn site() -> Result<Site, Box<dyn Error>> {
    let mut points = Vec::new();
    for (name, quantity, unit, resolution, (least, most)) in POINTS {
        points.push(PointInfo {
            name: name.parse()?,
            unit: unit.to_owned(),
            quantity: quantity.to_owned(),
            phase: None,
            direction: None,
            resolution: Some(Decimal::new(1, resolution)),
            range: Some((least.parse()?, most.parse()?)),
            index: quantity.ends_with("energy"),
            form: Default::default(),
        });
    }
    let points: Arc<[PointInfo]> = points.into();
    let mut devices = Vec::new();
    for (meter, unit) in (0..METERS).zip(1u8..) {
        devices.push(DeviceInfo {
            name: format!("meter{:02}", meter + 1).parse()?,
            line: "rs485-1".parse()?,
            unit,
            profile: "reference".to_owned(),
            vendor: "none".to_owned(),
            model: "reference".to_owned(),
            identity: None,
            every: EVERY,
            points: Arc::clone(&points),
        });
    }
    Ok(Site { gateway: "plant-7".parse()?, config_hash: "00000000".to_owned(), devices })
}

/// Loads that go on and off, each with its current in A, its power factor, and how long it stays as it is, in s.
struct Load {
    amperes: f64,
    factor: f64,
    dwell: f64,
    phase: usize,
    on: bool,
}

struct Meter {
    name: Name,
    loads: Vec<Load>,
    /// Of the current, as a share of it, and in A.
    noise: (f64, f64),
    energy: (f64, f64),
    level: [f64; 3],
}

pub struct Plant {
    meters: Vec<Meter>,
    names: Vec<Name>,
    random: fastrand::Rng,
    volts: [f64; 3],
    hertz: f64,
    ts: i64,
}

impl Plant {
    /// `busy`: the share of the loads that are on, by the hour of the day.
    pub fn new(site: &Site, busy: f64, seed: u64) -> Plant {
        let mut random = fastrand::Rng::with_seed(seed);
        let names = site.devices[0].points.iter().map(|point| point.name.clone()).collect();
        let meters = site.devices.iter().enumerate();
        let meters =
            meters.map(|(n, device)| Meter::new(device.name.clone(), n, busy, &mut random)).collect();
        Plant { meters, names, random, volts: [0.0; 3], hertz: 0.0, ts: 1_763_766_000_000 }
    }

    /// One poll of every meter.
    pub fn poll(&mut self) -> Vec<Reading> {
        for volts in &mut self.volts {
            *volts = 0.97 * *volts + 0.15 * gauss(&mut self.random);
        }
        self.hertz = 0.98 * self.hertz + 0.004 * gauss(&mut self.random);
        let mut readings = Vec::new();
        for n in 0..self.meters.len() {
            // A meter's turn comes 0.9 s after the one before, and its answer 5 to 100 ms after the question.
            let ts = self.ts + 900 * n as i64 + self.random.i64(0..40);
            let values = self.meters[n].poll(self.volts, self.hertz, &mut self.random);
            let samples = self.names.iter().zip(POINTS).zip(values);
            let samples = samples.map(|((name, point), value)| (name.clone(), Ok(at(value, point.3))));
            readings.push(Reading {
                device: self.meters[n].name.clone(),
                ts: Timestamp(ts),
                took: Duration::from_millis(350),
                clock_unsure: false,
                boot: None,
                samples: samples.collect(),
            });
        }
        self.ts += 10_000;
        readings
    }
}

impl Meter {
    fn new(name: Name, n: usize, busy: f64, random: &mut fastrand::Rng) -> Meter {
        // How many loads, up to which current, power factor, dwell, noise.
        let (count, amperes, factor, dwell, noise) = match n {
            0..=3 => (12, 4.0, 0.93, 600.0, (0.008, 0.004)),
            4..=6 => (3, 22.0, 0.82, 900.0, (0.006, 0.01)),
            7..=8 => (2, 0.15, 0.55, 3600.0, (0.0, 0.002)),
            _ => (30, 8.0, 0.9, 900.0, (0.005, 0.02)),
        };
        let mut loads = Vec::new();
        for load in 0..count {
            loads.push(Load {
                amperes: amperes * (0.3 + 0.7 * random.f64()),
                factor,
                dwell,
                phase: load % 3,
                on: random.f64() < busy,
            });
        }
        let energy = (10_000.0 * random.f64(), 3_000.0 * random.f64());
        Meter { name, loads, noise, energy, level: [0.0; 3] }
    }

    fn poll(&mut self, volts: [f64; 3], hertz: f64, random: &mut fastrand::Rng) -> Vec<f64> {
        for load in &mut self.loads {
            if random.f64() < EVERY.as_secs_f64() / load.dwell {
                load.on = !load.on;
            }
        }
        let mut by_phase = [[0.0f64; 7]; 3];
        for phase in 0..3 {
            let running = self.loads.iter().filter(|load| load.on && load.phase == phase);
            let (mut amperes, mut active) = (0.02, 0.01);
            for load in running {
                amperes += load.amperes;
                active += load.amperes * load.factor;
            }
            self.level[phase] = 0.9 * self.level[phase] + self.noise.0 * gauss(random) * 0.5;
            let share = 1.0 + self.level[phase] + self.noise.0 * gauss(random);
            let factor = (active / amperes + 0.002 * gauss(random)).clamp(0.05, 1.0);
            let amperes = (amperes * share + self.noise.1 * gauss(random)).max(0.0);
            // The wiring between the transformer and this meter.
            let volts = 231.0 + phase as f64 * 0.7 + volts[phase] - 0.02 * amperes + 0.03 * gauss(random);
            let apparent = volts * amperes;
            let active = apparent * factor;
            let reactive = (apparent * apparent - active * active).max(0.0).sqrt();
            let thd = 2.1 + 0.04 * gauss(random);
            by_phase[phase] = [volts, amperes, active, reactive, apparent, factor, thd];
            self.energy.0 += active / 1000.0 * EVERY.as_secs_f64() / 3600.0;
            self.energy.1 += reactive / 1000.0 * EVERY.as_secs_f64() / 3600.0;
        }
        let each = |what: usize| by_phase.map(|phase| phase[what]);
        let with_sum = |what: usize| {
            let [a, b, c] = each(what);
            [a, b, c, a + b + c]
        };
        let mut values = Vec::with_capacity(POINTS.len());
        values.extend(each(0));
        values.extend(each(1));
        for what in [2, 3, 4] {
            values.extend(with_sum(what));
        }
        values.extend(each(5));
        values.push(50.0 + hertz);
        values.extend(each(6));
        values.extend((0..3).map(|_| 14.0 + 0.12 * gauss(random)));
        values.extend([self.energy.0, self.energy.1]);
        values
    }
}

fn gauss(random: &mut fastrand::Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

/// As the register has it.
fn at(value: f64, resolution: i32) -> Value {
    let steps = (value / 10f64.powi(resolution)).round();
    Value::Number(Decimal::new(steps as i128, resolution))
}
