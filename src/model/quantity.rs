//! What is measured, in which unit it leaves, and which other units come in, by exact ratios.

use super::{Decimal, Ratio};

/// A unit and how one of it stands to its family's base unit: `base = value × ratio + offset`.
#[derive(Debug)]
pub struct Unit {
    /// As it leaves: `m³/h`. Spellings without special characters are understood as well.
    pub sign: &'static str,
    also: &'static [&'static str],
    numerator: i128,
    denominator: i128,
    /// Numerator and denominator; zero but for temperatures.
    offset: (i128, i128),
}

/// One row of the table: a name, its canonical unit, and the family that the unit belongs to.
#[derive(Debug)]
pub struct Quantity {
    pub name: &'static str,
    /// The unit in which readings leave, whatever the meter's own.
    pub unit: &'static str,
    family: &'static [Unit],
}

/// From a meter's unit to the canonical one: `canonical = value × ratio + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    pub ratio: Ratio,
    pub offset: Decimal,
    /// The ratio or the offset has no finite decimal (°F): results are rounded.
    pub exact: bool,
}

/// The quantity that takes any unit and is never converted.
pub const OTHER: &str = "other";

const fn unit(sign: &'static str, numerator: i128, denominator: i128) -> Unit {
    Unit { sign, also: &[], numerator, denominator, offset: (0, 1) }
}

