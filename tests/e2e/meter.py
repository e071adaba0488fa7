"""Meters that are not ours: pymodbus serves the registers of profiles, on a pseudo-terminal or by TCP.

    meter.py (--rtu LINK | --ascii LINK | --tcp | --rtu-over-tcp) [--twin UNIT] [--master UNIT] PROFILE.yaml@UNIT[/BAUD] ...

Instead of a profile, `sunspec:BASE:MODEL[/LENGTH],…` is a chain of SunSpec models (sunspec.py).

On a pseudo-terminal a meter with a baud rate answers only while linesman's end is set to it. --twin: a second meter of this
unit id answers right after the first; --master: another master on the same bus, a pymodbus client, asks this unit.

The profiles are read here a second time, by other code than linesman's, so that a mistake in reading them cannot hide.
Prints one line of JSON for each unit, {"unit": 1, "values": {point: "what linesman should publish"}}, then
{"ready": "the link, or host:port"}; serves until standard input is closed.
"""

import argparse
import asyncio
import contextlib
import fcntl
import json
import os
import struct
import sys
import threading
import tty
from fractions import Fraction

import sunspec
import yaml
from pymodbus.client import AsyncModbusSerialClient
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.framer import FramerRTU, FramerType
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
    "mL": Fraction(1, 10**6), "mS/cm": 1000, "µg/L": Fraction(1, 1000),
}


# What a living meter shows, in the canonical unit: so that a scan can tell which meter it is.
LIVING = {"voltage": 230, "frequency": 50, "power-factor": Fraction(3, 4), "temperature": 21, "humidity": 45}


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
        self.tables = {table: {} for table in TABLES}
        if path.startswith("sunspec:"):
            self.unit = unit
            self.tables["holding"], self.values = sunspec.chain(path.removeprefix("sunspec:"), unit, decimal)
            return
        with open(path, encoding="utf-8") as file:
            profile = yaml.safe_load(file)
        self.unit = unit
        self.modbus = profile.get("modbus") or {}
        self.values = {}
        for index, (name, point) in enumerate(profile["points"].items()):
            self.add(index, str(name), point)
        for mark in profile.get("identify") or []:
            table, address = self.place(mark)
            self.tables[table][address] = int(mark["equals"])

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
        living = LIVING.get(point.get("quantity"))
        if living is not None and kind in NUMBERS:
            raw = (Fraction(living) / CANONICAL.get(point.get("unit"), 1) - exact(point.get("offset", 0))) / exact(point.get("scale", 1))
            near = float(round(raw * 8) / 8) if kind in ("f32", "f64") else int(raw) + index % 3
            return [near, 0]
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
        if "resolution" in point:
            steps = value / exact(point["resolution"])
            if abs(steps % 1) == Fraction(1, 2):
                return None  # either way would be right
            value = round(steps) * exact(point["resolution"])
        if not low <= value <= high:
            return None
        if point.get("quantity") == "operating-time":  # leaves in hours, other times in seconds
            value *= {"min": Fraction(1, 60), "s": Fraction(1, 3600), "h": 1}[point["unit"]]
        elif point.get("quantity") != "other":
            value *= CANONICAL.get(point.get("unit"), 1)
        # A third has no decimal: another value is tried.
        return decimal(value) if 10**30 % value.denominator == 0 else None

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


def pump(one, others):
    """Carries octets from one pseudo-terminal to the others: the stations of a bus."""
    while True:
        try:
            octets = os.read(one, 512)
        except OSError:
            return
        for other in others:
            os.write(other, octets)


def bus(link, stations):
    """Pseudo-terminals joined back to back: linesman opens the link, pymodbus the paths that are returned. The first
    that is returned is the far side of linesman's own."""
    ends = [os.openpty() for _ in range(1 + stations)]
    for _, slave in ends:
        tty.setraw(slave)
    os.symlink(os.ttyname(ends[0][1]), link)
    masters = [master for master, _ in ends]
    for master in masters:
        others = [other for other in masters if other != master]
        threading.Thread(target=pump, args=(master, others), daemon=True).start()
    return masters[0], [os.ttyname(slave) for _, slave in ends[1:]]


def rate(terminal):
    """The baud rate that whoever has opened it has set: by TCGETS2, since rates by number are none of termios' constants."""
    settings = fcntl.ioctl(terminal, 0x802C542A, bytes(44))
    return struct.unpack("4I B 19s 2I", settings)[-1]


def other_values(octets):
    """The same RTU reply with another first value, as another meter would give it."""
    body = bytearray(octets[:-2])
    body[-1] ^= 0x55
    return bytes(body) + FramerRTU.compute_CRC(bytes(body)).to_bytes(2, "big")


async def ask_again_and_again(port, meter):
    """Another master on the bus."""
    client = AsyncModbusSerialClient(port, baudrate=9600, retries=0, timeout=1)
    await client.connect()
    ask = {"input": client.read_input_registers, "holding": client.read_holding_registers}
    table = "input" if meter.tables["input"] else "holding"
    address = min(meter.tables[table])
    while True:
        with contextlib.suppress(Exception):
            await ask[table](address, count=2, device_id=meter.unit)
        await asyncio.sleep(0.2)


async def serve(options):
    places = [(path, *unit.partition("/")[::2]) for path, unit in (meter.rsplit("@", 1) for meter in options.meters)]
    meters = [Meter(path, int(unit)) for path, unit, _ in places]
    rates = {int(unit): int(baud) for _, unit, baud in places if baud}
    linesman = None
    devices = [meter.device() for meter in meters]
    units = {meter.unit for meter in meters}

    def silent_for_others(sending, octets):
        """A unit that is not there says nothing; pymodbus 3.16 would send exception 4."""
        if not sending or not octets:
            return octets
        unit = int(octets[1:3], 16) if options.ascii else octets[0]
        if unit not in units or unit in rates and rates[unit] != rate(linesman):
            return b""
        return octets + other_values(octets) if unit == options.twin else octets

    link = options.rtu or options.ascii
    framer = FramerType.ASCII if options.ascii else FramerType.RTU
    if link:
        linesman, (port, *another) = bus(link, 2 if options.master else 1)
        server = ModbusSerialServer(devices, framer=framer, port=port, baudrate=9600,
                                    trace_packet=silent_for_others)
    elif options.rtu_over_tcp:
        server = ModbusTcpServer(devices, framer=framer, address=("127.0.0.1", 0), trace_packet=silent_for_others)
    else:
        server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    place = link or "127.0.0.1:%d" % server.transport.sockets[0].getsockname()[1]
    if options.master:
        asked = next(meter for meter in meters if meter.unit == options.master)
        master = asyncio.create_task(ask_again_and_again(another[0], asked))  # noqa: F841: or else it is collected
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
    parser.add_argument("--twin", metavar="UNIT", type=int)
    parser.add_argument("--master", metavar="UNIT", type=int)
    parser.add_argument("meters", nargs="+", metavar="PROFILE.yaml@UNIT[/BAUD]")
    asyncio.run(serve(parser.parse_args()))


main()
