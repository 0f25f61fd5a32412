"""``trilemma profile``: measure what models cost on this machine, or show a saved profile again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.profiling.exchange import Profile
    from trilemma.profiling.grid import EfficiencyGrid


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
    energy: Annotated[
        bool, typer.Option("--energy", help="Measure energy too, where the machine has a meter.")
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
    watts: Annotated[
        str,
        typer.Option(
            help="The device's power under load, for estimates of energy: watts, or a machine of the "
            "catalogue, e.g. epyc-9654."
        ),
    ] = "",
    idle_watts: Annotated[float, typer.Option(help="Its power when idle, beside --watts.")] = 0.0,
    max_slowdown: Annotated[
        float, typer.Option(min=0, help="Share of time that a chosen frequency may add to a phase.")
    ] = 0.05,
    slo: Annotated[
        str, typer.Option(help="Bounds that a chosen frequency must meet, e.g. ttft=200ms,tpot=40ms.")
    ] = "",
    queries: Annotated[
        Path | None, typer.Option(help="Text file, a query a line: --frequencies chooses by class of query.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that a checkpoint brings.")
    ] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read weights that are not safetensors.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the profile to this .json file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with charts to this .html file.")] = None,
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
    if report is not None and (report.suffix != ".html" or not report.parent.is_dir()):
        raise TrilemmaError(f"--report {report} is no .html file in a folder that exists")
    if not frequencies and (slo or queries is not None or idle_watts or allow_frequency_control):
        raise TrilemmaError(
            "--slo, --queries, --idle-watts and --allow-frequency-control belong to --frequencies; give some"
        )
    if saved is not None:
        from trilemma.profiling.exchange import read

        if models or out is not None or frequencies:
            raise TrilemmaError(
                "--from shows a saved profile alone; leave out the models, --out and --frequencies"
            )
        show(console, read(saved), report)
        return
    if not models:
        raise TrilemmaError("name a model to profile, e.g. gla:small, or a saved profile by --from")
    if out is not None and (out.suffix != ".json" or not out.parent.is_dir()):
        raise TrilemmaError(f"--out {out} is no .json file in a folder that exists")
    power = watts_of(watts) if watts else None
    grid = grid_of(batch, length, decode, rounds, seconds, time_limit, power)
    dtypes, implementations = listed("dtype", dtype), listed("attention", attention) if attention else [""]

    from trilemma.profiling import variants

    variants.require_known(dtypes)

    if frequencies:
        if out is not None or training or energy:
            raise TrilemmaError(
                "--frequencies measures energy anyway, trains nothing and writes no profile; leave out "
                "--energy, --training and --out (--report writes a page)"
            )
        if idle_watts and not watts:
            raise TrilemmaError("--idle-watts goes with --watts; give both, or neither to measure")
        from trilemma.cli.clocks import Sweep, by_frequency

        asked = Sweep(
            frequencies=counts("frequencies", frequencies),
            allow=allow_frequency_control,
            watts=power,
            idle_watts=idle_watts,
            slowdown=max_slowdown,
            slo=slo,
            queries=queries,
            report=report,
        )
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
            if not by_frequency(console, found, grid, device, asked):
                raise typer.Exit(1)
        return

    from trilemma.profiling import lab
    from trilemma.profiling.exchange import write
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
            energy=energy,
            device=device,
            progress=progress,
        )
    if out is not None:
        write(measured, out)
    show(console, measured, report)
    if out is not None:
        console.print(f"profile: {out}", markup=False, highlight=False, soft_wrap=True)


def show(console: "Console", measured: "Profile", report: Path | None) -> None:
    """Print a profile, and write its page where one is asked for."""
    from trilemma.cli.profile_tables import tell

    tell(console, measured)
    if report is not None:
        from trilemma.cli.profile_page import write_profile_page

        write_profile_page(measured, report)
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)


def watts_of(text: str) -> float:
    """A power as a number, or that of a machine in the catalogue.

    Raises:
        TrilemmaError: where it is neither.
    """
    from trilemma.errors import TrilemmaError
    from trilemma.hardware.catalogue import find_machine

    try:
        return float(text)
    except ValueError:
        pass
    try:
        machine = find_machine(text)
    except TrilemmaError as error:
        raise TrilemmaError(
            f"--watts {text!r} is neither a number of watts nor a machine: {error}"
        ) from error
    if machine.watts is None:
        raise TrilemmaError(f"the catalogue has no watts of {text}; give a number")
    return machine.watts


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
    batch: str,
    length: str,
    decode: int,
    rounds: int,
    seconds: float,
    time_limit: float,
    watts: float | None,
) -> "EfficiencyGrid":
    """The grid that the options name; training is measured at the same points as inference.

    Raises:
        TrilemmaError: naming the option that is out of range.
    """
    from pydantic import ValidationError

    from trilemma.errors import TrilemmaError
    from trilemma.profiling.grid import EfficiencyGrid

    points = {"batch": counts("batch", batch), "length": counts("length", length)}
    limits = {
        "decode": decode,
        "rounds": rounds,
        "seconds": seconds,
        "time_limit": time_limit,
        "watts": watts,
    }
    try:
        return EfficiencyGrid.model_validate({**points, **limits, "training": points})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        option = str(first["loc"][-2 if first["loc"][0] in points else -1]).replace("_", "-")
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise TrilemmaError(f"--{option} {first['input']}: {message}") from error
