"""Payloads as pysparkplug reads them: lines of VERB DEVICE HEX in, a line of JSON each out."""

import json
import sys

import pysparkplug

KINDS = {
    "NBIRTH": pysparkplug.NBirth,
    "DBIRTH": pysparkplug.DBirth,
    "NDATA": pysparkplug.NData,
    "DDATA": pysparkplug.DData,
    "DDEATH": pysparkplug.DDeath,
}


def value(metric):
    found = metric.value
    if metric.is_null or found is None:
        return None
    if isinstance(found, bool):
        return {"boolean": found}
    if isinstance(found, int):
        return {"whole": str(found)}
    if isinstance(found, float):
        return {"double": found}
    return {"text": found}


births = {}
for line in sys.stdin:
    verb, device, octets = line.rstrip("\n").split(" ")
    raw = bytes.fromhex(octets)
    if verb == "NDEATH":
        said = {"metrics": [pysparkplug.NDeath.decode(raw).bd_seq_metric]}
    else:
        payload = KINDS[verb].decode(raw, birth=births.get(device))
        if verb in ("NBIRTH", "DBIRTH"):
            births[device] = payload
        metrics = list(getattr(payload, "metrics", ()))
        said = {"seq": payload.seq, "timestamp": payload.timestamp, "metrics": metrics}
    said["metrics"] = [
        {
            "name": metric.name,
            "alias": metric.alias,
            "timestamp": metric.timestamp,
            "datatype": int(metric.datatype),
            "historical": metric.is_historical,
            "value": value(metric),
        }
        for metric in said["metrics"]
    ]
    print(json.dumps(said), flush=True)
