//! Compression of bodies, and what stands in the headers of requests. Pure.

use super::config::Compression;
use std::io;

/// Below this a compressed body is hardly smaller.
const WORTH_COMPRESSING: usize = 256;
/// Of zlib's ten: beyond it much time buys little.
const GZIP_LEVEL: u8 = 6;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

/// The body as it travels, and its `Content-Encoding` if it has one.
///
/// # Errors
/// The compressor's, for want of memory.
pub(super) fn packed(body: Vec<u8>, by: Compression) -> io::Result<(Vec<u8>, Option<&'static str>)> {
    match by {
        Compression::Snappy => {
            let packed = snap::raw::Encoder::new().compress_vec(&body).map_err(io::Error::other)?;
            Ok((packed, Some("snappy")))
        }
        _ if body.len() < WORTH_COMPRESSING => Ok((body, None)),
        Compression::None => Ok((body, None)),
        Compression::Gzip => Ok((gzipped(&body), Some("gzip"))),
        Compression::Zstd => Ok((zstd::bulk::compress(&body, ZSTD_LEVEL)?, Some("zstd"))),
    }
}

/// One member (RFC 1952, section 2.3): without name and time, from an unknown system.
fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];
    out.extend(miniz_oxide::deflate::compress_to_vec(body, GZIP_LEVEL));
    out.extend(crc32fast::hash(body).to_le_bytes());
    // ISIZE is the length modulo 2^32.
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX) & u64::from(u32::MAX);
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_come_out_as_they_went_in() {
        let body = b"linesman,gateway=g,device=m n=1 1\n".repeat(100);
        let (gzip, named) = packed(body.clone(), Compression::Gzip).unwrap();
        assert!(named == Some("gzip") && gzip.len() < body.len() / 10);
        let raw = &gzip[10..gzip.len() - 8];
        assert_eq!(miniz_oxide::inflate::decompress_to_vec(raw).unwrap(), body);
        assert_eq!(gzip[gzip.len() - 4..], u32::try_from(body.len()).unwrap().to_le_bytes());
        let (zstd, named) = packed(body.clone(), Compression::Zstd).unwrap();
        assert_eq!(named, Some("zstd"));
        assert_eq!(zstd::bulk::decompress(&zstd, 1 << 20).unwrap(), body);
        let (snappy, named) = packed(body.clone(), Compression::Snappy).unwrap();
        assert_eq!(named, Some("snappy"));
        assert_eq!(snap::raw::Decoder::new().decompress_vec(&snappy).unwrap(), body);
    }

    #[test]
    fn what_is_small_travels_as_it_is_but_where_compression_is_the_format() {
        assert_eq!(packed(b"a".to_vec(), Compression::Gzip).unwrap(), (b"a".to_vec(), None));
        assert_eq!(packed(b"a".to_vec(), Compression::Snappy).unwrap().1, Some("snappy"));
    }
}
