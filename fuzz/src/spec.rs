//! The specification once more, written without looking at the product: checksums bit by bit, frames and
//! replies read by the letter. What the engine believes is measured by this.

use linesman::modbus::{Ask, Framing, IdLevel, ReadFunction};

/// CRC-16/MODBUS as the specification draws it (Serial Line V1.02, 6.2.2).
pub fn crc(octets: &[u8]) -> [u8; 2] {
    octets.iter().fold(0xFFFF, |crc, octet| shifted(crc, *octet)).to_le_bytes()
}

fn shifted(crc: u16, octet: u8) -> u16 {
    let mut crc = crc ^ u16::from(octet);
    for _ in 0..8 {
        crc = if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 };
    }
    crc
}

/// Where RTU frames end that begin with the first octet, whatever they say: behind its own checksum a frame's
/// is zero.
pub fn ends(octets: &[u8]) -> impl Iterator<Item = usize> {
    let mut crc = 0xFFFF;
    let sums = octets.iter().take(256).enumerate();
    sums.filter_map(move |(at, octet)| {
        crc = shifted(crc, *octet);
        (crc == 0 && at >= 3).then_some(at + 1)
    })
}

/// The LRC: what makes the sum of all octets zero (6.2.1).
pub fn lrc(octets: &[u8]) -> u8 {
    let sum: u32 = octets.iter().map(|octet| u32::from(*octet)).sum();
    u8::try_from((256 - sum % 256) % 256).expect("below 256")
}

/// A frame as it goes on the wire.
pub fn frame(framing: Framing, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut octets = vec![unit];
    octets.extend(pdu);
    match framing {
        Framing::Rtu => {
            octets.extend(crc(&octets));
            octets
        }
        Framing::Ascii => {
            octets.push(lrc(&octets));
            let digits: String = octets.iter().map(|octet| format!("{octet:02X}")).collect();
            format!(":{digits}\r\n").into_bytes()
        }
    }
}

/// Unit id and PDU where these octets are exactly one frame with its checksum right.
pub fn unframe(framing: Framing, frame: &[u8]) -> Option<(u8, Vec<u8>)> {
    let octets = match framing {
        Framing::Rtu => {
            let (octets, sum) = frame.split_last_chunk::<2>()?;
            (crc(octets) == *sum).then(|| octets.to_vec())?
        }
        Framing::Ascii => {
            let text = std::str::from_utf8(frame).ok()?.strip_prefix(':')?.strip_suffix("\r\n")?;
            if text.len() % 2 == 1 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("two digits");
            let mut octets: Vec<u8> = (0..text.len()).step_by(2).map(octet).collect();
            let sum = octets.pop()?;
            (lrc(&octets) == sum).then_some(octets)?
        }
    };
    let (unit, pdu) = octets.split_first()?;
    (!pdu.is_empty() && pdu.len() <= 253).then(|| (*unit, pdu.to_vec()))
}

/// What a reply says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Data(Vec<u8>),
    Exception(u8),
}

/// Octets of data that answer a reading question (V1.1b3, 6.1 to 6.4).
pub fn data_octets(function: ReadFunction, count: u16) -> usize {
    let count = usize::from(count);
    match function {
        ReadFunction::Coils | ReadFunction::DiscreteInputs => count.div_ceil(8),
        ReadFunction::HoldingRegisters | ReadFunction::InputRegisters => 2 * count,
    }
}

/// The function code of a question.
pub fn function(ask: &Ask) -> u8 {
    match ask {
        Ask::Read(request) => match request.function() {
            ReadFunction::Coils => 1,
            ReadFunction::DiscreteInputs => 2,
            ReadFunction::HoldingRegisters => 3,
            ReadFunction::InputRegisters => 4,
        },
        Ask::Echo(_) => 8,
        Ask::ServerId => 17,
        Ask::Identification { .. } => 43,
    }
}

/// The question's PDU.
pub fn question(ask: &Ask) -> Vec<u8> {
    let mut pdu = vec![function(ask)];
    match ask {
        Ask::Read(request) => {
            pdu.extend(request.address().to_be_bytes());
            pdu.extend(request.count().to_be_bytes());
        }
        Ask::Echo(word) => {
            pdu.extend([0, 0]);
            pdu.extend(word.to_be_bytes());
        }
        Ask::ServerId => {}
        Ask::Identification { level, object } => pdu.extend([14, level_code(*level), *object]),
    }
    pdu
}

fn level_code(level: IdLevel) -> u8 {
    match level {
        IdLevel::Basic => 1,
        IdLevel::Regular => 2,
        IdLevel::Extended => 3,
        IdLevel::Specific => 4,
    }
}

/// What this PDU says, where it is an answer to this question.
pub fn reply(ask: &Ask, pdu: &[u8]) -> Option<Reply> {
    let (code, rest) = pdu.split_first()?;
    let asked = function(ask);
    if *code == asked | 0x80 {
        return if let [code] = rest { Some(Reply::Exception(*code)) } else { None };
    }
    if *code != asked || pdu.len() > 253 {
        return None;
    }
    let data = match ask {
        Ask::Read(request) => {
            let (count, data) = rest.split_first()?;
            let wanted = data_octets(request.function(), request.count());
            (usize::from(*count) == wanted && data.len() == wanted).then_some(data)
        }
        Ask::Echo(word) => {
            let (sub, data) = rest.split_first_chunk::<2>()?;
            (*sub == [0, 0] && data == word.to_be_bytes()).then_some(data)
        }
        Ask::ServerId => {
            let (count, data) = rest.split_first()?;
            (usize::from(*count) == data.len()).then_some(data)
        }
        Ask::Identification { level, object } => identification(*level, *object, rest),
    };
    data.map(|data| Reply::Data(data.to_vec()))
}

/// 6.21: a stream answer may be of a lower level than was asked; a single object is the one asked for.
fn identification(level: IdLevel, object: u8, rest: &[u8]) -> Option<&[u8]> {
    let ([mei, code], data) = rest.split_first_chunk::<2>()?;
    let may = match level {
        IdLevel::Specific => *code == 4,
        IdLevel::Basic | IdLevel::Regular | IdLevel::Extended => (1..=level_code(level)).contains(code),
    };
    if *mei != 14 || !may {
        return None;
    }
    let (head, mut objects) = data.split_first_chunk::<4>()?;
    let first = objects.first().copied();
    for _ in 0..head[3] {
        let ([_, length], after) = objects.split_first_chunk::<2>()?;
        objects = after.get(usize::from(*length)..)?;
    }
    let other = level == IdLevel::Specific && first != Some(object);
    (objects.is_empty() && !other).then_some(data)
}
