//! Octets ⇄ PDUs ⇄ ADUs, pure: function codes, frames, checksums, lengths; both sides, ask and answer.
//!
//! Knows no ports, no time, no meters. Every decoder takes any octets whatever without panicking, and
//! accepts exactly what the specification allows: *Modbus Application Protocol V1.1b3* for PDUs,
//! *Modbus over Serial Line V1.02* for RTU and ASCII frames, *Modbus Messaging on TCP/IP V1.0b* for MBAP.
//!
//! [`Ask`] is everything that can be asked: the reading functions 01 to 04, diagnostics 08 with its
//! sub-function 0 alone (Return Query Data), server id 17, and device identification 43/14. No other
//! function code and no other sub-function can be built, which is how promise 5 (nothing is written to a
//! meter) holds in this version.

/// How frames are told apart on a serial line (Serial Line V1.02, 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// By silence, with a CRC.
    #[default]
    Rtu,
    /// By characters, with an LRC.
    Ascii,
}

pub mod ascii;
mod ask;
mod identify;
pub mod mbap;
mod pdu;
pub mod rtu;

pub use ask::{Ask, AskReply, LONGEST_PDU, ReplyLength};
pub use identify::{IdLevel, IdentificationReply, ServerIdReply, encode_identification, encode_server_id};
pub use pdu::{
    ReadFunction, ReadRequest, ReplyError, ReplyPdu, RequestError, decode_reply, encode_data_reply,
    encode_exception, exception_sentence,
};
