//! What other programs and manuals call the things that are configured here: somebody who comes from them reads the right
//! word instead of a list of all.

use super::table::Table;

/// A key of others (lower case, without `_` and `-`), a key here that tells the places where it is meant so, the key here that
/// means the same, and what to write.
static KEYS: &[(&str, &str, &str, &str)] = &[
    ("address", "register", "register", PLACE),
    ("addr", "register", "register", PLACE),
    ("registeraddress", "register", "register", PLACE),
    ("reg", "register", "register", PLACE),
    ("offsetaddress", "register", "register", PLACE),
    ("inputtype", "holding", "holding", TABLE),
    ("registertype", "holding", "holding", TABLE),
    ("regtype", "holding", "holding", TABLE),
    ("function", "holding", "holding", TABLE),
    ("functioncode", "holding", "holding", TABLE),
    ("fc", "holding", "holding", TABLE),
    ("datatype", "type", "type", "write `type: u16`, `type: f32` …"),
    ("format", "type", "type", "write `type: u16`, `type: f32` …"),
    ("count", "type", "type", LENGTH),
    ("length", "type", "type", LENGTH),
    ("registers", "type", "type", LENGTH),
    ("objectscount", "type", "type", LENGTH),
    ("swap", "word_order", "word_order", ORDER),
    ("swapwords", "word_order", "word_order", ORDER),
    ("wordswap", "word_order", "word_order", ORDER),
    ("iswordswap", "word_order", "word_order", ORDER),
    ("reverseorder", "word_order", "word_order", ORDER),
    ("endian", "word_order", "word_order", ORDER),
    ("endianness", "word_order", "word_order", ORDER),
    ("byteswap", "byte_order", "byte_order", BYTES),
    ("isbyteswap", "byte_order", "byte_order", BYTES),
    ("swapbytes", "byte_order", "byte_order", BYTES),
    ("multiplier", "scale", "scale", SCALE),
    ("factor", "scale", "scale", SCALE),
    ("scaling", "scale", "scale", SCALE),
    ("gain", "scale", "scale", SCALE),
    ("divisor", "scale", "scale", "write a fraction: `scale: 1/10`"),
    ("divider", "scale", "scale", "write a fraction: `scale: 1/10`"),
    ("precision", "resolution", "resolution", "write the smallest step: `resolution: 0.1`"),
    (
        "decimals",
        "resolution",
        "resolution",
        "write the smallest step, `resolution: 0.1`; a point with a factor has `scale`",
    ),
    ("unitofmeasurement", "unit", "unit", "write `unit: kWh`"),
    ("nanvalue", "invalid", "invalid", SENTINEL),
    ("errorvalue", "invalid", "invalid", SENTINEL),
    ("nullvalue", "invalid", "invalid", SENTINEL),
    ("notavailable", "invalid", "invalid", SENTINEL),
    ("deviceclass", "quantity", "quantity", "write what is measured: `quantity: voltage`"),
    ("stateclass", "index", "index", "a counter that only rises is `index: true`"),
    ("counter", "index", "index", "a counter that only rises is `index: true`"),
    ("minvalue", "range", "range", "write both bounds: `range: [0, 100]`"),
    ("maxvalue", "range", "range", "write both bounds: `range: [0, 100]`"),
    ("scaninterval", "every", "every", EVERY),
    ("pollinterval", "every", "every", EVERY),
    ("pollperiod", "every", "every", EVERY),
    ("interval", "every", "every", EVERY),
    ("period", "every", "every", EVERY),
    ("updateinterval", "every", "every", EVERY),
    ("slave", "retries", "unit", UNIT),
    ("slaveid", "retries", "unit", UNIT),
    ("slaveaddress", "retries", "unit", UNIT),
    ("deviceid", "retries", "unit", UNIT),
    ("deviceaddress", "retries", "unit", UNIT),
    ("modbusid", "retries", "unit", UNIT),
    ("unitid", "retries", "unit", UNIT),
    ("baudrate", "baud", "baud", "write `baud: 9600`"),
    ("device", "baud", "port", "write `port: /dev/ttyUSB0`"),
    ("tty", "baud", "port", "write `port: /dev/ttyUSB0`"),
    ("path", "baud", "port", "write `port: /dev/ttyUSB0`"),
    ("speed", "baud", "baud", "write `baud: 9600`"),
    ("bytesize", "data_bits", "data_bits", "write `data_bits: 8`"),
    ("transmissionmode", "framing", "framing", "write `framing: rtu` or `framing: ascii`"),
    ("method", "framing", "framing", "write `framing: rtu` or `framing: ascii`"),
    ("host", "address", "address", "write `address: \"10.0.0.5:502\"`"),
    ("port", "in_flight", "address", "write `address: \"10.0.0.5:502\"`, the port behind the host"),
    ("broker", "url", "url", BROKER),
    ("host", "url", "url", BROKER),
    ("server", "url", "url", BROKER),
    ("port", "url", "url", BROKER),
    ("user", "url", "username", "write `username`"),
];

