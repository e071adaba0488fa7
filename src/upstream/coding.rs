//! How octets and texts stand in headers, addresses and passwords.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, general_purpose};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// With padding, whatever the bits behind the last octet are.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, general_purpose::PAD.with_decode_allow_trailing_bits(true));

/// All but the unreserved (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// RFC 4648, section 4, with padding.
pub(super) fn base64(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

/// Nothing from nothing: no secret is empty.
pub(super) fn unbase64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok().filter(|octets| !octets.is_empty())
}

/// Percent-encoding (RFC 3986, section 2.1).
pub fn percent(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded), (!plain.is_empty()).then(|| plain.as_bytes().to_vec()));
        }
        assert_eq!(base64(b"Aladdin:open sesame"), "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        for wrong in ["", "Zg", "Zg=", "Z===", "Zm9$", "not a key!!!"] {
            assert_eq!(unbase64(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_plain_is_escaped_in_a_query() {
        assert_eq!(percent("my bucket/ü&b=1"), "my%20bucket%2F%C3%BC%26b%3D1");
    }
}
