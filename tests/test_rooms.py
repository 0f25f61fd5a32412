"""Data flows one way: a room imports only from rooms to its left, and from the leaves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "trilemma"

LEAVES = {
    "errors",
    "files",
    "progress",
    "registry",
    "terminal",
    "process",
    "architectures",
    "records",
    "statistics",
    "comparisons",
}
ANSWERING = {"ops", "models", "transforms", "tasks", "inference", "attacks", "adapt"}
COMMANDS = {"cli_attack", "cli_annotate", "cli_profile", "cli_deploy"}
LEFT_OF: dict[str, set[str]] = {
    "_native": set(),
    "ops": {"_native"},
    "models": {"ops"},
    "transforms": {"ops", "models"},
    "tasks": set(),
    "inference": {"ops", "models", "transforms", "tasks"},
    "attacks": {"models", "transforms", "tasks", "inference"},
    "adapt": ANSWERING - {"adapt"},
    "score": ANSWERING,
    "profile": ANSWERING,
    "deploy": ANSWERING | {"profile"},
    "study": ANSWERING | {"score", "profile", "deploy"},
    "report": set(),
    "result": {"report"},
    "__main__": {"cli"},
    "cli": ANSWERING | {"score", "profile", "study", "report", "result"} | COMMANDS,
    "cli_attack": ANSWERING | {"study"},
    "cli_annotate": ANSWERING,
    "cli_profile": ANSWERING
    | {"profile", "deploy", "study", "report", "cli_frequency", "cli_profile_tables", "cli_profile_page"},
    "cli_profile_tables": {"profile", "report"},
    "cli_profile_page": {"profile", "deploy", "report", "cli_profile_tables"},
    "cli_frequency": ANSWERING
    | {"profile", "deploy", "study", "report", "cli_deploy", "cli_profile_page", "cli_query_classes"},
    "cli_query_classes": ANSWERING | {"profile", "deploy"},
    "cli_deploy": ANSWERING | {"profile", "deploy", "study", "report"},
    "testing": ANSWERING | {"score", "profile"},
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
        ("import trilemma.cli", {"torch", "transformers", "pandas", "pydantic", "pyarrow"}),
        ("import trilemma.study.spec", {"torch", "transformers", "datasets"}),
        ("import trilemma.tasks", {"torch", "transformers", "datasets", "sklearn"}),
        ("import trilemma.score", {"torch", "transformers"}),
        ("import trilemma.result", {"torch", "transformers"}),
    ],
)
def test_heavy_libraries_are_not_imported_before_they_are_needed(statement: str, forbidden: set[str]) -> None:
    code = f"import sys\n{statement}\nprint(*sorted(set(sys.modules) & {forbidden!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_file_is_one_idea(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 450
