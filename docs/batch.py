#!/usr/bin/env python3
"""Compact batches of linesman to JSON lines: batch.py META FILE…  (META: a message of P/meta; FILE: messages of P/b)
Reads docs/batch.proto with nothing but the package zstandard. Numbers stay exact (Decimal)."""
import json, struct, sys, zlib, zstandard
from decimal import Decimal

REASONS = {16: "no-reply", 18: "garbled", 19: "invalid", 20: "out-of-range", 21: "device-lost", 22: "line-down",
           23: "line-stuck", 24: "identity", 25: "stale", 26: "not-yet", 27: "two-answers", 28: "factor",
           29: "sensor-fault", 30: "counter-fell"}

def varints(octets):
    number = shift = 0
    for octet in octets:
        number |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            yield number
            number = shift = 0

def fields(octets):                               # protobuf: field number -> its values; submessages are octets
    at, found = 0, {}
    def varint():
        nonlocal at
        begin = at
        while octets[at] >= 0x80: at += 1
        at += 1
        return next(varints(octets[begin:at]))
    while at < len(octets):
        key = varint()
        if key & 7 == 0: value = varint()
        else:
            length = {1: 8, 5: 4}.get(key & 7) or (varint() if key & 7 == 2 else 1 / 0)
            value, at = octets[at:at + length], at + length
        found.setdefault(key >> 3, []).append(value)
    return found

def packed(message, field): return list(varints(b"".join(message.get(field, []))))
def zigzag(numbers): return [(n >> 1) ^ -(n & 1) for n in numbers]
def signed(n): return (n + 2**63) % 2**64 - 2**63
def at(items, n, default): return items[n] if n < len(items) else default
def one(message, field, default=0): return message.get(field, [default])[-1]

def restored(differences, order, count):          # whole numbers from their differences
    out, slope = [], 0
    for n in range(count):
        base = 0 if n == 0 else out[0] if order == 0 else out[-1] + (slope if order == 2 else 0)
        out.append(signed(base + at(differences, n, 0)))
        slope = out[-1] - out[-2] if n else 0
    return out

def summed(first, step, differences, rows):
    out = []
    for n in range(rows):
        out.append(signed((out[-1] + step if n else first) + at(differences, n, 0)))
    return out

def batch(payload, meta=None):
    b = fields(zstandard.ZstdDecompressor().decompressobj().decompress(payload))
    t0, schema = struct.unpack("<q", one(b, 1, bytes(8)))[0], struct.unpack("<I", one(b, 4, bytes(4)))[0]
    known = meta["devices"] if meta and int(meta["schema"], 16) == schema else []
    out = []
    for d in map(fields, b.get(3, [])):
        name = one(d, 15, b"").decode()
        device = {"name": name, "points": []} if name else known[one(d, 1)]
        points = [p["name"] for p in device["points"]] + [e.decode() for e in d.get(14, [])]
        rows, cols = one(d, 6), d.get(2, [])
        stamps = summed(t0, one(d, 7) or one(b, 2), zigzag(packed(d, 3)), rows)
        seqs = summed(one(b, 5), one(d, 8), zigzag(packed(d, 5)), rows)
        exps, steps, orders, took = zigzag(packed(d, 9)), packed(d, 10), packed(d, 11), packed(d, 16)
        words = {one(w, 1): [w.decode() for w in w.get(2, [])] for w in map(fields, d.get(12, []))}
        places, codes = packed(d, 13) or range(len(cols)), [[0] * rows for _ in cols]
        for q in map(fields, d.get(4, [])):
            runs = packed(q, 2)
            pattern = [code for code, length in zip(runs[::2], runs[1::2]) for _ in range(length)]
            for col in packed(q, 1): codes[col] = pattern + [0] * (rows - len(pattern))
        readings = [{"device": device["name"], "ts": ts, "values": {}} for ts in stamps]
        for c, col in enumerate(cols):
            numbers = iter(restored(zigzag(varints(col)), at(orders, c, 1), codes[c].count(0)))
            for row, code in enumerate(codes[c]):
                point, reading = points[places[c]], readings[row]
                if code == 0:
                    n = next(numbers)
                    reading["values"][point] = json.loads(words[c][n], parse_float=Decimal) if c in words else \
                        Decimal(n * at(steps, c, 1)).scaleb(at(exps, c, 0))
                elif code != 1:
                    reading.setdefault("bad", {})[point] = REASONS.get(code, "invalid") if code < 256 else f"exception-{code - 256}"
        for n, reading in enumerate(readings):
            if at(took, n, 0): reading["took"] = took[n]
            if one(b, 6) & 4: reading["clock"] = "unsure"
            reading |= {"seq": seqs[n] % 2**64, "epoch": one(b, 7, bytes(4))[::-1].hex()}
        out += readings
    return sorted(out, key=lambda reading: reading["seq"])

def plain(value):                                 # JSON with the digits of a Decimal, as they are
    if isinstance(value, dict): return "{" + ",".join(f"{json.dumps(k)}:{plain(v)}" for k, v in value.items()) + "}"
    return format(value, "f") if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)

if __name__ == "__main__":
    meta = json.load(open(sys.argv[1])) if sys.argv[1] != "-" else None
    for path in sys.argv[2:]:
        for reading in batch(open(path, "rb").read(), meta): print(plain(reading))
