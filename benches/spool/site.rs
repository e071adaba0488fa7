//! The reference site: 10 meters of 30 points, each every 10 s, every point with a resolution.

use linesman::model::{Decimal, Name, Reading, Timestamp, Value};
use std::error::Error;
use std::time::Duration;

pub const METERS: usize = 10;
pub const POINTS: usize = 30;
/// Records of a day.
pub const A_DAY: u64 = 86_400;
/// Records between two commits, 5 s apart.
pub const A_COMMIT: u64 = 5;
const START: i64 = 1_763_766_000_000;

/// How a point behaves: names, the exponent of its resolution, where it is, how far it goes in one step.
const KINDS: [(&str, i32, i128, i128); 10] = [
    ("voltage_l1", -1, 2_301, 6),
    ("voltage_l2", -1, 2_297, 6),
    ("voltage_l3", -1, 2_312, 6),
    ("current_l1", -3, 8_120, 150),
    ("current_l2", -3, 7_640, 150),
    ("current_l3", -3, 9_033, 150),
    ("active_power", 0, 5_240, 90),
    ("reactive_power", 0, 840, 60),
    ("frequency", -2, 5_000, 2),
    ("energy_import", -2, 1_236_872, -2),
];

/// Meters whose values wander as those of a feeder do.
pub struct Site {
    meters: Vec<Name>,
    points: Vec<Name>,
    values: Vec<i128>,
    dice: u64,
    n: u64,
}

impl Site {
    pub fn new() -> Result<Site, Box<dyn Error>> {
        let meters = (0..METERS).map(|n| format!("meter-{n}").parse()).collect::<Result<_, _>>()?;
        let name = |n: usize| match n / KINDS.len() {
            0 => KINDS[n].0.to_owned(),
            more => format!("{}_{more}", KINDS[n % KINDS.len()].0),
        };
        let points = (0..POINTS).map(|n| name(n).parse()).collect::<Result<_, _>>()?;
        let values = (0..METERS * POINTS).map(|n| KINDS[n % KINDS.len()].2).collect();
        Ok(Site { meters, points, values, dice: 0x9E37_79B9_7F4A_7C15, n: 0 })
    }

    /// The next scan: one a second, the meters in turn.
    pub fn next(&mut self) -> Result<Reading, Box<dyn Error>> {
        let n = self.n;
        self.n += 1;
        let meter = usize::try_from(n)? % METERS;
        let mut samples = Vec::with_capacity(POINTS);
        for point in 0..POINTS {
            let (_, exponent, home, step) = KINDS[point % KINDS.len()];
            let dice = i128::from(self.roll());
            let value = &mut self.values[meter * POINTS + point];
            // A counter rises; everything else wanders, and is drawn home.
            *value += if step < 0 {
                dice % (1 - step)
            } else {
                dice % (2 * step + 1) - step + (home - *value) / 20
            };
            samples.push((self.points[point].clone(), Ok(Value::Number(Decimal::new(*value, exponent)))));
        }
        let jitter = i64::try_from(self.roll() % 4)?;
        Ok(Reading {
            device: self.meters[meter].clone(),
            ts: Timestamp(START + i64::try_from(n)? * 1000 + jitter),
            took: Duration::from_millis(280 + self.roll() % 9),
            clock_unsure: false,
            boot: None,
            samples,
        })
    }

    /// xorshift: the same day in every run.
    fn roll(&mut self) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice >> 16
    }
}
