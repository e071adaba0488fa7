"""Renders Home Assistant's templates with Jinja, which is not ours: one JSON object a line in, one text a line out.

In: {"template", "payload" (text), "state" (of the entity before)}. Home Assistant gives a template `value`, `value_json`
and `this`, and takes what comes out as text."""
import json
import sys
from types import SimpleNamespace

from jinja2.sandbox import ImmutableSandboxedEnvironment

environment = ImmutableSandboxedEnvironment()
for line in sys.stdin:
    case = json.loads(line)
    template = environment.from_string(case["template"])
    payload = case["payload"]
    out = template.render(
        value=payload, value_json=json.loads(payload), this=SimpleNamespace(state=case.get("state", "unknown"))
    )
    print(json.dumps(out.strip()), flush=True)
