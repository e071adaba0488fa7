//! The words for how octets stand for a value.

use crate::profile::yaml::table::ScalarRule;
use crate::profile::yaml::{Scalar, nearest};
use crate::profile::{DateForm, Format};

pub(super) static TYPE: ScalarRule = ScalarRule {
    expected: "one of bool, u16, s16, u32, s32, u64, s64, f32, f64, bcd16, bcd32, bcd64, bits, string:N, iskra-t5, date-iec …",
    check: |s| format_of(s).map(|_| ()),
    types: &["string"],
    pattern: Some(
        "^(bool|[us](16|32|64)|f(32|64)|bcd(16|32|64)|bits|string:[0-9]+|iskra-t[567]|date-(unix|iec|cp56|bcd|fields))$",
    ),
    words: None,
    limits: None,
    example: r#""f32""#,
};

/// The types of design 5.3.
pub(in crate::profile) fn format_of(scalar: &Scalar) -> Result<Format, String> {
    let simple = TYPES.iter().find(|(word, _)| *word == scalar.text);
    if let Some((_, format)) = simple {
        return Ok(*format);
    }
    let lower = scalar.text.to_ascii_lowercase();
    if let Some(registers) = lower.strip_prefix("string:") {
        return match registers.parse::<u16>() {
            Ok(n @ 1..=125) => Ok(Format::Text(n)),
            Ok(_) | Err(_) => Err("string:N has 1 to 125 registers of two characters".to_owned()),
        };
    }
    if matches!(lower.as_str(), "u8" | "uint8" | "byte" | "s8" | "int8" | "i8") {
        let half = "half a register is a field of it: `type: u16, bits: \"0-7\"` or `bits: \"8-15\"`";
        return Err(half.to_owned());
    }
    if let Some(right) = ordered(&lower) {
        return Err(right);
    }
    let right = COMMON.iter().find(|(word, _)| *word == lower).map(|(_, right)| *right);
    match right.or_else(|| nearest(&lower, TYPES.iter().map(|(word, _)| *word))) {
        Some(near) => Err(format!("did you mean `{near}`?")),
        None => Err(String::new()),
    }
}

/// Of a type whose name holds an order, as others write it: `float32_cdab`, `float-le`.
fn ordered(lower: &str) -> Option<String> {
    let (word, order) = lower.rsplit_once(['_', '-', ' ', '.'])?;
    let right = type_word(word)?;
    let order = match order {
        "abcd" | "be" | "big" => "",
        "cdab" | "swap" | "swapped" | "sw" => ", word_order: little",
        "badc" => ", byte_order: little",
        "dcba" | "le" | "little" => ", word_order: little, byte_order: little",
        _ => return None,
    };
    Some(format!("the order stands beside it: `type: {right}{order}`"))
}

/// The words that stand for one format each; `string:N` is beside them.
pub static TYPES: &[(&str, Format)] = &[
    ("bool", Format::Bool),
    ("u16", Format::U16),
    ("s16", Format::S16),
    ("u32", Format::U32),
    ("s32", Format::S32),
    ("u64", Format::U64),
    ("s64", Format::S64),
    ("f32", Format::F32),
    ("f64", Format::F64),
    ("bcd16", Format::Bcd16),
    ("bcd32", Format::Bcd32),
    ("bcd64", Format::Bcd64),
    ("iskra-t5", Format::IskraT5),
    ("iskra-t6", Format::IskraT6),
    ("iskra-t7", Format::IskraT7),
    ("date-unix", Format::Date(DateForm::Unix)),
    ("date-iec", Format::Date(DateForm::Iec)),
    ("date-cp56", Format::Date(DateForm::Cp56)),
    ("date-bcd", Format::Date(DateForm::Bcd)),
    ("date-fields", Format::Date(DateForm::Fields)),
    ("bits", Format::Bits),
];

/// The type that a manual most likely means; `string:8` for any text.
pub fn type_word(said: &str) -> Option<&'static str> {
    let plain: String = said.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric()).collect();
    let own = TYPES.iter().map(|(word, _)| *word).find(|word| *word == plain);
    own.or_else(|| COMMON.iter().find(|(word, _)| *word == plain).map(|(_, right)| *right))
}

/// What manuals and other tools call them.
static COMMON: &[(&str, &str)] = &[
    ("int", "s16"),
    ("int16", "s16"),
    ("i16", "s16"),
    ("uint", "u16"),
    ("uint16", "u16"),
    ("word", "u16"),
    ("int32", "s32"),
    ("i32", "s32"),
    ("uint32", "u32"),
    ("dword", "u32"),
    ("int64", "s64"),
    ("i64", "s64"),
    ("uint64", "u64"),
    ("float", "f32"),
    ("float32", "f32"),
    ("real", "f32"),
    ("32float", "f32"),
    ("64float", "f64"),
    ("16int", "s16"),
    ("16uint", "u16"),
    ("32int", "s32"),
    ("32uint", "u32"),
    ("double", "f64"),
    ("float64", "f64"),
    ("boolean", "bool"),
    ("bit", "bool"),
    ("string", "string:8"),
    ("bcd", "bcd16"),
    ("sint16", "s16"),
    ("sint32", "s32"),
    ("signedint16", "s16"),
    ("unsignedint16", "u16"),
    ("signedint32", "s32"),
    ("unsignedint32", "u32"),
    ("unsignedint", "u16"),
    ("ulong", "u32"),
    ("long", "s32"),
    ("short", "s16"),
    ("ushort", "u16"),
    ("ieee754", "f32"),
    ("singlefloat", "f32"),
    ("float32bit", "f32"),
    ("ascii", "string:8"),
    ("date", "date-iec"),
    ("datetime", "date-iec"),
    ("unix", "date-unix"),
    ("timestamp", "date-unix"),
    ("t5", "iskra-t5"),
    ("t6", "iskra-t6"),
    ("t7", "iskra-t7"),
];
