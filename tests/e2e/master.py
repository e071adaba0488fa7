"""A Modbus master that is not ours: pymodbus asks one meter for everything and says what it got.

master.py rtu|ascii|tcp|rtu-over-tcp|ascii-over-tcp PLACE UNIT      PLACE: a serial port, or host:port

One JSON object on standard output.
"""

import json
import struct
import sys

from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient, ModbusTcpClient

FRAMERS = {
    "rtu": FramerType.RTU,
    "ascii": FramerType.ASCII,
    "tcp": FramerType.SOCKET,
    "rtu-over-tcp": FramerType.RTU,
    "ascii-over-tcp": FramerType.ASCII,
}


def client_of(kind, place):
    if "tcp" in kind:
        host, port = place.rsplit(":", 1)
        return ModbusTcpClient(host, port=int(port), framer=FRAMERS[kind], timeout=10, retries=0)
    return ModbusSerialClient(place, framer=FRAMERS[kind], baudrate=19200, timeout=10, retries=0)


def said(reply, show):
    """What a reply says, or its exception code."""
    return f"exception {reply.exception_code}" if reply.isError() else show(reply)


def ask(client, unit):
    volts = client.read_input_registers(0, count=2, device_id=unit)
    server = client.report_device_id(device_id=unit)
    echo = client.diag_query_data(b"\x5a\xa5", device_id=unit)
    found = {
        "volts": said(volts, lambda r: struct.unpack(">f", struct.pack(">HH", *r.registers))[0]),
        "server_id": said(server, lambda r: r.identifier.decode("ascii")),
        "running": said(server, lambda r: r.status),
        "echo": said(echo, lambda r: bytes(r.message).hex()),
    }
    for level, code in (("basic", 1), ("regular", 2), ("specific", 4)):
        reply = client.read_device_information(
            read_code=code, object_id=5 if code == 4 else 0, device_id=unit
        )
        found[level] = said(reply, lambda r: {str(k): v.decode() for k, v in r.information.items()})
    wrong = client.read_device_information(read_code=4, object_id=0x70, device_id=unit)
    found["no_such_object"] = said(wrong, lambda r: "an answer")
    return found


def main():
    kind, place, unit = sys.argv[1], sys.argv[2], int(sys.argv[3])
    client = client_of(kind, place)
    if not client.connect():
        sys.exit(f"{place}: no connection")
    print(json.dumps(ask(client, unit)))
    client.close()


main()
