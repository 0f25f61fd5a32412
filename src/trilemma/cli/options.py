"""Options that several commands have: lists between commas, and files that will be written."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from trilemma.errors import TrilemmaError
from trilemma.operating_point import LARGEST
from trilemma.units import join

Batch = Annotated[str | None, typer.Option(help="Batch sizes, e.g. 1,4,16; default 1,16.")]
Length = Annotated[
    str | None, typer.Option(help="Tokens per input; of the prompt, in generation; default 32,128,512.")
]
Decode = Annotated[
    int | None, typer.Option(help="Tokens generated after the prompt, at least 2; 0 for none; default 64.")
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="float32 (default), bfloat16, float16, int8 (torch's dynamic quantisation) or packed "
        "(MatMul-Free's ternary weights at two bits, of those models alone); several with commas."
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; default the GPU if any.")]
Out = Annotated[Path | None, typer.Option(help="Write the result to this .parquet file.")]
Report = Annotated[Path | None, typer.Option(help="Write a page with charts to this .html file.")]
TaskName = Annotated[
    str | None,
    typer.Option(
        help="The task: of GLUE, a plug-in's, or of --study or --run, where it may be left out "
        "if there is one."
    ),
]
StudyFile = Annotated[Path | None, typer.Option(help="The study file that has the task among yours.")]
OfRun = Annotated[Path | None, typer.Option(help="The run folder of a study that has the task.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunFolder = Annotated[
    Path,
    typer.Argument(help="A run folder, e.g. runs/demo, or a .parquet file that --out wrote.", metavar="RUN"),
]


def names(option: str, text: str | None) -> list[str]:
    """The parts between commas, each once; none where the option is not given.

    Raises:
        TrilemmaError: for an empty part, or one that is there twice.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(parts) or len(set(parts)) < len(parts):
        raise TrilemmaError(f"--{option} {text!r} is not a list of different names; separate them by commas")
    return parts


def counts(option: str, text: str | None) -> list[int]:
    """Whole numbers from 1 between commas; none where the option is not given.

    Raises:
        TrilemmaError: for anything else.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    if not all(part.removeprefix("-").isascii() and part.removeprefix("-").isdecimal() for part in parts):
        raise TrilemmaError(
            f"--{option} {text[:60]!r} is not a list of whole numbers; write for example 1,4,16"
        )
    if any(part.startswith("-") or not part.strip("0") for part in parts):
        raise TrilemmaError(f"--{option} {text[:60]!r} holds a number below 1; give numbers from 1")
    if any(len(part) > len(str(LARGEST)) or int(part) > LARGEST for part in parts):
        raise TrilemmaError(f"--{option} {text[:60]!r} holds a number above {LARGEST:,}; give a smaller one")
    return [int(part) for part in parts]


def refuse_options(
    context: typer.Context, sentence: str, *, but: Collection[str] = (), of: Collection[str] | None = None
) -> None:
    """Refuse what was given on the command line beside what applies.

    Args:
        context: of the command.
        sentence: why, for the error.
        but: parameters that apply.
        of: the parameters that do not; by default all others.

    Raises:
        TrilemmaError: naming the options.
    """
    given = [
        max(one.opts) if one.param_type_name == "option" else str(one.metavar or one.name)
        for one in context.command.params
        if one.name not in but
        and (of is None or one.name in of)
        and getattr(context.get_parameter_source(str(one.name)), "name", "") == "COMMANDLINE"
    ]
    if given:
        raise TrilemmaError(f"{sentence}; leave out {join(given)}")


def require_files(out: Path | None, report: Path | None) -> None:
    """Refuse a file that could not be written in the end, before anything is measured.

    Raises:
        TrilemmaError: where one does not end as it must, or its folder does not exist.
    """
    for option, path, suffix in (("out", out, ".parquet"), ("report", report, ".html")):
        if path is not None and (path.suffix != suffix or not path.parent.is_dir()):
            raise TrilemmaError(f"--{option} {path} is not a {suffix} file in a folder that exists")