const PLACE: &str = "write `holding: 0`, `input: 0`, `coil: 0` or `discrete: 0` as on the wire, counted from 0; or \
                     `register: 40001` as in manuals";
const TABLE: &str = "the key says it: `holding: 0`, `input: 0`, `coil: 0` or `discrete: 0`";
const LENGTH: &str = "the type says how many registers: u16 one, u32 two, \"string:8\" eight";
const ORDER: &str = "write `word_order: little` where the low register comes first; `linesman read … --all-orders` shows each";
const BYTES: &str = "write `byte_order: little` where the low octet of a register comes first";
const SCALE: &str = "write `scale: 0.1`: value = raw × scale + offset";
const SENTINEL: &str = "write a list of raw values: `invalid: [0xFFFF]`";
const EVERY: &str = "write `every: 10s`";
const UNIT: &str = "write `unit: 1`, the meter's Modbus address";
const BROKER: &str = "write `url: \"mqtt://HOST:1883\"`";

/// What to write instead of a key that other programs have, and which key here that is.
pub(super) fn key(found: &str, table: &Table) -> Option<(&'static str, &'static str)> {
    let plain = plain(found);
    let known = KEYS.iter().find(|(word, here, _, _)| *word == plain && table.key(here).is_some());
    known.map(|(_, _, ours, help)| (*ours, *help))
}

/// What to write instead of a word that other programs have for an order of octets (letters in the order in which the octets
/// of a big-endian number come, or an endianness) or for a parity.
pub(super) fn word(key: &str, found: &str) -> Option<&'static str> {
    match key {
        "word_order" | "byte_order" => order(&plain(found)),
        "parity" => parity(&plain(found)),
        _ => None,
    }
}

fn order(plain: &str) -> Option<&'static str> {
    Some(match plain {
        "abcd" | "ab" | "be" | "bigendian" | "msb" | "msw" | "msbfirst" | "mswfirst" | "highfirst"
        | "none" => "write big: the high one comes first, as nearly everywhere",
        "cdab" | "word" | "swapped" | "swap" | "lswfirst" | "lsw" | "lowfirst" | "true" => {
            "write `word_order: little`: the low register comes first"
        }
        "badc" | "ba" | "byte" => "write `byte_order: little`: the low octet of each register comes first",
        "dcba" | "le" | "lsb" | "lsbfirst" | "littleendian" | "wordbyte" => {
            "write `word_order: little, byte_order: little` where all octets are the other way round, `word_order: little` \
             alone where only the registers are"
        }
        _ => return None,
    })
}

/// `N`, or the whole of `8N1`.
fn parity(plain: &str) -> Option<&'static str> {
    let letter = plain.trim_matches(|c: char| c.is_ascii_digit());
    match letter {
        "n" | "no" => Some("write none"),
        "e" => Some("write even"),
        "o" => Some("write odd"),
        _ => None,
    }
}

fn plain(word: &str) -> String {
    word.chars().filter(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::format::PROFILE;

    fn points() -> &'static Table {
        PROFILE.keys.iter().find(|key| key.name == "points").and_then(|key| key.kind.tables().pop()).unwrap()
    }

    #[test]
    fn a_key_of_others_is_understood_where_its_own_key_stands_and_nowhere_else() {
        assert_eq!(key("Nan-Value", points()), Some(("invalid", SENTINEL)));
        assert_eq!(key("nan_value", &PROFILE), None);
        assert_eq!(key("slave", &PROFILE), None, "a profile has no unit id of an installation");
        assert_eq!(key("voltage", points()), None);
    }

    #[test]
    fn an_order_in_letters_is_told_in_words() {
        assert!(word("word_order", "CDAB").unwrap().contains("`word_order: little`"));
        assert!(word("byte_order", "BADC").unwrap().contains("`byte_order: little`"));
        assert_eq!(word("parity", "8E1"), Some("write even"));
        assert_eq!((word("parity", "mark"), word("kind", "CDAB")), (None, None));
    }
}