const fn spelled(sign: &'static str, also: &'static [&'static str], n: i128, d: i128) -> Unit {
    Unit { sign, also, numerator: n, denominator: d, offset: (0, 1) }
}

const VOLT: &[Unit] = &[unit("V", 1, 1), unit("mV", 1, 1000), unit("kV", 1000, 1), unit("MV", 1_000_000, 1)];
const AMPERE: &[Unit] =
    &[unit("A", 1, 1), unit("mA", 1, 1000), unit("µA", 1, 1_000_000), unit("kA", 1000, 1)];
const WATT: &[Unit] = &[
    unit("W", 1, 1),
    unit("mW", 1, 1000),
    unit("kW", 1000, 1),
    unit("MW", 1_000_000, 1),
    unit("GW", 1_000_000_000, 1),
    // 1 Gcal = 1163 kWh with the International Table calorie of 4.1868 J.
    unit("Gcal/h", 1_163_000, 1),
];
const VAR: &[Unit] = &[
    spelled("var", &["VAr", "VAR"], 1, 1),
    spelled("kvar", &["kVAr", "kVAR"], 1000, 1),
    spelled("Mvar", &["MVAr", "MVAR"], 1_000_000, 1),
];
const VOLT_AMPERE: &[Unit] = &[unit("VA", 1, 1), unit("kVA", 1000, 1), unit("MVA", 1_000_000, 1)];
const KWH: &[Unit] = &[
    unit("kWh", 1, 1),
    unit("Wh", 1, 1000),
    unit("MWh", 1000, 1),
    unit("GWh", 1_000_000, 1),
    unit("J", 1, 3_600_000),
    unit("kJ", 1, 3600),
    unit("MJ", 10, 36),
    unit("GJ", 10_000, 36),
    unit("Mcal", 1163, 1000),
    unit("Gcal", 1163, 1),
];
const KVARH: &[Unit] = &[
    spelled("kvarh", &["kVArh", "kVARh"], 1, 1),
    spelled("varh", &["VArh", "VARh"], 1, 1000),
    spelled("Mvarh", &["MVArh", "MVARh"], 1000, 1),
];
const KVAH: &[Unit] = &[unit("kVAh", 1, 1), unit("VAh", 1, 1000), unit("MVAh", 1000, 1)];
const AMPERE_HOUR: &[Unit] = &[unit("Ah", 1, 1), unit("mAh", 1, 1000), unit("kAh", 1000, 1)];
const HERTZ: &[Unit] = &[unit("Hz", 1, 1), unit("mHz", 1, 1000), unit("kHz", 1000, 1)];
const ONE: &[Unit] =
    &[spelled("1", &["", "ratio"], 1, 1), spelled("%", &["pct"], 1, 100), spelled("‰", &["ppt"], 1, 1000)];
const PERCENT: &[Unit] = &[
    spelled("%", &["pct", "%RH", "%rH", "%VWC"], 1, 1),
    spelled("‰", &["ppt"], 1, 10),
    spelled("1", &["", "ratio"], 100, 1),
];
const DEGREE: &[Unit] = &[spelled("°", &["deg", "degree"], 1, 1)];
const OHM: &[Unit] = &[
    spelled("Ω", &["ohm"], 1, 1),
    spelled("mΩ", &["mohm"], 1, 1000),
    spelled("kΩ", &["kohm"], 1000, 1),
    spelled("MΩ", &["Mohm"], 1_000_000, 1),
];
const CELSIUS: &[Unit] = &[
    spelled("°C", &["C", "celsius"], 1, 1),
    Unit { sign: "K", also: &["kelvin"], numerator: 1, denominator: 1, offset: (-27315, 100) },
    Unit { sign: "°F", also: &["F", "fahrenheit"], numerator: 5, denominator: 9, offset: (-160, 9) },
];
const BAR: &[Unit] = &[
    unit("bar", 1, 1),
    unit("mbar", 1, 1000),
    unit("Pa", 1, 100_000),
    unit("hPa", 1, 1000),
    unit("kPa", 1, 100),
    unit("MPa", 10, 1),
    // lbf/in²: 4.4482216152605 N over (25.4 mm)², both exact by definition.
    spelled("psi", &["PSI"], 44_482_216_152_605, 645_160_000_000_000),
    // Conventional columns of water and mercury (ISO 80000-4, standard gravity 9.80665 m/s²).
    spelled("mmH₂O", &["mmH2O", "mmWC"], 980_665, 10_000_000_000),
    spelled("cmH₂O", &["cmH2O", "cmWC"], 980_665, 1_000_000_000),
    spelled("mH₂O", &["mH2O", "mWC"], 980_665, 10_000_000),
    spelled("inH₂O", &["inH2O", "inWC"], 24_908_891, 10_000_000_000),
    spelled("mmHg", &["Torr"], 133_322_387_415, 100_000_000_000_000),
    spelled("kgf/cm²", &["at"], 980_665, 1_000_000),
    unit("atm", 101_325, 100_000),
];
const CUBIC_METRE: &[Unit] = &[
    unit("m³", 1, 1),
    spelled("L", &["l", "dm3"], 1, 1000),
    spelled("mL", &["ml"], 1, 1_000_000),
    spelled("hL", &["hl"], 1, 10),
    spelled("US gal", &["gal(US)"], 3_785_411_784, 1_000_000_000_000),
    unit("ft³", 28_316_846_592, 1_000_000_000_000),
];
const CUBIC_METRE_PER_HOUR: &[Unit] = &[
    unit("m³/h", 1, 1),
    unit("m³/min", 60, 1),
    unit("m³/s", 3600, 1),
    unit("m³/d", 1, 24),
    spelled("L/h", &["l/h"], 1, 1000),
    spelled("L/min", &["l/min"], 60, 1000),
    spelled("L/s", &["l/s"], 3600, 1000),
    spelled("US gal/min", &["gpm(US)"], 3_785_411_784 * 60, 1_000_000_000_000),
];
const METRE: &[Unit] = &[
    unit("m", 1, 1),
    unit("mm", 1, 1000),
    unit("cm", 1, 100),
    unit("µm", 1, 1_000_000),
    unit("km", 1000, 1),
    unit("in", 254, 10_000),
    unit("ft", 3048, 10_000),
];
const METRE_PER_SECOND: &[Unit] = &[
    unit("m/s", 1, 1),
    unit("km/h", 10, 36),
    spelled("kn", &["kt"], 1852, 3600),
    unit("mph", 44_704, 100_000),
    unit("ft/s", 3048, 10_000),
];
const KILOGRAM: &[Unit] =
    &[unit("kg", 1, 1), unit("g", 1, 1000), unit("mg", 1, 1_000_000), unit("t", 1000, 1)];
const SECOND: &[Unit] = &[
    unit("s", 1, 1),
    unit("ms", 1, 1000),
    unit("µs", 1, 1_000_000),
    unit("min", 60, 1),
    unit("h", 3600, 1),
    unit("d", 86_400, 1),
];
const PPM: &[Unit] =
    &[unit("ppm", 1, 1), unit("ppb", 1, 1000), spelled("%", &["pct"], 10_000, 1), unit("‰", 1000, 1)];
const MILLIGRAM_PER_LITRE: &[Unit] = &[
    spelled("mg/L", &["mg/l", "g/m3"], 1, 1),
    spelled("µg/L", &["µg/l", "mg/m3"], 1, 1000),
    spelled("g/L", &["g/l", "kg/m3"], 1000, 1),
    unit("µg/m³", 1, 1_000_000),
];
const MICROGRAM_PER_CUBIC_METRE: &[Unit] =
    &[unit("µg/m³", 1, 1), unit("mg/m³", 1000, 1), unit("g/m³", 1_000_000, 1)];
const MILLIGRAM_PER_KILOGRAM: &[Unit] = &[unit("mg/kg", 1, 1), unit("g/kg", 1000, 1)];
const MICROSIEMENS: &[Unit] = &[
    unit("µS/cm", 1, 1),
    unit("mS/cm", 1000, 1),
    unit("S/m", 10_000, 1),
    unit("mS/m", 10, 1),
    unit("S/cm", 1_000_000, 1),
];
const LUX: &[Unit] = &[spelled("lx", &["lux"], 1, 1), spelled("klx", &["klux"], 1000, 1)];
const DECIBEL: &[Unit] = &[spelled("dB", &["dBA", "dB(A)"], 1, 1)];
const PH: &[Unit] = &[spelled("pH", &["", "ph", "1"], 1, 1)];
const IRRADIANCE: &[Unit] = &[unit("W/m²", 1, 1), unit("kW/m²", 1000, 1)];
const TURBIDITY: &[Unit] = &[spelled("NTU", &["FNU"], 1, 1)];
const PLAIN: &[Unit] = &[spelled("1", &[""], 1, 1)];

const fn row(name: &'static str, unit: &'static str, family: &'static [Unit]) -> Quantity {
    Quantity { name, unit, family }
}

/// The table. `other` is last and has no family.
static QUANTITIES: &[Quantity] = &[
    row("voltage", "V", VOLT),
    row("current", "A", AMPERE),
    row("active-power", "W", WATT),
    row("reactive-power", "var", VAR),
    row("apparent-power", "VA", VOLT_AMPERE),
    row("active-energy", "kWh", KWH),
    row("reactive-energy", "kvarh", KVARH),
    row("apparent-energy", "kVAh", KVAH),
    row("power-factor", "1", ONE),
    row("frequency", "Hz", HERTZ),
    row("phase-angle", "°", DEGREE),
    row("phase-sequence", "1", PLAIN),
    row("thd", "%", PERCENT),
    row("unbalance", "%", PERCENT),
    row("dc-voltage", "V", VOLT),
    row("dc-current", "A", AMPERE),
    row("dc-power", "W", WATT),
    row("dc-energy", "kWh", KWH),
    row("charge", "Ah", AMPERE_HOUR),
    row("state-of-charge", "%", PERCENT),
    row("resistance", "Ω", OHM),
    row("temperature", "°C", CELSIUS),
    row("humidity", "%", PERCENT),
    row("absolute-humidity", "mg/L", MILLIGRAM_PER_LITRE),
    row("dew-point", "°C", CELSIUS),
    row("soil-moisture", "%", PERCENT),
    row("moisture", "%", PERCENT),
    row("pressure", "bar", BAR),
    row("level", "m", METRE),
    row("fill-level", "%", PERCENT),
    row("length", "m", METRE),
    row("precipitation", "m", METRE),
    row("volume", "m³", CUBIC_METRE),
    row("flow-rate", "m³/h", CUBIC_METRE_PER_HOUR),
    row("velocity", "m/s", METRE_PER_SECOND),
    row("wind-speed", "m/s", METRE_PER_SECOND),
    row("wind-direction", "°", DEGREE),
    row("mass", "kg", KILOGRAM),
    row("heat-energy", "kWh", KWH),
    row("heat-power", "W", WATT),
    row("concentration", "ppm", PPM),
    row("trace-concentration", "ppb", &[unit("ppb", 1, 1), unit("ppm", 1000, 1)]),
    row("co2", "ppm", PPM),
    row("mass-concentration", "mg/L", MILLIGRAM_PER_LITRE),
    row("dissolved-oxygen", "mg/L", MILLIGRAM_PER_LITRE),
    row("particulate-matter", "µg/m³", MICROGRAM_PER_CUBIC_METRE),
    row("nutrient", "mg/kg", MILLIGRAM_PER_KILOGRAM),
    row("conductivity", "µS/cm", MICROSIEMENS),
    row("salinity", "‰", &[spelled("‰", &["ppt", "PSU"], 1, 1), spelled("%", &["pct"], 10, 1)]),
    row("turbidity", "NTU", TURBIDITY),
    row("ph", "pH", PH),
    row("redox-potential", "mV", &[unit("mV", 1, 1), unit("V", 1000, 1)]),
    row("illuminance", "lx", LUX),
    row("irradiance", "W/m²", IRRADIANCE),
    row("sound", "dB", DECIBEL),
    row("residual-current", "mA", &[unit("mA", 1, 1), unit("A", 1000, 1), unit("µA", 1, 1000)]),
    row("loop-current", "mA", &[unit("mA", 1, 1), unit("A", 1000, 1), unit("µA", 1, 1000)]),
    row("signal-quality", "%", PERCENT),
    row("time", "s", SECOND),
    row("operating-time", "h", &[unit("h", 1, 1), unit("min", 1, 60), unit("s", 1, 3600), unit("d", 24, 1)]),
    row("pulse-count", "1", PLAIN),
    row("count", "1", PLAIN),
    row("ratio", "1", ONE),
    row("digital-input", "1", PLAIN),
    row("switch", "1", PLAIN),
    row("status", "1", PLAIN),
    row("identity", "1", PLAIN),
    row("setting", "1", PLAIN),
    row(OTHER, "", &[]),
];

/// The whole table, in its order.
pub fn all() -> impl Iterator<Item = &'static Quantity> {
    QUANTITIES.iter()
}

