"""SunSpec devices that are not ours: a chain of models with a known value in each point, after sunspec/models.

The layouts are written down here a second time, as the models have them: a row of points, each with its type and its scale
factor, so that a mistake in linesman's table of offsets cannot hide. u uint16, i int16, e enum16, b bitfield32, a acc32, F
float32, f a scale factor.
"""

import json
import re
import struct
from fractions import Fraction

END = (0xFFFF, 0)
SENTINEL = {"u": (0xFFFF,), "e": (0xFFFF,), "i": (0x8000,), "f": (0x8000,), "b": (0xFFFF, 0xFFFF), "a": (0, 0),
            "F": (0x7FC0, 0)}

INVERTER = """A:u*A_SF AphA:u*A_SF AphB:u*A_SF AphC:u*A_SF A_SF:f PPVphAB:u*V_SF PPVphBC:u*V_SF PPVphCA:u*V_SF PhVphA:u*V_SF
    PhVphB:u*V_SF PhVphC:u*V_SF V_SF:f W:i*W_SF W_SF:f Hz:u*Hz_SF Hz_SF:f VA:i*VA_SF VA_SF:f VAr:i*VAr_SF VAr_SF:f PF:i*PF_SF PF_SF:f
    WH:a*WH_SF WH_SF:f DCA:u*DCA_SF DCA_SF:f DCV:u*DCV_SF DCV_SF:f DCW:i*DCW_SF DCW_SF:f TmpCab:i*Tmp_SF TmpSnk:i*Tmp_SF
    TmpTrns:i*Tmp_SF TmpOt:i*Tmp_SF Tmp_SF:f St:e StVnd:e Evt1:b Evt2:b EvtVnd1:b EvtVnd2:b EvtVnd3:b EvtVnd4:b""".split()


def counters(kind, scale, phases):
    return [f"{kind}{phase}:a*{scale}" for phase in [""] + [f"{phases}{letter}" for letter in "ABC"]]


METER = """A:i*A_SF AphA:i*A_SF AphB:i*A_SF AphC:i*A_SF A_SF:f PhV:i*V_SF PhVphA:i*V_SF PhVphB:i*V_SF PhVphC:i*V_SF PPV:i*V_SF
    PPVphAB:i*V_SF PPVphBC:i*V_SF PPVphCA:i*V_SF V_SF:f Hz:i*Hz_SF Hz_SF:f W:i*W_SF WphA:i*W_SF WphB:i*W_SF WphC:i*W_SF W_SF:f VA:i*VA_SF
    VAphA:i*VA_SF VAphB:i*VA_SF VAphC:i*VA_SF VA_SF:f VAR:i*VAR_SF VARphA:i*VAR_SF VARphB:i*VAR_SF VARphC:i*VAR_SF VAR_SF:f PF:i*PF_SF
    PFphA:i*PF_SF PFphB:i*PF_SF PFphC:i*PF_SF PF_SF:f""".split()
for one, scale in (("TotWhExp", "TotWh_SF"), ("TotWhImp", "TotWh_SF"), (None, "TotWh_SF"), ("TotVAhExp", "TotVAh_SF"), ("TotVAhImp", "TotVAh_SF"),
                   (None, "TotVAh_SF"), ("TotVArhImpQ1", "TotVArh_SF"), ("TotVArhImpQ2", "TotVArh_SF"), ("TotVArhExpQ3", "TotVArh_SF"),
                   ("TotVArhExpQ4", "TotVArh_SF"), (None, "TotVArh_SF")):
    METER += counters(one, scale, "Ph") if one else [f"{scale}:f"]
METER.append("Evt:b")


def floats(points):
    """The same model in floats: no scale factors, and two registers for each number."""
    kept = [point.split("*")[0] for point in points if not point.endswith(":f")]
    return [point if point[-1] in "eb" else point[:-1] + "F" for point in kept]


MODELS = {101: INVERTER, 103: INVERTER, 113: floats(INVERTER), 203: METER, 213: floats(METER)}
# What these devices have not.
LACKING = re.compile(r"TmpTrns|TmpOt|StVnd|EvtVnd[234]|TotVAhExpPh.|TotVArhExpQ3Ph.|VA_SF|VA|VAph.")
STATES = {4: "mppt"}
PHASE = {"A": "l1", "B": "l2", "C": "l3", "AB": "l1_l2", "BC": "l2_l3", "CA": "l3_l1"}
PLAIN = {
    "A": "current_sum", "PhV": "voltage_ln_avg", "PPV": "voltage_ll_avg", "Hz": "frequency", "VA": "apparent_power", "VAr": "reactive_power",
    "VAR": "reactive_power", "PF": "power_factor", "WH": "energy_export", "DCA": "dc_current", "DCV": "dc_voltage", "DCW": "dc_power",
    "TmpCab": "temperature_cabinet", "TmpSnk": "temperature_heat_sink", "TmpTrns": "temperature_transformer", "TmpOt": "temperature_other",
    "St": "state", "StVnd": "state_vendor", "Evt": "events", "Evt1": "events", "Evt2": "events_2", "EvtVnd1": "events_vendor_1",
}
OF_PHASE = {"Aph": "current", "PhVph": "voltage", "PPVph": "voltage", "Wph": "active_power", "VAph": "apparent_power", "VARph": "reactive_power",
            "PFph": "power_factor"}
