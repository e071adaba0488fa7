//! How a port is set up, as far as a pseudo-terminal shows it.

use crate::common::port::{Pty, config};
use linesman::bus::{LowLatency, Port, PortConfig, Rs485Config, Rs485Mode, SerialConfig, Session};
use linesman::modbus::{Framing, ReadFunction, ReadRequest, encode_data_reply, rtu};
use linesman::profile::Parity;
use rustix::termios::{InputModes, tcgetattr};
use std::path::Path;
use std::thread;
use std::time::Duration;

fn open(config: &SerialConfig) -> Result<Vec<String>, String> {
    Port::new(config).open().map(|link| link.remarks().to_vec()).map_err(|error| error.to_string())
}

#[test]
fn any_speed_is_set_also_one_that_nobody_has_a_constant_for() {
    let pty = Pty::open();
    for baud in [300, 9600, 12_345, 31_250, 115_200, 1_000_000, 3_999_999] {
        let _link = Port::new(&SerialConfig { baud, ..config(&pty.name) }).open().unwrap();
        assert_eq!(tcgetattr(&pty.master).unwrap().output_speed(), baud);
    }
}

#[test]
fn settings_that_a_driver_does_not_take_do_not_stop_the_line() {
    let pty = Pty::open();
    let seven_even = SerialConfig {
        data_bits: 7,
        parity: Parity::Even,
        framing: Framing::Ascii,
        stop_bits: 2,
        ..config(&pty.name)
    };
    assert_eq!(open(&seven_even), Ok(vec![]));
    let odd = SerialConfig { parity: Parity::Odd, ..config(&pty.name) };
    assert_eq!(open(&odd), Ok(vec![]));
}

#[test]
fn octets_of_wrong_parity_are_judged_by_the_frames_checksum_and_in_ascii_frames_by_the_receiver() {
    let pty = Pty::open();
    let doubtful = InputModes::INPCK | InputModes::IGNPAR | InputModes::PARMRK;
    let modes = |framing, parity| {
        let _link = Port::new(&SerialConfig { framing, parity, ..config(&pty.name) }).open().unwrap();
        tcgetattr(&pty.master).unwrap().input_modes & doubtful
    };
    for parity in [Parity::None, Parity::Even, Parity::Odd] {
        assert_eq!(modes(Framing::Rtu, parity), InputModes::empty(), "{parity:?}");
    }
    assert_eq!(modes(Framing::Ascii, Parity::Even), InputModes::INPCK);
}

#[test]
fn what_the_driver_does_not_have_is_an_error_that_says_what_to_do() {
    let pty = Pty::open();
    let rs485 = |mode| SerialConfig { rs485: Some(Rs485Config::new(mode)), ..config(&pty.name) };
    let kernel = open(&rs485(Rs485Mode::Kernel)).unwrap_err();
    assert!(
        kernel.contains("has no RS-485 mode (TIOCSRS485: ") && kernel.contains("`mode: rts`"),
        "{kernel}"
    );
    let rts = open(&rs485(Rs485Mode::Rts)).unwrap_err();
    assert!(rts.contains("has no RTS line") && rts.contains("leave rs485 out"), "{rts}");
    let low = |low_latency| open(&SerialConfig { low_latency, ..config(&pty.name) });
    assert_eq!((low(LowLatency::Auto), low(LowLatency::Off)), (Ok(vec![]), Ok(vec![])));
    let on = low(LowLatency::On).unwrap_err();
    assert!(on.contains("does not offer low latency") && on.contains("`auto`"), "{on}");
    // None of these has left the port locked.
    assert_eq!(open(&config(&pty.name)), Ok(vec![]));
}

#[test]
fn what_is_no_serial_port_is_said_to_be_none() {
    assert!(open(&config(Path::new("/dev/null"))).unwrap_err().contains("no serial port"));
    let error =
        Session::open(&PortConfig::Serial(config(Path::new("/dev/ttyUSB999")))).unwrap_err().to_string();
    assert!(error.starts_with("/dev/ttyUSB999: No such file"), "{error}");
    assert!(error.contains("/dev/serial/by-id"), "{error}");
}

/// Answers one request after another with what a line without bias puts around it.
fn meter_on_a_noisy_line(pty: &Pty, answers: usize) {
    for answer in 0..answers {
        let mut request = [0; 8];
        let mut got = 0;
        while got < request.len() {
            got += rustix::io::read(&pty.master, &mut request[got..]).unwrap();
        }
        let (unit, pdu) = rtu::unframe(&request).unwrap();
        let request = ReadRequest::decode(pdu).unwrap();
        let reply = rtu::frame(unit, &encode_data_reply(&request, &request.address().to_be_bytes()));
        let kinds = [vec![0], vec![0, 0, 0], vec![0xFF, 0], vec![unit, 0], vec![0x80]];
        let noise = &kinds[answer % kinds.len()][..];
        pty.say(&[noise, &reply, &noise[..1]].concat());
    }
}

#[test]
fn the_null_of_a_break_and_the_garbage_of_a_parity_error_are_passed_over() {
    let pty = Pty::open();
    let mut session = Session::open(&PortConfig::Serial(config(&pty.name))).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| meter_on_a_noisy_line(&pty, 50));
        for address in 0..50 {
            let request = ReadRequest::new(ReadFunction::HoldingRegisters, address, 1).unwrap();
            let data = session.read(1, request, Duration::from_secs(30)).unwrap();
            assert_eq!(data, address.to_be_bytes());
        }
    });
    assert_eq!(session.counters.crc_errors, 0);
    assert!(session.counters.noise_octets + session.counters.unsolicited_octets >= 50);
}
