//! A serial port: its name, its settings, and how its transmitter is turned on and off.

use super::build::{Ground, Once, duration, flag, text, whole};
use crate::bus::{LONGEST_DELAY, LowLatency, Rs485Config, Rs485Mode, SerialConfig};
use crate::modbus::Framing;
use crate::profile::yaml::{Node, Report};
use crate::profile::{Parity, parity};
use std::time::Duration;

/// An LRC is a sum of eight bits: two flips in one column cancel out, which a parity bit would have seen in each character.
const UNGUARDED: &str = "ASCII without parity: its checksum alone lets some damaged answers pass for values";
const GUARDED: &str = "`parity: even` on the line and in its meters, or RTU where they speak it";

pub(super) fn build(
    serial: &Node,
    ports: &mut Once,
    ground: &mut Ground<'_>,
    report: &mut Report<'_>,
) -> Option<SerialConfig> {
    let port = text(serial, "port")?;
    // Two names of one port (/dev/ttyUSB0 and /dev/serial/by-id/…) are one port; looking at links opens nothing.
    let real =
        std::fs::canonicalize(port).map_or_else(|_| port.to_owned(), |path| path.display().to_string());
    ports.enter("the port", &real, &serial.get("port")?.place, report);
    let framing = if text(serial, "framing") == Some("ascii") { Framing::Ascii } else { Framing::Rtu };
    let data_bits = whole(serial, "data_bits").unwrap_or(8);
    if let (7, Framing::Rtu, Some(at)) = (data_bits, framing, serial.get("data_bits")) {
        // Serial Line V1.02, 2.5.1: RTU needs all eight bits of an octet.
        let message = format!("`data_bits`: expected 8 with RTU framing, found {}", at.found());
        report.at_with_help(&at.place, message, "7 data bits are for `framing: ascii`");
    }
    let parity = text(serial, "parity").and_then(parity).unwrap_or_default();
    if let (Framing::Ascii, Parity::None, Some(at)) = (framing, parity, serial.get("framing")) {
        ground.warnings.push(report.problem(&at.place, UNGUARDED, Some(GUARDED.to_owned())));
    }
    Some(SerialConfig {
        data_bits,
        parity,
        stop_bits: whole(serial, "stop_bits").unwrap_or(1),
        framing,
        rs485: serial.get("rs485").and_then(|rs485| self::rs485(rs485, report)),
        low_latency: match text(serial, "low_latency") {
            Some("on") => LowLatency::On,
            Some("off") => LowLatency::Off,
            _ => LowLatency::default(),
        },
        ..SerialConfig::new(port, whole(serial, "baud").unwrap_or(9600))
    })
}

fn rs485(node: &Node, report: &mut Report<'_>) -> Option<Rs485Config> {
    let (before, after) = (delay(node, "delay_before", report), delay(node, "delay_after", report));
    let mode = match text(node, "mode")? {
        "kernel" => Rs485Mode::Kernel,
        "rts" => Rs485Mode::Rts,
        _ => return None,
    };
    if let (Rs485Mode::Rts, Some(at)) = (mode, node.get("rx_during_tx")) {
        let message = "`rx_during_tx`: only with `mode: kernel`; an echo is told from an answer anyway";
        report.at(&at.place, message);
    }
    let plain = Rs485Config::new(mode);
    Some(Rs485Config {
        mode,
        rts_on_send: flag(node, "rts_on_send").unwrap_or(plain.rts_on_send),
        delay_before: before.unwrap_or(plain.delay_before),
        delay_after: after.unwrap_or(plain.delay_after),
        rx_during_tx: flag(node, "rx_during_tx").unwrap_or(plain.rx_during_tx),
    })
}

fn delay(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Duration> {
    let (given, at) = (duration(node, key)?, node.get(key)?);
    if given > LONGEST_DELAY {
        let longest = LONGEST_DELAY.as_millis();
        report.at(&at.place, format!("`{key}`: expected 0ms to {longest}ms, found {}", at.found()));
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::PortConfig;
    use crate::config::{Config, Overlays, parse};
    use std::path::Path;

    fn config(keys: &str) -> Config {
        let text = format!(
            "lines: [{{ name: l, serial: {{ port: /dev/ttyS1, {keys} }}, devices: [\
             {{ name: a, profile: eastron-sdm630, unit: 1 }}] }}]\nupstreams: [{{ name: o, stdout: {{}} }}]\n"
        );
        let config = parse("linesman.yaml", &text, &Overlays::default(), Path::new("."), &[]);
        config.unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn serial(keys: &str) -> SerialConfig {
        let config = config(keys);
        let PortConfig::Serial(serial) = config.lines[0].port.clone() else { panic!("{:?}", config.lines) };
        serial
    }

    #[test]
    fn an_rs485_transmitter_is_configured_with_what_differs() {
        assert_eq!((serial("").rs485, serial("").low_latency), (None, LowLatency::Auto));
        let kernel = Rs485Config::new(Rs485Mode::Kernel);
        assert_eq!(serial("rs485: { mode: kernel }").rs485, Some(kernel));
        let rts =
            serial("rs485: { mode: rts, rts_on_send: false, delay_before: 1ms, delay_after: 0ms }").rs485;
        let wanted = Rs485Config {
            rts_on_send: false,
            delay_before: Duration::from_millis(1),
            ..Rs485Config::new(Rs485Mode::Rts)
        };
        assert_eq!(rts, Some(wanted));
        let hears = serial("rs485: { mode: kernel, rx_during_tx: true, delay_after: 100ms }").rs485.unwrap();
        assert_eq!((hears.rx_during_tx, hears.delay_after), (true, LONGEST_DELAY));
        for (word, wish) in [("auto", LowLatency::Auto), ("on", LowLatency::On), ("off", LowLatency::Off)] {
            assert_eq!(serial(&format!("low_latency: {word}")).low_latency, wish);
        }
    }

    #[test]
    fn any_speed_and_seven_bits_with_ascii() {
        assert_eq!(serial("baud: 12345").baud, 12_345);
        let ascii = serial("framing: ascii, data_bits: 7, parity: even");
        assert_eq!((ascii.data_bits, ascii.framing), (7, Framing::Ascii));
    }

    #[test]
    fn ascii_without_parity_is_doubted_and_nothing_else() {
        for (keys, doubts) in [
            ("framing: ascii", 1),
            ("framing: ascii, parity: none", 1),
            ("framing: ascii, parity: even", 0),
            ("framing: ascii, data_bits: 7, parity: odd", 0),
            ("parity: none", 0),
        ] {
            let warnings = config(keys).warnings;
            assert_eq!(warnings.len(), doubts, "{keys}");
            for warning in warnings {
                let said = warning.to_string();
                assert!(said.contains("ASCII without parity") && said.contains("parity: even"), "{said}");
            }
        }
    }
}
