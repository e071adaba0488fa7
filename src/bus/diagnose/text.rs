//! What is said of a finding: what it is, and what to look for.

pub(super) const SILENCE_ON_WIRES: &str =
    "no octets at all: is it powered, is the unit id right, are A and B connected?";
pub(super) const SILENCE_ON_A_NETWORK: &str =
    "no answer at all: is the unit id right, is it powered, does the far end know it?";
pub(super) const NO_VALID_FRAME: &str = "octets come, but no valid frame: its baud rate or parity differs, A and B are swapped, or two devices have its unit id";
pub(super) const TWO_ANSWERS: &str = "two different answers to one question: two devices have this unit id; none of its values is believed until one of them has another";
pub(super) const NOBODY_ON_WIRES: &str = "nobody on this line has said anything: is it the right port, are A and B connected and not swapped, is the bus powered?";
pub(super) const NOBODY_ON_A_NETWORK: &str = "the far end takes the connection and answers nothing: are the unit ids right, is it Modbus TCP (not RTU over TCP) that it speaks?";
pub(super) const ECHO: &str = "our own questions come back: the adapter hears itself; the echo is taken off (a jumper or DIP switch on it turns the receiver off while it sends)";
pub(super) const ANOTHER_MASTER: &str = "somebody else asks questions on this line: a second master (a PLC, a logger, another gateway) must be taken off it";
pub(super) const OVERLOAD: &str = "more is asked of this line than it can carry: turns are missed, and what is read back to back waits; `linesman plan` says which periods can't be kept, and what would help";
pub(super) const BABBLE: &str = "octets without end: a device that babbles, a missing bias or termination, or A and B swapped; take the devices off one by one";
