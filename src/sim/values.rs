//! Plausible values by quantity: what a meter of this kind would show at this second.

use crate::profile::Point;

/// What the quantity moves around, and by how much.
fn around(quantity: &str) -> (f64, f64) {
    match quantity {
        "voltage" => (230.0, 4.0),
        "current" => (8.0, 3.0),
        "active-power" => (1800.0, 700.0),
        "reactive-power" => (250.0, 80.0),
        "apparent-power" => (1850.0, 700.0),
        "power-factor" => (0.94, 0.05),
        "phase-angle" => (18.0, 6.0),
        "frequency" => (50.0, 0.04),
        "temperature" => (21.5, 3.0),
        "humidity" => (46.0, 6.0),
        "pressure" => (2.4, 0.5),
        "soil-moisture" | "moisture" => (31.0, 5.0),
        "flow" | "flow-rate" | "volume-flow" => (12.0, 4.0),
        "velocity" => (1.4, 0.4),
        "conductivity" => (410.0, 60.0),
        _ => (20.0, 8.0),
    }
}

/// The point's value in its canonical unit; `phase` tells points of one quantity apart.
pub(super) fn plausible(point: &Point, seed: u64, index: usize, second: i64) -> f64 {
    let personal = to_f64(mixed(seed, index) % 1000) / 1000.0;
    if matches!(point.quantity.as_str(), "identity" | "status") {
        return to_f64(1000 + mixed(seed, index) % 30_000).floor();
    }
    if point.index {
        // A counter rises by the second, and a year's worth stays well within 32 bits of 0.01.
        return to_f64(u64::try_from(second.rem_euclid(100_000_000)).unwrap_or(0))
            * (0.0004 + personal * 0.0006);
    }
    let (mut middle, mut swing) = around(&point.quantity);
    if point.name.as_str() == "sound_speed" {
        (middle, swing) = (1480.0, 5.0);
    }
    if point.quantity == "voltage" && point.name.as_str().contains("_l1_l2") {
        (middle, swing) = (400.0, 6.0);
    }
    if let Some((least, most)) = point.range {
        let (least, most) = (least.to_f64(), most.to_f64());
        if middle - swing < least || middle + swing > most {
            (middle, swing) = ((least + most) / 2.0, (most - least) / 8.0);
        }
    }
    let turns = to_f64(u64::try_from(second.rem_euclid(86_400)).unwrap_or(0)) / (40.0 + 30.0 * personal);
    middle + swing * (turns + personal * std::f64::consts::TAU).sin()
}

/// A number that depends on both and looks like neither.
pub(super) fn mixed(seed: u64, index: usize) -> u64 {
    let mut z = seed ^ (u64::try_from(index).unwrap_or(0)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[expect(clippy::cast_precision_loss, reason = "a simulated value; all arguments are far below 2^53")]
fn to_f64(n: u64) -> f64 {
    n as f64
}
