"""What the benchmarks import of the package is there."""

import ast
import importlib
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path: Path) -> None:
    imports = [one for one in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(one, ast.ImportFrom)]
    for one in imports:
        if one.module and one.module.split(".")[0] in ("trilemma", "tests"):
            module = importlib.import_module(one.module)
            for name in (alias.name for alias in one.names):
                assert hasattr(module, name) or importlib.import_module(f"{one.module}.{name}")
