//! Every format and order against an encoder that is not the decoder turned round.

use super::*;
use crate::model::Ratio;
use crate::profile::{Order, Table};
use proptest::prelude::*;

fn point(format: Format) -> Point {
    Point {
        name: "p".parse().unwrap(),
        table: Table::HoldingRegister,
        address: 0,
        format,
        word_order: Order::Big,
        byte_order: Order::Big,
        scale: Ratio::ONE,
        offset: Decimal::ZERO,
        resolution: None,
        quantity: "other".to_owned(),
        unit: String::new(),
        phase: None,
        direction: None,
        range: None,
        invalid: Vec::new(),
        words: Vec::new(),
        bit: None,
        index: false,
        every: None,
        unverified: false,
    }
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
    p.invalid = vec![Sentinel::Bits(0x8000)];
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
    fn no_octets_make_it_panic(octets in proptest::collection::vec(any::<u8>(), 0..20), which in 0usize..13, bit in proptest::option::of(0u8..200)) {
        let formats = [Format::Bool, Format::U16, Format::S16, Format::U32, Format::S32, Format::U64, Format::S64,
            Format::F32, Format::F64, Format::Bcd16, Format::Bcd32, Format::Text(4), Format::Bits];
        let p = Point { bit, scale: "1/3".parse().unwrap(), resolution: Some("0.001".parse().unwrap()), ..point(formats[which]) };
        let _ = sample(&p, &octets);
    }
}
