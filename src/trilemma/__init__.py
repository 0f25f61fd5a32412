"""Which language model should I deploy, given what I can spend and who may attack it?

Example:
    >>> import trilemma as tl
    >>> result = tl.run("studies/demo.yaml")
    >>> result.table("robustness", by="level")
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.result import Result
    from trilemma.study import Study, load_study

__version__ = "0.1.0"

__all__ = ["Result", "Study", "load_study", "run"]

_LAZY = {"Result": "trilemma.result", "Study": "trilemma.study", "load_study": "trilemma.study"}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that ``import trilemma`` stays light."""
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'trilemma' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def run(
    study: "Study | str | Path",
    *,
    data: str | None = None,
    out: str | Path | None = None,
    store: str | Path | None = None,
    console: "Console | None" = None,
) -> "Result":
    """Run a study and return its result; the same call goes on where a killed one stood.

    The run folder gets the two tables and ``report.html``, every adapted checkpoint a model card.

    Args:
        study: a study or the path of a study file.
        data: ``embedded``, ``folder:PATH`` or ``hub``; replaces the study's own.
        out: run folder; default ``runs/NAME``.
        store: folder of artifacts; default ``.store`` beside the run folder.
        console: where progress is shown; default standard error.

    Raises:
        TrilemmaError: with one sentence that names the remedy.
    """
    from trilemma.hardware.process import prepare

    prepare()

    from rich.console import Console

    from trilemma.report.model_card import write_card
    from trilemma.result import Result
    from trilemma.study import Study, load_study
    from trilemma.study.console import ConsoleListener
    from trilemma.study.runner import checkpoints, run_study
    from trilemma.study.store import locked

    if not isinstance(study, Study):
        study = load_study(study)
    if data:
        study = study.model_copy(update={"data": data})
    folder = Path(out) if out else Path("runs") / study.name
    with locked(folder), ConsoleListener(console or Console(stderr=True)) as listener:
        run_study(study, folder, Path(store) if store else folder.parent / ".store", listener)
        listener.preparing("writing the report")
        result = Result.load(folder)
        result.report(folder / "report.html")
        for checkpoint in checkpoints(folder):
            write_card(**checkpoint, records=result.records)
    return result
