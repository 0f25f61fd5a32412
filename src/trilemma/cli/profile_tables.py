"""A profile as tables: time, memory and work, and at which lengths one model overtakes another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.profiling.crossovers import Race
    from trilemma.profiling.exchange import ModelProfile, PointProfile, Profile, Value
    from trilemma.report.layout import Notes, Sheet

_TIME = {
    "ttft_ms": "TTFT",
    "tpot_ms": "TPOT",
    "decode_tokens_per_s": "decode speed",
    "batch_latency_ms": "batch latency",
    "throughput_tokens_per_s": "throughput",
}
_MEMORY = {
    "peak_memory_bytes": "peak",
    "weight_bytes": "weights",
    "state_bytes": "state",
    "gradient_bytes": "gradients",
    "optimiser_bytes": "optimiser",
    "activation_bytes": "activations",
}
_ENERGY = {
    f"{kind}{name}": f"{title}{what}"
    for kind, what in (("", ""), ("estimated_", ", estimate"))
    for name, title in (
        ("energy_j_per_example", "an example"),
        ("prefill_energy_j_per_token", "a prompt's token"),
        ("decode_energy_j_per_token", "a generated token"),
        ("generation_energy_j_per_example", "an answer"),
        ("training_energy_j_per_example", "a training example"),
    )
} | {"idle_power_w": "idle power"}
_WORK = {
    "prefill_flops": "prefill FLOPs",
    "prefill_bytes": "prefill bytes",
    "prefill_roofline_share": "of the roofline",
    "decode_flops": "decode FLOPs",
    "decode_bytes": "decode bytes",
    "decode_roofline_share": "of the roofline",
}
_STEP = {
    "training_examples_per_s": "speed",
    "step_ms": "step",
    "data_ms": "data",
    "forward_ms": "forward",
    "backward_ms": "backward",
    "optimiser_ms": "optimiser",
}

_SHEETS = (
    ("inference", "Time", _TIME),
    ("inference", "Memory", _MEMORY),
    ("inference", "Work", _WORK),
    ("inference", "Energy", _ENERGY),
    ("training", "Training: time of a step", _STEP),
    ("training", "Training: memory", _MEMORY),
    ("training", "Training: energy", _ENERGY),
)

_MARKS = {
    "noisy": ("~", "noisy: the interval reaches more than 5% to either side"),
    "drifting": ("!", "drifting: the time changed by more than 5% over the repetitions, beyond chance"),
    "undecided": ("?", "undecided: fewer than six repetitions, hence no interval"),
}


def tell(console: "Console", measured: "Profile") -> None:
    """Print a profile as tables."""
    from trilemma.analysis.metrics import format_value
    from trilemma.report.terminal import show
    from trilemma.terminal import printable

    rates = [f"{name} {format_value(rate, 'FLOP/s')}" for name, rate in measured.roofline.flops.items()]
    bandwidth = format_value(measured.roofline.bandwidth, "bytes")
    lines = [
        f"{measured.hardware}; {measured.versions}",
        f"roofline: memory {bandwidth}/s, products {', '.join(rates) or 'of no precision'}",
        *(f"{model.name}: {_described(model)}" for model in measured.models),
        *measured.notes,
    ]
    for line in lines:
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    console.print()
    show(console, list(sheets(measured)))


def _described(model: "ModelProfile") -> str:
    from trilemma.analysis.metrics import format_value

    parts = [f"{format_value(model.parameters, 'count')} weights in {model.dtype}", model.kernel]
    parts += ["torch.compile"] if model.compiled else []
    return ", ".join(parts)


def sheets(measured: "Profile") -> Iterator["Sheet"]:
    """The tables: time, memory and work of inference; time and memory of training; crossovers."""
    from trilemma.report.layout import Notes, Sheet

    for phase, title, titles in _SHEETS:
        rows = [(m.name, p) for m in measured.models for p in m.points if p.phase == phase]
        if not rows:
            continue
        shown, left_out = _columns([point for _, point in rows], titles)
        notes, marks = Notes(), set[str]()
        cells = []
        for name, point in rows:
            method = (point.adaptation,) if phase == "training" else ()
            row = tuple(_cell(point.values.get(metric), notes, marks) for metric in shown)
            cells.append((name, *method, str(point.batch), str(point.length), *row))
        if not (shown or left_out):
            continue  # nothing of this kind was asked for
        fixed = ("model", *(("method",) if phase == "training" else ()), "batch", "length")
        legend = tuple(f"{sign} {text}" for word, (sign, text) in _MARKS.items() if word in marks)
        if title == "Time" and any(model.causal for model in measured.models):
            title = f"Time, with {measured.grid.decode} tokens decoded" if measured.grid.decode else title
        header = (*fixed, *(titles[metric] for metric in shown))
        yield Sheet(title, header, tuple(cells), (*left_out, *notes.lines(), *legend), fixed=len(fixed))
    yield from _crossovers(measured)


def _crossovers(measured: "Profile") -> Iterator["Sheet"]:
    """Who needs less of what at which lengths, two models a line."""
    from trilemma.profiling.crossovers import races
    from trilemma.report.layout import Sheet

    titles = _TIME | _MEMORY
    rows = tuple(
        (" / ".join(race.models), str(race.batch), titles[race.metric], _who(race))
        for race in races(measured)
    )
    if not rows:
        return
    notes = (
        "The length from which a model needs less is read off between the measured lengths in brackets, at "
        "which the intervals tell the two apart.",
    )
    header = ("models", "batch", "of what", "who needs less")
    yield Sheet("Who needs less, by length", header, rows, notes, fixed=2)


def _who(race: "Race") -> str:
    """The leads of a race in words."""
    if not race.leads:
        return "not told apart"
    if not race.crossings:
        (lead,) = race.leads
        if lead.lengths == race.lengths:
            return f"{lead.model}, at every length"
        left = [length for length in race.lengths if length not in lead.lengths]
        if len(left) < len(lead.lengths):
            return f"{lead.model}, at every length but {_listed(left)}"
        return f"{lead.model}, told apart at {_listed(lead.lengths)}"
    later = []
    for model, length, low, high in race.crossings:
        about = min(max(float(f"{length:.2g}"), low), high)
        later.append(f"{model} from about {about:,.0f} [{low:,}, {high:,}]")
    last = race.leads[-1]
    open_end = "" if last.last == race.lengths[-1] else f", told apart to {last.last:,}"
    return "; ".join([race.leads[0].model, *later]) + open_end


def _listed(lengths: Sequence[int]) -> str:
    return ", ".join(f"{length:,}" for length in lengths)


def _columns(points: Sequence["PointProfile"], titles: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Metrics that have a value somewhere, or several reasons for none; and what is said of the others."""
    shown, reasons = [], dict[str, list[str]]()
    for metric in titles:
        values = [point.values[metric] for point in points if metric in point.values]
        notes = {value.note for value in values}
        if any(value.value is not None for value in values) or len(notes) > 1:
            shown.append(metric)
        elif notes:
            reasons.setdefault(notes.pop(), []).append(titles[metric])
    return shown, [f"{', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _cell(value: "Value | None", notes: "Notes", marks: set[str]) -> str:
    """A number with its interval and the mark of its verdict; a dash with the mark of its reason."""
    from trilemma.analysis.metrics import format_value

    if value is None:
        return "–"
    if value.value is None:
        return f"–{notes.mark(value.note)}"
    text = format_value(value.value, value.unit, value.low, value.high)
    if value.verdict in _MARKS:
        marks.add(value.verdict)
        text = f"{text} {_MARKS[value.verdict][0]}"
    return text