pub fn find(name: &str) -> Option<&'static Quantity> {
    QUANTITIES.iter().find(|quantity| quantity.name == name)
}

impl Quantity {
    pub fn is_other(&self) -> bool {
        self.family.is_empty()
    }

    /// Needs no unit in a profile: it is a plain number, a flag or a code.
    pub fn is_plain(&self) -> bool {
        self.unit == "1" || self.is_other()
    }

    /// The signs of the units that are understood, the canonical one among them.
    pub fn units(&self) -> impl Iterator<Item = &'static str> {
        self.family.iter().map(|unit| unit.sign)
    }

    /// How a value in this unit, as people spell it, becomes one in the canonical unit.
    pub fn conversion(&self, spelled: &str) -> Option<Conversion> {
        let unit = self.family.iter().find(|unit| unit.is(spelled))?;
        let home = self.family.iter().find(|unit| unit.sign == self.unit)?;
        unit.to(home)
    }
}

impl Conversion {
    /// The way back: `value = canonical × ratio + offset`.
    pub fn back(&self) -> Option<Conversion> {
        let ratio = Ratio::new(self.ratio.denominator(), self.ratio.numerator()).ok()?;
        let offset = Decimal::ZERO.checked_sub(self.offset).ok()?.scaled(ratio).ok()?;
        // Of 160/9 eighteen digits were kept; the way back is 32 again.
        let offset = if self.exact { offset } else { offset.rounded_to(Decimal::new(1, -9)).ok()? };
        Some(Conversion { ratio, offset, exact: has_decimal(ratio) })
    }