ENERGY = {"Wh": "energy", "VAh": "apparent_energy", "VArh": "reactive_energy"}
QUADRANT = {"Q1": "import_inductive", "Q2": "export_capacitive", "Q3": "export_inductive", "Q4": "import_capacitive"}


def name_of(point, inverter):
    """The glossary's name."""
    if point == "W":
        return "active_power_export" if inverter else "active_power"
    if point in PLAIN:
        return PLAIN[point]
    energy = re.fullmatch(r"Tot(Wh|VAh|VArh)(Imp|Exp)(Q.)?(?:Ph(.))?", point)
    if energy:
        kind, way, quadrant, phase = energy.groups()
        way = QUADRANT[quadrant] if quadrant else {"Imp": "import", "Exp": "export"}[way]
        return f"{ENERGY[kind]}_{way}" + (f"_{PHASE[phase]}" if phase else "")
    kind, phase = re.fullmatch(r"(\w+ph)([ABC]+)", point).groups()
    return f"{OF_PHASE[kind]}_{PHASE[phase]}"


def has(model, point):
    """Whether these devices have it; a model of one phase has no others."""
    other_phase = model == 101 and re.fullmatch(r"(Aph|PhVph)[BC]|PPVph(BC|CA)", point)
    return not LACKING.fullmatch(point) and not other_phase


def exponent(index):
    return (-2, -1, 0, -3, 1)[index % 5]


def raw(kind, index):
    """A value that no other point of the model has."""
    if kind == "e":
        return 4
    if kind == "F":
        return -(200 + index + 0.375) if index % 4 == 3 else 200 + index + 0.375
    if kind in "ab":
        return 70_000 + 11 * index
    return -(1000 + 7 * index) if kind == "i" and index % 4 == 3 else 1000 + 7 * index


def words(kind, value):
    if kind == "F":
        return struct.unpack(">2H", struct.pack(">f", value))
    return (value >> 16, value & 0xFFFF) if kind in "ab" else (value & 0xFFFF,)


def text(said, registers):
    octets = said.encode().ljust(2 * registers, b"\0")
    return struct.unpack(f">{registers}H", octets)


def body(model, decimal):
    """The registers of a model behind its header, and what its points are worth."""
    registers, values = [], {}
    points = [re.fullmatch(r"(\w+):(.)(?:\*(\w+))?", point).groups() for point in MODELS[model]]
    scales = {point: exponent(index) for index, (point, kind, _) in enumerate(points) if kind == "f"}
    for index, (point, kind, scale) in enumerate(points):
        if not has(model, point):
            registers += SENTINEL[kind]
            continue
        if kind == "f":
            registers += words(kind, scales[point])
            continue
        value = raw(kind, index)
        registers += words(kind, value)
        number = Fraction(value) * Fraction(10) ** scales.get(scale, 0)
        if point.startswith("Tot") or point == "WH":
            number /= 1000
        elif point.startswith("PF"):
            number /= 100
        values[name_of(point, model < 200)] = json.dumps(STATES[value]) if point == "St" else decimal(number)
    return registers, values


def common(length, number):
    says = {"manufacturer": "pymodbus", "model": f"chain {number}", "firmware_version": "3.1", "serial_number": f"PM{number:05d}"}
    registers = [*text(says["manufacturer"], 16), *text(says["model"], 16), *[0] * 8, *text(says["firmware_version"], 8),
                 *text(says["serial_number"], 16), 1, 0x8000]
    return registers[:length], {name: json.dumps(value) for name, value in says.items()}


def chain(spelled, unit, decimal):
    """`BASE:MODEL[/LENGTH],…`: its holding registers, and what linesman should publish of it."""
    base, models = spelled.split(":")
    registers, values, at = {}, {}, int(base)

    def put(more):
        nonlocal at
        registers.update({at + index: word for index, word in enumerate(more)})
        at += len(more)

    put((0x5375, 0x6E53))
    kinds, here, who = [], [], None
    for number, spelling in enumerate(models.split(",")):
        model, _, length = spelling.partition("/")
        model = int(model)
        if model == 1:
            content, who = common(int(length or 66), 100 * unit + number)
            here = []
        elif model in MODELS:
            content, said = body(model, decimal)
            content += [0xBEEF] * (int(length or 0) - len(content))  # a newer revision
            kind = "inverter" if model < 200 else "meter"
            put((model, len(content)))
            put(content)
            if kind in here:
                continue  # the same device in another form: integers beside floats
            here.append(kind)
            kinds.append(kind)
            count = kinds.count(kinds[-1])
            before = "" if len(kinds) == 1 else f"{kinds[-1]}{'' if count == 1 else count}_"
            values.update({before + name: value for name, value in {**said, **(who or {})}.items()})
            who = None
            continue
        else:
            content = [0xABCD] * int(length or 7)
        put((model, len(content)))
        put(content)
    put(END)
    return registers, values
