"""A task, architecture, adaptation, attack, transform and measurement from outside the package.

The plug-ins are the worked examples of docs/extend.md, each with its conformance check; a study then uses
all of them through entry points, as an installed package would.
"""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pandas as pd
import pytest

from trilemma.records import GENERATED
from trilemma.registry import Registry

TEXT = (Path(__file__).parent.parent / "docs" / "extend.md").read_text("utf-8")

[STUDY] = re.findall(r"^```yaml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
[PROJECT] = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
KINDS = ("task", "architecture", "adaptation", "attack", "transform", "measurement")


def examples() -> dict[str, str]:
    """Section heading to the Python of its example."""
    found = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        code = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if code:
            found[section.splitlines()[0]] = "\n".join(code)
    return found


SECTIONS = ["A task", "A model", "An adaptation", "An attack", "A transform", "A measurement"]


@pytest.mark.slow
def test_the_worked_examples_pass_their_checks(tmp_path: Path) -> None:
    """One after the other in one file, as the page says."""
    found = examples()
    assert list(found) == SECTIONS and all("check_" in code for code in found.values())
    (tmp_path / "my_plugins.py").write_text("\n".join(found.values()))
    command = [sys.executable, "my_plugins.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def install(folder: Path, code: str) -> dict[str, str]:
    """What setuptools makes of the shown pyproject.toml, beside its module; the environment that finds it."""
    project = tomllib.loads(PROJECT)["project"]
    [module] = tomllib.loads(PROJECT)["tool"]["setuptools"]["py-modules"]
    metadata = folder / f"{module}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (folder / f"{module}.py").write_text(code, "utf-8")
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items())
        for group, points in project["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def trilemma(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trilemma", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_a_study_plans_with_plugins_of_every_kind_by_entry_point(tmp_path: Path) -> None:
    environment = install(tmp_path / "site", "\n".join(examples().values()))
    (tmp_path / "study.yaml").write_text(STUDY)
    done = trilemma(tmp_path, environment, "run", "study.yaml", "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("create", "transform", "adapt", "attack"):
        assert re.search(rf"│ {kind} +│ +[36] │", done.stdout), done.stdout
    listed = trilemma(tmp_path, environment, "doctor").stdout
    for kind, points in zip(
        KINDS, ("exclamation", "llama", "bias-only", "swap", "prune", "disk"), strict=True
    ):
        assert re.search(rf"{kind} {points} +from my-plugins 1\.0", listed), listed


@pytest.mark.slow
def test_a_study_uses_plugins_of_every_kind_by_entry_point(tmp_path: Path) -> None:
    environment = install(tmp_path / "site", "\n".join(examples().values()))
    (tmp_path / "study.yaml").write_text(STUDY)
    done = trilemma(tmp_path, environment, "run", "study.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    records = pd.read_parquet(tmp_path / "runs" / "plugins" / "records.parquet")
    assert set(records["model"]) == {"llama-nano", "transformer-pp-nano+prune"}
    assert set(records["adaptation"]) >= {"bias-only"}
    assert not records["flags"].map(lambda flags: GENERATED in flags).any()  # no task is the embedded suite's
    assert (records["metric"] == "disk_bytes").sum() == 2
    attacked = records[(records["set"] == "attack:swap") & (records["metric"] == "robust_accuracy")]
    assert set(attacked["level"]) >= {"word"} and attacked["value"].between(0, 1).all()


@pytest.mark.parametrize(
    ("code", "reason"),
    [("def broken(:\n", "SyntaxError"), ("raise RuntimeError('no licence')", r"no licence \(RuntimeError\)")],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_its_package(
    tmp_path: Path, code: str, reason: str
) -> None:
    environment = install(tmp_path / "site", code)
    (tmp_path / "study.yaml").write_text(STUDY)
    done = trilemma(tmp_path, environment, "run", "study.yaml", "--dry-run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    message = r"the adaptation 'bias-only' of my-plugins 1\.0 cannot be imported from my_plugins:BiasOnly: "
    assert re.search(f"{message}.*{reason}", done.stderr), done.stderr


def test_a_name_is_looked_up_among_installed_packages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    brought = [EntryPoint("llama", "my_plugins:llama", "trilemma.architectures")]
    monkeypatch.setattr("trilemma.registry.entry_points", lambda group: reads.append(group) or brought)
    registry: Registry[str] = Registry("architecture", places={"gla": "nowhere:gla"})
    assert all(name in registry for name in ("gla", "llama") * 1000) and len(reads) == 1
    assert "absent" not in registry and len(reads) == 2
