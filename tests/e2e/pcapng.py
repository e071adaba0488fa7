"""Reads a capture with nothing of linesman's: pcap-ng, exported PDUs, IPv4, TCP, Modbus, each from its own specification.

    pcapng.py FILE

Prints one line of JSON for each answer to a question for registers: {"line", "unit", "address", "values"}. Ends with an error where a
block, a checksum, a sequence number or the order of time is wrong.
"""

import json
import struct
import sys

SECTION, INTERFACE, STATISTICS, PACKET = 0x0A0D0D0A, 1, 5, 6
RAW_IP, UPPER_PDU = 101, 252


def options(octets):
    found, at = {}, 0
    while at + 4 <= len(octets):
        code, length = struct.unpack_from("<HH", octets, at)
        if code == 0:
            assert length == 0 and at + 4 == len(octets), "options end with the block"
            return found
        found[code] = octets[at + 4:at + 4 + length]
        at += 4 + (length + 3) // 4 * 4
    assert not octets, "options without an end"
    return found


def blocks(octets):
    at = 0
    while at < len(octets):
        kind, length = struct.unpack_from("<II", octets, at)
        assert length % 4 == 0 and length >= 12, (at, length)
        assert struct.unpack_from("<I", octets, at + length - 4) == (length,), at
        yield kind, octets[at + 8:at + length - 4]
        at += length
    assert at == len(octets), "the last block is cut off"


def ones_complement(octets):
    octets += b"\0" * (len(octets) % 2)
    total = sum(struct.unpack(f">{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def crc(octets):
    value = 0xFFFF
    for octet in octets:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def serial(octets):
    """The octets behind the tags, which name the dissector that Wireshark will take."""
    at, name = 0, None
    while True:
        tag, length = struct.unpack_from(">HH", octets, at)
        value, at = octets[at + 4:at + 4 + length], at + 4 + length
        if tag == 0:
            break
        if tag == 12:
            name = value.rstrip(b"\0")
    assert name == b"mbrtu", name
    return octets[at:]


def tcp(packet, sequences):
    assert packet[0] == 0x45 and packet[9] == 6 and struct.unpack_from(">H", packet, 2)[0] == len(packet)
    assert ones_complement(packet[:20]) == 0xFFFF, "checksum of IP"
    pseudo = packet[12:20] + struct.pack(">BBH", 0, 6, len(packet) - 20)
    assert ones_complement(pseudo + packet[20:]) == 0xFFFF, "checksum of TCP"
    source, destination, sequence, acknowledged, offset = struct.unpack_from(">HHIIB", packet, 20)
    assert 502 in (source, destination), (source, destination)
    ends = packet[12:16] + packet[20:22], packet[16:20] + packet[22:24]
    adu = packet[20 + (offset >> 4) * 4:]
    assert sequences.get(ends, sequence) == sequence, "sequence number"
    assert sequences.get(ends[::-1], acknowledged) == acknowledged, "acknowledged number"
    sequences[ends] = sequence + len(adu) & 0xFFFFFFFF
    return adu


class Line:
    """What was asked on a line, and what has been heard since."""

    def __init__(self, link, name):
        self.link, self.name, self.last = link, name, 0
        self.question, self.heard, self.sequences, self.asked = None, b"", {}, {}

    def packet(self, sent, at, data):
        assert self.link == RAW_IP or at >= self.last, "time runs backwards on a line"
        self.last = at
        if self.link == UPPER_PDU:
            self.serial(sent, serial(data))
        else:
            self.adu(sent, tcp(data, self.sequences))

    def serial(self, sent, octets):
        if not sent:
            self.heard += octets
            return
        self.settle()
        assert crc(octets[:-2]) == octets[-2:], "a question of ours with a wrong checksum"
        self.question, self.heard = struct.unpack_from(">BBHH", octets), b""

    def settle(self):
        """Noise may stand before an answer, and an answer may come in pieces."""
        if self.question is None:
            return
        unit, function, address, count = self.question
        length = 5 + 2 * count
        for start in range(len(self.heard) - length + 1):
            frame = self.heard[start:start + length]
            if frame[:3] == bytes((unit, function, 2 * count)) and crc(frame[:-2]) == frame[-2:]:
                self.show(unit, address, frame[3:-2])
                return

    def adu(self, sent, octets):
        transaction, protocol, length, unit = struct.unpack_from(">HHHB", octets)
        assert protocol == 0 and length == len(octets) - 6
        if sent:
            self.asked[transaction] = struct.unpack_from(">HH", octets, 8)
        else:
            address, count = self.asked.pop(transaction)
            assert octets[8] == 2 * count == len(octets) - 9
            self.show(unit, address, octets[9:])

    def show(self, unit, address, data):
        values = struct.unpack(f">{len(data) // 2}H", data)
        print(json.dumps({"line": self.name, "unit": unit, "address": address, "values": values}))


def main():
    with open(sys.argv[1], "rb") as file:
        octets = file.read()
    lines = []
    for kind, body in blocks(octets):
        if kind == SECTION:
            magic, major, minor, _ = struct.unpack_from("<IHHq", body)
            assert (magic, major, minor) == (0x1A2B3C4D, 1, 0)
            options(body[16:])
            assert not lines, "one section"
        elif kind == INTERFACE:
            (link,) = struct.unpack_from("<H", body)
            about = options(body[8:])
            assert about[9] == b"\6", "microseconds"
            lines.append(Line(link, about[2].decode()))
        elif kind == PACKET:
            number, high, low, length, original = struct.unpack_from("<IIIII", body)
            assert length == original
            after = options(body[20 + (length + 3) // 4 * 4:])
            sent = {1: False, 2: True}[struct.unpack("<I", after[2])[0] & 3]
            lines[number].packet(sent, high << 32 | low, body[20:20 + length])
        else:
            assert kind == STATISTICS, kind
    for line in lines:
        line.settle()


main()