    /// This one, then another.
    pub fn then(&self, next: &Conversion) -> Option<Conversion> {
        Some(Conversion {
            ratio: self.ratio.checked_mul(next.ratio).ok()?,
            offset: next.apply(self.offset)?,
            exact: self.exact && next.exact,
        })
    }

    pub fn apply(&self, value: Decimal) -> Option<Decimal> {
        value.scaled(self.ratio).ok()?.checked_add(self.offset).ok()
    }
}

impl Quantity {
    /// The sign of a unit, as it leaves, however people spell it.
    pub fn sign_of(&self, spelled: &str) -> Option<&'static str> {
        self.family.iter().find(|unit| unit.is(spelled)).map(|unit| unit.sign)
    }
}

impl Unit {
    fn is(&self, spelled: &str) -> bool {
        let wanted = plain(spelled);
        plain(self.sign) == wanted || self.also.iter().any(|also| plain(also) == wanted)
    }

    fn to(&self, home: &Unit) -> Option<Conversion> {
        let ratio = Ratio::new(self.numerator, self.denominator).ok()?;
        let ratio = ratio.checked_mul(Ratio::new(home.denominator, home.numerator).ok()?).ok()?;
        let offset = Ratio::new(self.offset.0, self.offset.1).ok()?;
        let exact = has_decimal(ratio) && has_decimal(offset);
        let offset = Decimal::from(1u64).scaled(offset).ok()?;
        Some(Conversion { ratio, offset, exact })
    }
}

