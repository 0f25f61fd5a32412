"""Data flows one way: a room imports only from rooms to its left, and from the leaves."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "trilemma"

LEAVES = (
    "errors files progress registry terminal metrics units operating_point architectures records untrusted "
    "yaml_file notebook web"
)

ORDER = (
    *("statistics", "_native", "ops", "models", "training", "transforms"),
    *("tasks", "inference", "attacks", "adapt"),
    *("hardware", "profiling", "forecasting", "clocks"),
    *("analysis", "decision", "report", "result", "profile_result", "sweep_result"),
    *("study", "testing", "commands", "cli", "__main__"),
)
"""A room imports from the leaves and from the rooms before it."""

NARROW = {
    "tasks": set(),
    "hardware": {"_native", "ops", "models"},
    "statistics": set(),
    "analysis": {"statistics", "tasks"},
    "decision": {"statistics", "analysis", "hardware", "forecasting"},
    "report": {"statistics", "analysis", "decision"},
    "result": {"statistics", "analysis", "decision", "report"},
    "profile_result": {"statistics", "analysis", "report"},
}
"""Rooms that see less than what is before them: what the tables say is read from the tables alone."""


def allowed(room: str) -> set[str]:
    """The rooms that a room may import."""
    if room in LEAVES.split():
        return set(LEAVES.split())
    return {room, *LEAVES.split()} | NARROW.get(room, set(ORDER[: ORDER.index(room)]))


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
    assert imported_rooms(path) <= allowed(room_of(path))


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import trilemma", {"torch", "transformers", "pandas", "pydantic", "typer"}),
        ("import trilemma.cli.main", {"torch", "transformers", "pandas", "pydantic", "pyarrow"}),
        ("import trilemma.study.spec", {"torch", "transformers", "datasets"}),
        ("import trilemma.tasks", {"torch", "transformers", "datasets", "sklearn"}),
        ("import trilemma.analysis.scores", {"torch", "transformers"}),
        ("import trilemma.result", {"torch", "transformers"}),
        ("import trilemma.sweep_result, trilemma.report.pages.clocks", {"torch", "transformers"}),
        ("import trilemma.forecasting", {"torch", "transformers", "sklearn"}),
    ],
)
def test_heavy_libraries_are_not_imported_before_they_are_needed(statement: str, forbidden: set[str]) -> None:
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & {forbidden!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_class_name_stands_for_two_ideas() -> None:
    names = Counter(
        node.name
        for path in FILES
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, count in names.items() if count > 1] == []
