//! Every format and order against an encoder that is not the decoder turned round.

use super::*;
use crate::model::{Bad, Decimal, IdentityRule, Value};
use crate::profile::{self, DateForm, Format, Order, Sentinel, Table};
use proptest::prelude::*;
use std::sync::Arc;

fn point(format: Format) -> Point {
    Point::new("p".parse().unwrap(), Table::HoldingRegister, 0, format)
}

fn d(text: &str) -> Sample {
    Ok(Value::Number(text.parse().unwrap()))
}

#[test]
fn each_format_says_what_its_registers_hold() {
    let cases: [(Format, &[u8], Sample); 14] = [
        (Format::U16, &[0xFF, 0xFE], d("65534")),
        (Format::S16, &[0xFF, 0xFE], d("-2")),
        (Format::U32, &[0x00, 0x01, 0x00, 0x02], d("65538")),
        (Format::S32, &[0xFF, 0xFF, 0xFF, 0xFF], d("-1")),
        (Format::U64, &[0xFF; 8], d("18446744073709551615")),
        (Format::S64, &[0x80, 0, 0, 0, 0, 0, 0, 0], d("-9223372036854775808")),
        (Format::F32, &[0x43, 0x66, 0x33, 0x33], d("230.2")),
        (Format::F64, &[0x40, 0x6C, 0xC6, 0x66, 0x66, 0x66, 0x66, 0x66], d("230.2")),
        (Format::Bcd16, &[0x12, 0x34], d("1234")),
        (Format::Bcd32, &[0x12, 0x34, 0x56, 0x78], d("12345678")),
        (Format::Bcd16, &[0x12, 0x3A], Err(Bad::Garbled)),
        (Format::Bool, &[0, 2], Ok(Value::Bool(true))),
        (Format::Text(3), b"AB1 \0x", Ok(Value::Text("AB1".into()))),
        (Format::F32, &[0x7F, 0xC0, 0, 0], Err(Bad::Invalid)),
    ];
    for (format, octets, expected) in cases {
        assert_eq!(sample(&point(format), octets), expected, "{format:?} {octets:02x?}");
    }
}

#[test]
fn orders_of_words_and_bytes_are_independent() {
    let mut swapped = point(Format::U32);
    swapped.word_order = Order::Little;
    assert_eq!(sample(&swapped, &[0, 2, 0, 1]), d("65538"));
    swapped.byte_order = Order::Little;
    assert_eq!(sample(&swapped, &[2, 0, 1, 0]), d("65538"));
    swapped.word_order = Order::Big;
    assert_eq!(sample(&swapped, &[1, 0, 2, 0]), d("65538"));
}

#[test]
fn scale_offset_resolution_and_range_apply_in_this_order() {
    let mut p = point(Format::S16);
    p.scale = "0.1".parse().unwrap();
    p.offset = "-40".parse().unwrap();
    p.range = Some(("-40".parse().unwrap(), "80".parse().unwrap()));
    assert_eq!(sample(&p, &[0, 5]), d("-39.5"));
    assert_eq!(sample(&p, &[0x7F, 0xFF]), Err(Bad::OutOfRange));
    let mut p = point(Format::F32);
    p.resolution = Some("0.1".parse().unwrap());
    assert_eq!(sample(&p, &[0x43, 0x66, 0x33, 0x34]), d("230.2"));
}

#[test]
fn a_sentinel_is_raw_bits_before_scale_and_sign() {
    let mut p = point(Format::S16);
    p.scale = "0.1".parse().unwrap();
    p.invalid = vec![(Sentinel::Bits(0x8000), Bad::Invalid)];
    assert_eq!(sample(&p, &[0x80, 0]), Err(Bad::Invalid));
    assert_eq!(sample(&p, &[0x80, 1]), d("-3276.7"));
}

#[test]
fn words_bits_and_coils() {
    let mut p = point(Format::U16);
    p.words = vec![(1, "heating".into())];
    assert_eq!(sample(&p, &[0, 1]), Ok(Value::Text("heating".into())));
    assert_eq!(sample(&p, &[0, 2]), Err(Bad::OutOfRange));
    let mut p = point(Format::Bits);
    p.bit = Some(9);
    assert_eq!(sample(&p, &[2, 0]), Ok(Value::Bool(true)));
    assert_eq!(sample(&p, &[1, 0xFF]), Ok(Value::Bool(false)));
    let mut p = point(Format::Bool);
    p.table = Table::Coil;
    assert_eq!(sample(&p, &[1]), Ok(Value::Bool(true)));
    assert_eq!(sample(&p, &[0, 1]), Err(Bad::Garbled));
}

#[test]
fn a_meters_text_carries_no_commands() {
    assert_eq!(sample(&point(Format::Text(3)), b"\x1b[2JA "), Ok(Value::Text("[2JA".into())));
}

