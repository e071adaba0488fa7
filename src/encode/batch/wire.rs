//! The messages of `docs/batch.proto` as `prost` reads and writes them, and packed columns.

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{decode_varint, encode_varint};

pub(super) const BACKLOG: u32 = 1;
pub(super) const CLOCK_UNSURE: u32 = 4;
pub(super) const BOUNDED: u32 = 8;

/// `Batch`. Its devices are kept as octets, which on the wire is the same: so a hostile batch of a million empty
/// devices costs a few octets each, and they are read one at a time.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Batch {
    #[prost(sfixed64, tag = "1")]
    pub t0_ms: i64,
    #[prost(uint32, tag = "2")]
    pub dt_ms: u32,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub dev: Vec<Vec<u8>>,
    #[prost(fixed32, tag = "4")]
    pub schema: u32,
    #[prost(uint64, tag = "5")]
    pub seq: u64,
    #[prost(uint32, tag = "6")]
    pub flags: u32,
    #[prost(fixed32, tag = "7")]
    pub epoch: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Device {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub col: Vec<Vec<u8>>,
    #[prost(sint64, repeated, tag = "3")]
    pub dt: Vec<i64>,
    #[prost(message, repeated, tag = "4")]
    pub q: Vec<Quality>,
    #[prost(sint64, repeated, tag = "5")]
    pub seq: Vec<i64>,
    #[prost(uint32, tag = "6")]
    pub rows: u32,
    #[prost(uint32, tag = "7")]
    pub dt_ms: u32,
    #[prost(uint32, tag = "8")]
    pub dseq: u32,
    #[prost(sint32, repeated, tag = "9")]
    pub exp: Vec<i32>,
    #[prost(uint64, repeated, tag = "10")]
    pub step: Vec<u64>,
    #[prost(uint32, repeated, tag = "11")]
    pub order: Vec<u32>,
    #[prost(message, repeated, tag = "12")]
    pub words: Vec<Words>,
    #[prost(uint32, repeated, tag = "13")]
    pub point: Vec<u32>,
    #[prost(string, repeated, tag = "14")]
    pub extra: Vec<String>,
    #[prost(string, tag = "15")]
    pub name: String,
    #[prost(uint64, repeated, tag = "16")]
    pub took: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Quality {
    #[prost(uint32, repeated, tag = "1")]
    pub col: Vec<u32>,
    #[prost(uint32, repeated, tag = "2")]
    pub run: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Words {
    #[prost(uint32, tag = "1")]
    pub col: u32,
    #[prost(string, repeated, tag = "2")]
    pub json: Vec<String>,
}

/// Differences as `repeated sint64 [packed]` has them.
pub(super) fn pack(differences: &[i64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(differences.len() * 2);
    for n in differences {
        encode_varint(zigzag(*n), &mut out);
    }
    out
}

pub(super) fn unpack(mut octets: &[u8]) -> Option<Vec<i64>> {
    let mut differences = Vec::with_capacity(octets.len());
    while octets.has_remaining() {
        differences.push(unzigzag(decode_varint(&mut octets).ok()?));
    }
    Some(differences)
}

pub(super) fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// Cuts off the zeros at the end, which need not be said.
pub(super) fn trim<T: Default + PartialEq>(list: &mut Vec<T>) {
    let zero = T::default();
    let length = list.iter().rposition(|item| *item != zero).map_or(0, |last| last + 1);
    list.truncate(length);
}
