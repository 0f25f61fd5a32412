"""Data flows one way: a room imports only from rooms to its left, and from the leaves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "trilemma"

LEAVES = {"errors", "files", "progress", "registry", "terminal", "architectures", "records", "statistics"}
ANSWERING = {"ops", "models", "training", "transforms", "tasks", "inference", "attacks", "adapt"}
MEASURING = {"hardware", "profiling", "forecasting", "clocks"}
READING = {"analysis", "decision", "report", "result"}
LEFT_OF: dict[str, set[str]] = {
    "_native": set(),
    "ops": {"_native"},
    "models": {"ops"},
    "training": {"ops", "models"},
    "transforms": {"ops", "models", "training"},
    "tasks": set(),
    "inference": {"ops", "models", "transforms", "tasks"},
    "attacks": {"models", "training", "transforms", "tasks", "inference"},
    "adapt": ANSWERING - {"adapt"},
    "hardware": {"_native", "ops", "models", "profiling", "clocks"},
    "profiling": ANSWERING | {"hardware"},
    "forecasting": ANSWERING | {"hardware", "profiling"},
    "clocks": ANSWERING | {"hardware", "profiling", "forecasting"},
    "analysis": {"tasks"},
    "decision": {"analysis", "hardware", "forecasting"},
    "report": {"analysis", "decision"},
    "result": {"analysis", "decision", "report"},
    "study": ANSWERING | MEASURING | {"analysis"},
    "cli": ANSWERING | MEASURING | READING | {"study"},
    "__main__": {"cli"},
    "testing": ANSWERING | {"analysis", "profiling"},
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports, wherever in the file the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names = [node.module or ""]
            if node.module == "trilemma":
                names = [f"trilemma.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("trilemma.")}
    return rooms


FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_room_imports_only_from_its_left(path: Path) -> None:
    room = room_of(path)
    allowed = {room} | LEAVES | (set() if room in LEAVES else LEFT_OF[room])
    assert imported_rooms(path) <= allowed


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import trilemma", {"torch", "transformers", "pandas", "pydantic", "typer"}),
        ("import trilemma.cli.main", {"torch", "transformers", "pandas", "pydantic", "pyarrow"}),
        ("import trilemma.study.spec", {"torch", "transformers", "datasets"}),
        ("import trilemma.tasks", {"torch", "transformers", "datasets", "sklearn"}),
        ("import trilemma.analysis.scores", {"torch", "transformers"}),
        ("import trilemma.result", {"torch", "transformers"}),
    ],
)
def test_heavy_libraries_are_not_imported_before_they_are_needed(statement: str, forbidden: set[str]) -> None:
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & {forbidden!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
