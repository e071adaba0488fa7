"""Meters that are not ours: pymodbus serves the registers of profiles, on a pseudo-terminal or by TCP.

    meter.py (--rtu LINK | --ascii LINK | --tcp | --rtu-over-tcp) PROFILE.yaml@UNIT ...

The profiles are read here a second time, by other code than linesman's, so that a mistake in reading them cannot hide.
Prints one line of JSON for each unit, {"unit": 1, "values": {point: "what linesman should publish"}}, then
{"ready": "the link, or host:port"}; serves until standard input is closed.
"""

import argparse
import asyncio
import json
import os
import struct
import sys
import threading
import tty
from fractions import Fraction

import yaml
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

TABLES = ("coil", "discrete", "holding", "input")
PYMODBUS = ModbusClientMixin.DATATYPE
NUMBERS = {
    "u16": PYMODBUS.UINT16, "s16": PYMODBUS.INT16, "u32": PYMODBUS.UINT32, "s32": PYMODBUS.INT32,
    "u64": PYMODBUS.UINT64, "s64": PYMODBUS.INT64, "f32": PYMODBUS.FLOAT32, "f64": PYMODBUS.FLOAT64,
}
# A meter's unit in terms of the unit in which a reading leaves.
CANONICAL = {
    "kW": 1000, "MW": 10**6, "kvar": 1000, "kVA": 1000, "mV": Fraction(1, 1000), "kV": 1000,
    "Wh": Fraction(1, 1000), "MWh": 1000, "varh": Fraction(1, 1000), "Mvarh": 1000, "VAh": Fraction(1, 1000), "MVAh": 1000,
    "mbar": Fraction(1, 1000), "Pa": Fraction(1, 10**5), "hPa": Fraction(1, 1000), "kPa": Fraction(1, 100), "MPa": 10,
    "L": Fraction(1, 1000), "l": Fraction(1, 1000), "L/h": Fraction(1, 1000), "l/h": Fraction(1, 1000),
    "L/min": Fraction(6, 100), "l/min": Fraction(6, 100), "cm": Fraction(1, 100), "mm": Fraction(1, 1000), "min": 60,
}


def exact(text):
    """A number as the profile writes it: a decimal, or a ratio."""
    return Fraction(str(text))