/// Whether a ratio is a finite decimal: nothing but twos and fives below the line.
pub fn has_decimal(ratio: Ratio) -> bool {
    let mut rest = ratio.denominator();
    for factor in [2, 5] {
        while rest % factor == 0 && rest != 0 {
            rest /= factor;
        }
    }
    rest == 1
}

/// A unit's spelling without the characters that keyboards lack: `m³/h` and `m3/h` are the same.
fn plain(spelled: &str) -> String {
    let mut text = String::with_capacity(spelled.len());
    for c in spelled.trim().chars() {
        match c {
            '³' => text.push('3'),
            '²' | '₂' => text.push('2'),
            // Micro sign and Greek mu.
            '\u{b5}' | '\u{3bc}' => text.push('u'),
            // Degree sign and the ordinal that keyboards offer beside it.
            '\u{b0}' | '\u{ba}' => text.push_str("deg"),
            // Greek omega and the ohm sign.
            '\u{3a9}' | '\u{2126}' => text.push_str("ohm"),
            other => text.push(other),
        }
    }
    text.replace("Ohm", "ohm")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_canonical(quantity: &str, unit: &str, value: &str) -> String {
        let c = find(quantity).unwrap().conversion(unit).unwrap();
        let value: Decimal = value.parse().unwrap();
        let value = value.scaled(c.ratio).unwrap().checked_add(c.offset).unwrap();
        // What the profile reader does with the conversions that have no finite decimal.
        let step: Decimal = if c.exact { "0" } else { "0.000000001" }.parse().unwrap();
        value.rounded_to(step).unwrap().to_string()
    }

    #[test]
    fn every_row_knows_its_own_canonical_unit() {
        for quantity in all().filter(|q| !q.is_other()) {
            let own = quantity.conversion(quantity.unit).unwrap();
            assert_eq!(own.ratio, Ratio::ONE, "{}", quantity.name);
            assert_eq!(own.offset, Decimal::ZERO, "{}", quantity.name);
            for unit in quantity.units() {
                assert!(quantity.conversion(unit).is_some(), "{} {unit}", quantity.name);
            }
        }
    }

    #[test]
    fn no_two_rows_or_units_share_a_name() {
        for quantity in all() {
            assert_eq!(all().filter(|q| q.name == quantity.name).count(), 1, "{}", quantity.name);
            for unit in quantity.units() {
                let same = quantity.family.iter().filter(|u| u.is(unit)).count();
                assert_eq!(same, 1, "{} {unit}", quantity.name);
            }
        }
    }

    #[test]
    fn units_convert_exactly() {
        for (quantity, unit, value, canonical) in [
            ("active-power", "kW", "1.234567", "1234.567"),
            ("active-energy", "Wh", "18446744073709551615", "18446744073709551.615"),
            ("active-energy", "MJ", "3.6", "1"),
            ("pressure", "mbar", "1013.25", "1.01325"),
            ("pressure", "hPa", "1013.25", "1.01325"),
            ("pressure", "kPa", "250", "2.5"),
            ("pressure", "MPa", "1.6", "16"),
            ("pressure", "psi", "1000", "68.947572932"),
            ("pressure", "mmH2O", "1000", "0.0980665"),
            ("temperature", "K", "273.15", "0"),
            ("temperature", "°F", "212", "100"),
            ("flow-rate", "L/min", "1000", "60"),
            ("flow-rate", "m3/s", "0.001", "3.6"),
            ("residual-current", "A", "0.03", "30"),
            ("power-factor", "%", "95", "0.95"),
            ("conductivity", "mS/cm", "1.5", "1500"),
        ] {
            assert_eq!(to_canonical(quantity, unit, value), canonical, "{value} {unit}");
        }
    }

    #[test]
    fn spellings_of_every_keyboard_are_understood() {
        for (quantity, spelled) in [
            ("temperature", "degC"),
            ("temperature", "ºC"),
            ("volume", "m3"),
            ("flow-rate", "m3/h"),
            ("flow-rate", "l/h"),
            ("conductivity", "uS/cm"),
            ("conductivity", "μS/cm"),
            ("resistance", "Ohm"),
            ("resistance", "Ω"),
            ("humidity", "%RH"),
            ("phase-angle", "deg"),
            ("reactive-power", "kVAr"),
            ("ph", ""),
        ] {
            assert!(find(quantity).unwrap().conversion(spelled).is_some(), "{spelled}");
        }
        assert!(find("voltage").unwrap().conversion("W").is_none());
        assert!(find("active-power").unwrap().conversion("kw").is_none());
    }
}
