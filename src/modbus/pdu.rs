//! Protocol data units of the reading functions (V1.1b3, sections 6.1 to 6.4 and 7).

use tokio_modbus::{ExceptionCode, FunctionCode};

/// A function that reads one of the four tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadFunction {
    Coils,
    DiscreteInputs,
    HoldingRegisters,
    InputRegisters,
}

impl ReadFunction {
    pub const ALL: [ReadFunction; 4] =
        [Self::Coils, Self::DiscreteInputs, Self::HoldingRegisters, Self::InputRegisters];

    pub const fn code(self) -> u8 {
        self.function().value()
    }

    /// The same in the vocabulary of `tokio-modbus`.
    pub const fn function(self) -> FunctionCode {
        match self {
            Self::Coils => FunctionCode::ReadCoils,
            Self::DiscreteInputs => FunctionCode::ReadDiscreteInputs,
            Self::HoldingRegisters => FunctionCode::ReadHoldingRegisters,
            Self::InputRegisters => FunctionCode::ReadInputRegisters,
        }
    }

    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Coils),
            2 => Some(Self::DiscreteInputs),
            3 => Some(Self::HoldingRegisters),
            4 => Some(Self::InputRegisters),
            _ => None,
        }
    }

    /// The most that one request may ask for.
    pub const fn limit(self) -> u16 {
        match self {
            Self::Coils | Self::DiscreteInputs => 2000,
            Self::HoldingRegisters | Self::InputRegisters => 125,
        }
    }

    /// Octets of data that a reply to `count` carries.
    pub const fn data_octets(self, count: u16) -> usize {
        // Widening: usize has at least 16 bits on every target.
        let count = count as usize;
        match self {
            Self::Coils | Self::DiscreteInputs => count.div_ceil(8),
            Self::HoldingRegisters | Self::InputRegisters => count * 2,
        }
    }
}

/// A request to read: function, zero-based address, count; valid by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadRequest {
    function: ReadFunction,
    address: u16,
    count: u16,
}

/// Why there is no such request; `exception` is what a server answers (V1.1b3, section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("function {0} is not one of 1 to 4, 8, 17 and 43")]
    Function(u8),
    #[error("a count of {count} is not 1 to {limit}")]
    Count { count: u16, limit: u16 },
    #[error("{count} from address {address} reach beyond 65535")]
    Range { address: u16, count: u16 },
    #[error("a read request has 5 octets, not {0}")]
    Length(usize),
    #[error("this request has {wanted} octets, not {got}")]
    Octets { wanted: usize, got: usize },
    #[error("sub-function {0} of diagnostics is not 0, Return Query Data")]
    SubFunction(u16),
    #[error("MEI type {0} is not 14, Read Device Identification")]
    Mei(u8),
    #[error("level {0} of identification is not 1 to 4")]
    Level(u8),
}

impl RequestError {
    pub const fn exception(self) -> ExceptionCode {
        match self {
            RequestError::Function(_) | RequestError::SubFunction(_) | RequestError::Mei(_) => {
                ExceptionCode::IllegalFunction
            }
            RequestError::Count { .. }
            | RequestError::Length(_)
            | RequestError::Octets { .. }
            | RequestError::Level(_) => ExceptionCode::IllegalDataValue,
            RequestError::Range { .. } => ExceptionCode::IllegalDataAddress,
        }
    }
}

impl ReadRequest {
    pub fn new(function: ReadFunction, address: u16, count: u16) -> Result<Self, RequestError> {
        let limit = function.limit();
        if count == 0 || count > limit {
            return Err(RequestError::Count { count, limit });
        }
        if address.checked_add(count - 1).is_none() {
            return Err(RequestError::Range { address, count });
        }
        Ok(ReadRequest { function, address, count })
    }

    pub const fn function(&self) -> ReadFunction {
        self.function
    }

    pub const fn address(&self) -> u16 {
        self.address
    }

    pub const fn count(&self) -> u16 {
        self.count
    }

    pub const fn reply_data_octets(&self) -> usize {
        self.function.data_octets(self.count)
    }

    /// Function, byte count, data.
    pub const fn reply_pdu_octets(&self) -> usize {
        2 + self.reply_data_octets()
    }

    pub fn pdu(&self) -> [u8; 5] {
        let [a, b] = self.address.to_be_bytes();
        let [c, d] = self.count.to_be_bytes();
        [self.function.code(), a, b, c, d]
    }

    /// The server's side: what a client asks.
    pub fn decode(pdu: &[u8]) -> Result<Self, RequestError> {
        let [code, rest @ ..] = pdu else { return Err(RequestError::Length(0)) };
        let function = ReadFunction::from_code(*code).ok_or(RequestError::Function(*code))?;
        let [a, b, c, d] = *rest else { return Err(RequestError::Length(pdu.len())) };
        Self::new(function, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }
}

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyPdu<'a> {
    /// Register octets as they stand on the wire, or packed coils; for other questions see [`super::AskReply`].
    Data(&'a [u8]),
    Exception(u8),
}

/// Why a PDU is not the answer to this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    #[error("an empty PDU")]
    Empty,
    #[error("function {got:#04x} where {asked:#04x} was asked")]
    Function { asked: u8, got: u8 },
    #[error("{got} octets where {wanted} were due")]
    Length { wanted: usize, got: usize },
    #[error("{0} octets end before the reply does")]
    Cut(usize),
    #[error("the answer to another question of the same function")]
    Other,
}