/// A meter of holding registers in a row, and what each point of its profile says of them.
fn read_all(points: &str, registers: &[u16]) -> BTreeMap<String, String> {
    let text = format!(
        "profile: 1\nvendor: A\nmodel: B\nkind: other\nparameters: {{ ct: {{ default: 40 }} }}\npoints:\n{points}"
    );
    let profile = profile::parse("p", "p.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let octets = |point: &Point| {
        let from = usize::from(point.address);
        let registers = registers.get(from..from + usize::from(point.format.count()));
        registers.map(|some| some.iter().flat_map(|r| r.to_be_bytes()).collect()).ok_or(Bad::NoReply)
    };
    let fields =
        profile.points.iter().enumerate().map(|(n, point)| Field { point: n, octets: octets(point) });
    let scan = scan(Arc::new(profile.clone()), fields.collect());
    let said = |sample: Sample| match sample {
        Ok(Value::Number(number)) => number.to_string(),
        Ok(Value::Bool(flag)) => flag.to_string(),
        Ok(Value::Text(text)) => text.to_string(),
        Err(bad) => bad.word().into_owned(),
    };
    reading(&scan, false).samples.into_iter().map(|(name, sample)| (name.to_string(), said(sample))).collect()
}

pub(super) fn scan(profile: Arc<Profile>, fields: Vec<Field>) -> Scan {
    let device = "d".parse().unwrap();
    Scan { device, profile, ts: crate::model::Timestamp(0), took: std::time::Duration::ZERO, fields }
}

#[test]
fn a_value_is_scaled_by_a_register_a_parameter_or_several() {
    let points = "  sf: { holding: 0, type: s16, internal: true, invalid: [0x8000] }
  dec: { holding: 1, type: u16 }
  vt: { holding: 2, type: u16, scale: 0.1 }
  by_sf: { holding: 3, type: s16, scale_by: { point: sf, as: exponent } }
  by_decimals: { holding: 4, type: s16, scale_by: { point: dec, as: decimals } }
  by_ct: { holding: 5, type: s16, scale_by: ct }
  by_all: { holding: 6, type: s16, scale: 0.5, scale_by: [ct, vt, { point: sf, as: exponent }], offset: 1 }
  divided: { holding: 7, type: s16, scale_by: { point: vt, as: divisor } }
";
    let said = read_all(points, &[0xFFFE, 3, 110, 1234, 1234, 1234, 1234, 1234]);
    assert_eq!(said.get("sf"), None, "an internal point is none of the reading's");
    assert_eq!(said["by_sf"], "12.34");
    assert_eq!(said["by_decimals"], "1.234");
    assert_eq!(said["by_ct"], "49360");
    assert_eq!(said["by_all"], "2715.8", "1234 x 0.5 x 40 x 11 / 100 + 1");
    assert_eq!(said["divided"], "112.181818181818182");
    let said = read_all(points, &[0x8000, 3, 0, 1234, 1234, 1234, 1234, 1234]);
    assert_eq!(said["sf"], "invalid", "a bad internal point is told");
    assert_eq!(
        [&said["by_sf"], &said["by_all"], &said["divided"]],
        ["factor"; 3],
        "no value without its factor"
    );
    assert_eq!(said["by_ct"], "49360");
    let said = read_all(points, &[31, 3, 110, 1234, 1234, 1234, 1234, 1234]);
    assert_eq!(said["by_sf"], "factor", "ten to the power of 31 is no scale");
}

#[test]
fn another_register_gives_the_sign_the_unit_and_the_fraction() {
    let points = "  way: { holding: 0, type: u16, internal: true }
  code: { holding: 1, type: u16, enum: { 0: Pa, 1: kPa } }
  plain: { holding: 2, type: u16, sign_by: way }
  listed: { holding: 3, type: u16, sign_by: { point: way, negative: [2] } }
  pressure: { holding: 4, type: u16, quantity: pressure, unit_by: { point: code, units: { 0: Pa, 1: kPa, 7: mmH2O } } }
  fraction: { holding: 6, type: u16, scale: 0.0001, internal: true }
  sum: { holding: 5, type: u16, plus: fraction }
";
    let said = read_all(points, &[1, 1, 250, 250, 250, 250, 5]);
    let of = |said: &BTreeMap<String, String>| {
        ["plain", "listed", "pressure", "sum"].map(|name| said[name].clone())
    };
    assert_eq!(of(&said), ["-250", "250", "2.5", "250.0005"]);
    assert_eq!(of(&read_all(points, &[2, 0, 250, 250, 250, 250, 5])), ["-250", "-250", "0.0025", "250.0005"]);
    let said = read_all(points, &[0, 7, 1000, 1000, 1000, 1000]);
    assert_eq!(said["code"], "out-of-range");
    assert_eq!(
        of(&said),
        ["1000", "1000", "0.0980665", "factor"],
        "the unit is known though the word is not"
    );
    assert_eq!(read_all(points, &[0, 9, 1000, 1000, 1000])["pressure"], "factor");
}

#[test]
fn flags_of_one_register_are_points_of_their_own() {
    let said = read_all("  alarm: { holding: 0, bits: { 0: voltage, 15: phase_lost } }\n", &[0x8000]);
    assert_eq!(said["alarm_voltage"], "false");
    assert_eq!(said["alarm_phase_lost"], "true");
}