def decimal(value):
    """The shortest decimal of a fraction whose denominator is made of twos and fives."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
        assert digits < 40, value
    number = int(value * 10**digits)
    text = f"{abs(number):0{digits + 1}d}"
    text = text if digits == 0 else f"{text[:-digits]}.{text[-digits:]}"
    return ("-" if number < 0 else "") + text


class Meter:
    """One profile's registers with a known value in each."""

    def __init__(self, path, unit):
        with open(path, encoding="utf-8") as file:
            profile = yaml.safe_load(file)
        self.unit = unit
        self.modbus = profile.get("modbus") or {}
        self.tables = {table: {} for table in TABLES}
        self.values = {}
        for index, (name, point) in enumerate(profile["points"].items()):
            self.add(index, str(name), point)

    def add(self, index, name, point):
        table, address = self.place(point)
        if table in ("coil", "discrete"):
            self.tables[table][address] = bool(index % 2)
            self.values[name] = "true" if index % 2 else "false"
            return
        for raw in self.candidates(index, point):
            words = self.words(point, raw)
            known = self.tables[table]
            if any(known.get(address + i, word) != word for i, word in enumerate(words)):
                continue  # another point holds the same register, with another value
            value = self.value(point, raw)
            if value is None:
                continue
            known.update({address + i: word for i, word in enumerate(words)})
            self.values[name] = value
            return
        raise SystemExit(f"no value fits {name}: {point}")

    @staticmethod
    def place(point):
        for table in TABLES:
            if table in point:
                return table, int(point[table])
        number = str(point["register"])
        table = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}[number.zfill(5)[0]]
        return table, int(number.zfill(5)[1:]) - 1

    @staticmethod
    def candidates(index, point):
        """Raw values to try, the more telling ones first."""
        kind = str(point.get("type", "u16"))
        if "enum" in point:
            return list(point["enum"])
        if kind.startswith("string"):
            return [f"M{index:03d}"]
        if kind in ("f32", "f64"):
            return [100 + index + 0.375, 20 + index % 8 + 0.5, 7.25, 0.75, 0.5, 0.25, 0.0]
        big = [2**53 + 1 + 10 * index] if kind in ("u64", "s64") else []
        long = [70000 + 7 * index] if kind in ("u32", "s32", "bcd32") else []
        return big + long + [1000 + 7 * index, 200 + index % 40, 40 + index % 8, 3, 1, 0]

    def words(self, point, raw):
        kind = str(point.get("type", "u16"))
        if kind in ("bool", "bits"):
            return [int(raw) & 0xFFFF]
        if kind.startswith("string"):
            octets = raw.encode().ljust(2 * int(kind.split(":")[1]), b"\0")
            return list(struct.unpack(f">{len(octets) // 2}H", octets))
        if kind.startswith("bcd"):
            octets = bytes.fromhex(f"{int(raw):0{int(kind[3:]) // 4}d}")
            words = list(struct.unpack(f">{len(octets) // 2}H", octets))
        else:
            words = ModbusClientMixin.convert_to_registers(raw, NUMBERS[kind])
        if point.get("word_order", self.modbus.get("word_order", "big")) == "little":
            words.reverse()
        if self.modbus.get("byte_order", "big") == "little":
            words = [(word >> 8) | (word & 0xFF) << 8 for word in words]
        return words

    def value(self, point, raw):
        """What linesman should publish; nothing if this raw value is invalid or out of range here."""
        kind = str(point.get("type", "u16"))
        if kind.startswith("string"):
            return json.dumps(raw)
        if "bit" in point:
            return "true" if int(raw) >> int(point["bit"]) & 1 else "false"
        if kind == "bool":
            return "true" if raw else "false"
        if raw in [number for number in point.get("invalid", []) if not isinstance(number, str)]:
            return None
        if "enum" in point:
            return json.dumps(point["enum"][raw])
        value = Fraction(raw) * exact(point.get("scale", 1)) + exact(point.get("offset", 0))
        low, high = (exact(bound) for bound in point.get("range", ["-1e30", "1e30"]))
        if not low <= value <= high:
            return None
        if point.get("quantity") != "other":
            value *= CANONICAL.get(point.get("unit"), 1)
        return decimal(value)

    def device(self):
        """The same for pymodbus; an address that no point has is refused with exception 2."""
        cell_of = {DataType.BITS: [False], DataType.REGISTERS: [0]}  # no table may be empty
        blocks = []
        for table in TABLES:
            cells = sorted(self.tables[table].items())
            kind = DataType.BITS if table in ("coil", "discrete") else DataType.REGISTERS
            runs = []
            for address, cell in cells:
                if runs and runs[-1][0] + len(runs[-1][1]) == address:
                    runs[-1][1].append(cell)
                else:
                    runs.append((address, [cell]))
            blocks.append([SimData(address, values=values, datatype=kind) for address, values in runs]
                          or [SimData(65000, values=cell_of[kind], datatype=kind)])
        return SimDevice(id=self.unit, simdata=tuple(blocks))


def pump(one, other):
    """Carries octets from one pseudo-terminal to the other: the two ends of a cable."""
    while True:
        try:
            octets = os.read(one, 512)
        except OSError:
            return
        os.write(other, octets)


def cable(link):
    """Two pseudo-terminals joined back to back: linesman opens the link, pymodbus the path that is returned."""
    ends = [os.openpty() for _ in range(2)]
    for _, slave in ends:
        tty.setraw(slave)
    os.symlink(os.ttyname(ends[0][1]), link)
    masters = [master for master, _ in ends]
    for pair in (masters, masters[::-1]):
        threading.Thread(target=pump, args=pair, daemon=True).start()
    return os.ttyname(ends[1][1])


async def serve(options):
    meters = [Meter(path, int(unit)) for path, unit in (meter.rsplit("@", 1) for meter in options.meters)]
    devices = [meter.device() for meter in meters]
    units = {meter.unit for meter in meters}

    def silent_for_others(sending, octets):
        """A unit that is not there says nothing; pymodbus 3.16 would send exception 4."""
        if not sending or not octets:
            return octets
        unit = int(octets[1:3], 16) if options.ascii else octets[0]
        return octets if unit in units else b""

    link = options.rtu or options.ascii
    framer = FramerType.ASCII if options.ascii else FramerType.RTU
    if link:
        server = ModbusSerialServer(devices, framer=framer, port=cable(link), baudrate=9600,
                                    trace_packet=silent_for_others)
    elif options.rtu_over_tcp:
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", 0), trace_packet=silent_for_others)
    else:
        server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    place = link or "127.0.0.1:%d" % server.transport.sockets[0].getsockname()[1]
    for meter in meters:
        print(json.dumps({"unit": meter.unit, "values": meter.values}))
    print(json.dumps({"ready": place}), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


def main():
    parser = argparse.ArgumentParser()
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--rtu", metavar="LINK")
    where.add_argument("--ascii", metavar="LINK")
    where.add_argument("--tcp", action="store_true")
    where.add_argument("--rtu-over-tcp", action="store_true")
    parser.add_argument("meters", nargs="+", metavar="PROFILE.yaml@UNIT")
    asyncio.run(serve(parser.parse_args()))


main()
