"""``trilemma profile``: measure what models cost on this machine, or show a saved profile again."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.profile.exchange import ModelProfile, PointProfile, Profile, Value
    from trilemma.profile.grid import EfficiencyGrid
    from trilemma.report.layout import Notes, Sheet


def profile(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models: a folder, a hub id, or ARCH:SIZE for a new one of ours, e.g. gla:small.",
            metavar="MODEL...",
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Batch sizes, e.g. 1,4,16.")] = "1,16",
    length: Annotated[str, typer.Option(help="Tokens an input; the prompt, in generation.")] = "32,128,512",
    decode: Annotated[
        int, typer.Option(help="Tokens generated after the prompt, at least 2; 0 for none.")
    ] = 64,
    dtype: Annotated[
        str,
        typer.Option(
            help="float32, bfloat16, float16, int8 (torch's dynamic quantisation) or packed (MatMul-Free's "
            "ternary weights at two bits, of those models alone); several with commas."
        ),
    ] = "float32",
    attention: Annotated[
        str, typer.Option(help="Hugging Face's attentions, e.g. sdpa,eager; default the model's.")
    ] = "",
    compile: Annotated[bool, typer.Option("--compile", help="Run by torch.compile.")] = False,
    training: Annotated[
        bool, typer.Option("--training", help="Profile steps of full fine-tuning too, at the same points.")
    ] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; default the GPU if any.")] = None,
    rounds: Annotated[int, typer.Option(help="Most repetitions a point, at least 6.")] = 50,
    seconds: Annotated[
        float, typer.Option(help="Time that a model's repetitions at one point aim at.")
    ] = 1.0,
    time_limit: Annotated[
        float, typer.Option(help="Seconds; what takes longer once is not measured, nor are larger points.")
    ] = 30.0,
    frequencies: Annotated[
        str,
        typer.Option(help="Clock frequencies in MHz, e.g. 1200,1800,2400: time and energy at each instead."),
    ] = "",
    allow_frequency_control: Annotated[
        bool,
        typer.Option(
            "--allow-frequency-control",
            help="Let --frequencies set the whole machine's clocks; they are given back however it ends.",
        ),
    ] = False,
    max_slowdown: Annotated[
        float, typer.Option(min=0, help="Share of time that a chosen frequency may add to a phase.")
    ] = 0.05,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that a checkpoint brings.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights that are not safetensors.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the profile to this .json file.")] = None,
    saved: Annotated[
        Path | None, typer.Option("--from", help="Show a profile that was saved by --out; measures nothing.")
    ] = None,
) -> None:
    """Measure speed, memory and work of models on this machine.

    For each model and point: time to the first token (TTFT) and per further token (TPOT), tokens a second,
    latency of the whole batch, peak memory split into weights, state and activations, FLOPs, bytes, and the
    share of what this machine gives at best (its roofline, measured once). docs/profile.md explains them.
    """
    from trilemma.errors import TrilemmaError
    from trilemma.terminal import output

    console = output()
    if saved is not None:
        from trilemma.profile.exchange import read

        if models or out is not None:
            raise TrilemmaError("--from shows a saved profile alone; leave out the models and --out")
        tell(console, read(saved))
        return
    if not models:
        raise TrilemmaError("name a model to profile, e.g. gla:small, or a saved profile by --from")
    if out is not None and (out.suffix != ".json" or not out.parent.is_dir()):
        raise TrilemmaError(f"--out {out} is no .json file in a folder that exists")
    grid = grid_of(batch, length, decode, rounds, seconds, time_limit)
    dtypes, implementations = listed("dtype", dtype), listed("attention", attention) if attention else [""]

    from trilemma.profile import variants

    variants.require_known(dtypes)

    if frequencies:
        from trilemma.cli_frequency import sweep_frequencies
        from trilemma.profile.clocks import clocks_of
        from trilemma.profile.lab import require_device
        from trilemma.profile.machine import default_device

        if out is not None or training:
            raise TrilemmaError(
                "--frequencies writes no profile and trains nothing; leave out --out and --training"
            )
        require_device(device)
        asked = counts("frequencies", frequencies)
        on = device or default_device()
        with variants.opened(
            models,
            dtypes=dtypes,
            attention=implementations,
            compiled=compile,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
        ) as found:
            for line in variants.lacking(found, dtypes):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
            sweep_frequencies(
                console,
                clocks_of(on),
                found,
                grid,
                on,
                asked,
                allow=allow_frequency_control,
                slowdown=max_slowdown,
            )
        return

    from trilemma.profile import lab
    from trilemma.profile.exchange import write
    from trilemma.study.console import progress_bar

    with progress_bar(console, "profiling") as progress:
        measured = lab.run(
            models,
            grid,
            dtypes=dtypes,
            attention=implementations,
            compiled=compile,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            training=training,
            device=device,
            progress=progress,
        )
    if out is not None:
        write(measured, out)
    tell(console, measured)
    if out is not None:
        console.print(f"profile: {out}", markup=False, highlight=False, soft_wrap=True)


def listed(option: str, text: str) -> list[str]:
    """The parts between commas.

    Raises:
        TrilemmaError: for an empty one.
    """
    from trilemma.errors import TrilemmaError

    parts = [part.strip() for part in text.split(",")]
    if not all(parts) or len(set(parts)) < len(parts):
        raise TrilemmaError(f"--{option} {text!r} is no list of different names; separate them by commas")
    return parts


def counts(option: str, text: str) -> list[int]:
    """Whole numbers between commas.

    Raises:
        TrilemmaError: for anything else.
    """
    from trilemma.errors import TrilemmaError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.removeprefix("-").isascii() and part.removeprefix("-").isdecimal() for part in parts):
        raise TrilemmaError(f"--{option} {text!r} is no list of whole numbers; write for example 1,4,16")
    if any(part.startswith("-") or not part.strip("0") for part in parts):
        raise TrilemmaError(f"--{option} {text!r} holds a number below 1; give numbers from 1")
    if any(len(part) > 9 for part in parts):
        raise TrilemmaError(f"--{option} {text!r} holds a number that no machine serves; give a smaller one")
    return [int(part) for part in parts]


def grid_of(
    batch: str, length: str, decode: int, rounds: int, seconds: float, time_limit: float
) -> "EfficiencyGrid":
    """The grid that the options name; training is measured at the same points as inference.

    Raises:
        TrilemmaError: naming the option that is out of range.
    """
    from pydantic import ValidationError

    from trilemma.errors import TrilemmaError
    from trilemma.profile.grid import EfficiencyGrid

    points = {"batch": counts("batch", batch), "length": counts("length", length)}
    limits = {"decode": decode, "rounds": rounds, "seconds": seconds, "time_limit": time_limit}
    try:
        return EfficiencyGrid.model_validate({**points, **limits, "training": points})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][-2 if first["loc"][0] in points else -1]).replace("_", "-")
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise TrilemmaError(f"--{option} {first['input']}: {message}") from error


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
    ("training", "Training: time of a step", _STEP),
    ("training", "Training: memory", _MEMORY),
)

_MARKS = {
    "noisy": ("~", "noisy: the interval reaches more than 5% to either side"),
    "drifting": ("!", "drifting: the time changed by more than 5% over the repetitions, beyond chance"),
    "undecided": ("?", "undecided: fewer than six repetitions, hence no interval"),
}


def tell(console: "Console", measured: "Profile") -> None:
    """Print a profile as tables."""
    from trilemma.report.metrics import format_value
    from trilemma.report.rendering import show
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
    from trilemma.report.metrics import format_value

    parts = [f"{format_value(model.parameters, 'count')} weights in {model.dtype}", model.kernel]
    parts += ["torch.compile"] if model.compiled else []
    return ", ".join(parts)


def sheets(measured: "Profile") -> Iterator["Sheet"]:
    """The tables of a profile: time, memory and work of inference; time and memory of training."""
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
        if not shown:
            continue
        fixed = ("model", *(("method",) if phase == "training" else ()), "batch", "length")
        legend = tuple(f"{sign} {text}" for word, (sign, text) in _MARKS.items() if word in marks)
        if title == "Time" and any(model.causal for model in measured.models):
            title = f"Time, with {measured.grid.decode} tokens decoded" if measured.grid.decode else title
        header = (*fixed, *(titles[metric] for metric in shown))
        yield Sheet(title, header, tuple(cells), (*left_out, *notes.lines(), *legend), fixed=len(fixed))


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
    from trilemma.report.metrics import format_value

    if value is None:
        return "–"
    if value.value is None:
        return f"–{notes.mark(value.note)}"
    text = format_value(value.value, value.unit, value.low, value.high)
    if value.verdict in _MARKS:
        marks.add(value.verdict)
        text = f"{text} {_MARKS[value.verdict][0]}"
    return text