#[test]
fn a_rare_factor_is_remembered_until_it_fails_or_the_device_is_silent() {
    let text = "profile: 1\nvendor: A\nmodel: B\nkind: other\npoints:
  ct: { holding: 0, type: u16 }
  way: { holding: 1, type: u16 }
  i: { holding: 2, type: u16, scale_by: ct }
  p: { holding: 3, type: u16, scale_by: ct, sign_by: way }
";
    let profile = Arc::new(profile::parse("p", "p.yaml", text).unwrap());
    let mut normalizer = Normalizer::default();
    let mut i_of = |fields: &[(usize, Result<u16, Bad>)]| {
        let field = |(point, value): &(usize, Result<u16, Bad>)| Field {
            point: *point,
            octets: value.map(|v| v.to_be_bytes().to_vec()),
        };
        let scan = scan(Arc::clone(&profile), fields.iter().map(field).collect());
        let samples = normalizer.reading(&scan, &IdentityRule::Hold, false).0.samples;
        samples
            .into_iter()
            .filter(|(name, _)| matches!(name.as_str(), "i" | "p"))
            .map(|(_, sample)| sample)
            .collect::<Vec<_>>()
    };
    assert_eq!(i_of(&[(2, Ok(7))]), [Err(Bad::Factor)], "nothing is known yet");
    assert_eq!(i_of(&[(0, Ok(10)), (1, Ok(1)), (2, Ok(7)), (3, Ok(7))]), [d("70"), d("-70")]);
    assert_eq!(i_of(&[(2, Ok(8)), (3, Ok(8))]), [d("80"), Err(Bad::Factor)], "a sign is never an old one");
    assert_eq!(i_of(&[(0, Err(Bad::Garbled)), (2, Ok(8))]), [Err(Bad::Factor)], "what failed is forgotten");
    assert_eq!(i_of(&[(0, Ok(10)), (2, Ok(8))]), [d("80")]);
    assert_eq!(i_of(&[(2, Err(Bad::NoReply))]), [Err(Bad::NoReply)]);
    assert_eq!(i_of(&[(2, Ok(8))]), [Err(Bad::Factor)], "who is back may be another meter");
}

/// Registers of a number given high octet first, by hand: not what the decoder does, in reverse.
fn registers(high_first: &[u8], words: Order, bytes: Order) -> Vec<u8> {
    let n = high_first.len() / 2;
    let mut out = vec![0; n * 2];
    for (i, octet) in high_first.iter().enumerate() {
        let word = if words == Order::Big { i / 2 } else { n - 1 - i / 2 };
        let byte = if bytes == Order::Big { i % 2 } else { 1 - i % 2 };
        out[word * 2 + byte] = *octet;
    }
    out
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![Just(Order::Big), Just(Order::Little)]
}

proptest! {
    #[test]
    fn every_number_reads_back_in_every_order(bits: u64, words in order(), bytes in order()) {
        let low = |n: usize| bits.to_be_bytes()[8 - n..].to_vec();
        let cases = [
            (Format::U16, 2, (bits & 0xFFFF).to_string()),
            (Format::S16, 2, (bits as i16).to_string()),
            (Format::U32, 4, (bits & 0xFFFF_FFFF).to_string()),
            (Format::S32, 4, (bits as i32).to_string()),
            (Format::U64, 8, bits.to_string()),
            (Format::S64, 8, (bits as i64).to_string()),
        ];
        for (format, octets, expected) in cases {
            let p = Point { word_order: words, byte_order: bytes, ..point(format) };
            prop_assert_eq!(sample(&p, &registers(&low(octets), words, bytes)), d(&expected));
        }
        let p = Point { word_order: words, byte_order: bytes, ..point(Format::F32) };
        let float = f32::from_bits(bits as u32);
        let expected = if float.is_finite() { Ok(Value::Number(Decimal::from_f32(float).unwrap())) } else { Err(Bad::Invalid) };
        prop_assert_eq!(sample(&p, &registers(&low(4), words, bytes)), expected);
    }

    #[test]
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..20), which in 0usize..22, bit in proptest::option::of(0u8..200)) {
        let formats = [Format::IskraT5, Format::IskraT6, Format::IskraT7, Format::Bcd64, Format::Date(DateForm::Unix),
            Format::Date(DateForm::Iec), Format::Date(DateForm::Cp56), Format::Date(DateForm::Bcd), Format::Date(DateForm::Fields),
            Format::Bool, Format::U16, Format::S16, Format::U32, Format::S32, Format::U64, Format::S64,
            Format::F32, Format::F64, Format::Bcd16, Format::Bcd32, Format::Text(4), Format::Bits];
        let p = Point { bit, scale: "1/3".parse().unwrap(), resolution: Some("0.001".parse().unwrap()), ..point(formats[which]) };
        let _ = sample(&p, &octets);
    }
}