/// The client's side: the answer to exactly this request, by function, byte count and length.
pub fn decode_reply<'a>(request: &ReadRequest, pdu: &'a [u8]) -> Result<ReplyPdu<'a>, ReplyError> {
    let asked = request.function.code();
    let [function, rest @ ..] = pdu else { return Err(ReplyError::Empty) };
    if *function == asked | 0x80 {
        return match rest {
            [code] => Ok(ReplyPdu::Exception(*code)),
            _ => Err(ReplyError::Length { wanted: 2, got: pdu.len() }),
        };
    }
    if *function != asked {
        return Err(ReplyError::Function { asked, got: *function });
    }
    let wanted = request.reply_data_octets();
    match rest {
        [count, data @ ..] if usize::from(*count) == wanted && data.len() == wanted => {
            Ok(ReplyPdu::Data(data))
        }
        _ => Err(ReplyError::Length { wanted: request.reply_pdu_octets(), got: pdu.len() }),
    }
}

/// The server's side: a reply with data. Data of another length than asked is cut or filled with zeros,
/// so that no malformed frame can be built.
pub fn encode_data_reply(request: &ReadRequest, data: &[u8]) -> Vec<u8> {
    let wanted = request.reply_data_octets();
    // 2000 coils or 125 registers make at most 250 octets.
    let count = u8::try_from(wanted).unwrap_or(u8::MAX);
    let mut pdu = vec![request.function.code(), count];
    pdu.extend(data.iter().copied().chain(std::iter::repeat(0)).take(wanted));
    pdu
}

/// The server's side: a refusal.
pub const fn encode_exception(function: u8, code: u8) -> [u8; 2] {
    [function | 0x80, code]
}

/// What an exception code says, for people (V1.1b3, section 7).
pub const fn exception_sentence(code: u8) -> &'static str {
    match code {
        1 => "illegal function: the device does not know this way of asking",
        2 => "illegal data address: the device has no such register",
        3 => "illegal data value: the device does not allow so many registers at once",
        4 => "server device failure: the device could not do it",
        5 => "acknowledge: the device needs more time",
        6 => "server device busy: ask again later",
        8 => "memory parity error: the device's memory is damaged",
        10 => "gateway path unavailable: the gateway before the device is not set up for it",
        11 => "gateway target device failed to respond: nobody answers behind the gateway",
        _ => "a code that the specification does not define",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(function: ReadFunction, address: u16, count: u16) -> ReadRequest {
        ReadRequest::new(function, address, count).unwrap()
    }

    #[test]
    fn a_request_within_limits_only() {
        use ReadFunction::{Coils, InputRegisters};
        assert!(ReadRequest::new(InputRegisters, 0, 125).is_ok());
        assert!(ReadRequest::new(InputRegisters, 0, 126).is_err());
        assert!(ReadRequest::new(Coils, 0, 2000).is_ok());
        assert!(ReadRequest::new(Coils, 0, 0).is_err());
        assert!(ReadRequest::new(InputRegisters, 65535, 1).is_ok());
        assert!(ReadRequest::new(InputRegisters, 65535, 2).is_err());
    }

    #[test]
    fn a_reply_of_another_length_is_not_the_answer() {
        let two = request(ReadFunction::HoldingRegisters, 0, 2);
        assert_eq!(decode_reply(&two, &[3, 4, 1, 2, 3, 4]), Ok(ReplyPdu::Data(&[1, 2, 3, 4])));
        assert!(decode_reply(&two, &[3, 2, 1, 2]).is_err());
        assert!(decode_reply(&two, &[3, 4, 1, 2, 3]).is_err());
        assert!(decode_reply(&two, &[3, 4, 1, 2, 3, 4, 5]).is_err());
        assert!(decode_reply(&two, &[4, 4, 1, 2, 3, 4]).is_err());
        assert_eq!(decode_reply(&two, &[0x83, 2]), Ok(ReplyPdu::Exception(2)));
        assert!(decode_reply(&two, &[0x83, 2, 0]).is_err());
        assert_eq!(decode_reply(&two, &[]), Err(ReplyError::Empty));
    }

    proptest! {
        #[test]
        fn a_request_reads_back(which in 0usize..4, address: u16, count: u16) {
            if let Ok(request) = ReadRequest::new(ReadFunction::ALL[which], address, count) {
                prop_assert_eq!(ReadRequest::decode(&request.pdu()), Ok(request));
            }
        }

        #[test]
        fn a_reply_reads_back(which in 0usize..4, address in 0u16..1000, count in 1u16..=125, seed: u8) {
            let request = request(ReadFunction::ALL[which], address, count);
            let data: Vec<u8> = (0..request.reply_data_octets()).map(|i| seed.wrapping_add(u8::try_from(i % 256).unwrap())).collect();
            let pdu = encode_data_reply(&request, &data);
            prop_assert_eq!(decode_reply(&request, &pdu), Ok(ReplyPdu::Data(&data)));
        }

        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>, which in 0usize..4, count in 1u16..=125) {
            let _ = ReadRequest::decode(&octets);
            let _ = decode_reply(&request(ReadFunction::ALL[which], 0, count), &octets);
        }
    }
}
