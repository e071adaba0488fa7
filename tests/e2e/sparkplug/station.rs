//! Meters behind one Modbus TCP port whose registers the test turns, and which it silences.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

pub const REGISTERS: usize = 8;

#[derive(Default)]
struct Inside {
    registers: [u16; REGISTERS],
    silent: BTreeSet<u8>,
    /// Counts each time somebody reads, in register 0.
    counts: bool,
}

/// All meters show the same registers.
#[derive(Clone)]
pub struct Station {
    inside: Arc<Mutex<Inside>>,
    port: u16,
}

impl Station {
    pub fn start() -> Station {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inside = Arc::new(Mutex::new(Inside::default()));
        let shared = inside.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let inside = shared.clone();
                thread::spawn(move || serve(stream, &inside));
            }
        });
        Station { inside, port }
    }

    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn set(&self, register: usize, value: u16) {
        self.inside.lock().unwrap().registers[register] = value;
    }

    /// From now on register 0 rises with each question.
    pub fn count(&self, on: bool) {
        self.inside.lock().unwrap().counts = on;
    }

    pub fn silence(&self, unit: u8, silent: bool) {
        let mut inside = self.inside.lock().unwrap();
        if silent {
            inside.silent.insert(unit)
        } else {
            inside.silent.remove(&unit)
        };
    }
}

/// Function 03 alone (Modbus Messaging on TCP/IP V1.0b, 3.1.3).
fn serve(mut stream: TcpStream, inside: &Mutex<Inside>) {
    let mut question = [0; 12];
    while stream.read_exact(&mut question).is_ok() {
        let unit = question[6];
        let number = |at: usize| usize::from(u16::from_be_bytes([question[at], question[at + 1]]));
        let (first, count) = (number(8), number(10));
        let registers = {
            let mut inside = inside.lock().unwrap();
            if inside.silent.contains(&unit) {
                continue;
            }
            if inside.counts {
                inside.registers[0] = inside.registers[0].wrapping_add(1);
            }
            inside.registers
        };
        let octets = u8::try_from(2 * count).unwrap();
        let mut answer = question[..4].to_vec();
        answer.extend([0, octets + 3, unit, 3, octets]);
        answer.extend(registers[first..first + count].iter().flat_map(|register| register.to_be_bytes()));
        if stream.write_all(&answer).is_err() {
            return;
        }
    }
}
