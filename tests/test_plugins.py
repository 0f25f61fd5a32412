"""A task, architecture, adaptation, attack, transform and measurement from outside the package.

The plug-ins are the worked examples of CONTRIBUTING.md, each with its conformance check; a study then uses
all of them through entry points, as an installed package would.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")

STUDY = """\
name: plugins
models:
  - {arch: llama, size: nano}
  - {arch: transformer-pp, size: nano, transforms: [prune]}
tasks: [exclamation]
adapt: {method: bias-only, epochs: 2, learning_rate: 1.0e-2}
robustness: {attacks: [swap], budget: 5, items: 20}
efficiency: {batch: [1], length: [8], decode: 2, seconds: 0.1, training: {batch: [1], length: [8]}}
"""


def examples() -> dict[str, str]:
    """Section heading to the Python of its example."""
    found = {}
    for section in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]:
        code = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if code:
            found[section.splitlines()[0]] = "\n".join(code)
    return found


@pytest.mark.parametrize(
    "heading", ["A task", "A model", "An adaptation", "An attack", "A transform", "A measurement"]
)
def test_the_worked_example_passes_its_check(heading: str, tmp_path: Path) -> None:
    code = examples()[heading]
    assert "check_" in code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr


def test_a_study_uses_plugins_of_every_kind_by_entry_point(tmp_path: Path) -> None:
    package = tmp_path / "site"
    (package / "my_plugins-1.0.dist-info").mkdir(parents=True)
    code = "\n".join(
        re.sub(r"^check_\w+\(.*\)$", "", text, flags=re.MULTILINE) for text in examples().values()
    )
    (package / "my_plugins.py").write_text(code, "utf-8")
    (package / "my_plugins-1.0.dist-info" / "METADATA").write_text("Name: my-plugins\nVersion: 1.0\n")
    [toml] = re.findall(r"^```toml\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
    groups = tomllib.loads(toml)["project"]["entry-points"]
    lines = [
        f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items())
        for group, points in groups.items()
    ]
    (package / "my_plugins-1.0.dist-info" / "entry_points.txt").write_text("\n".join(lines))
    (tmp_path / "study.yaml").write_text(STUDY)
    path = os.pathsep.join(filter(None, [str(package), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "trilemma", "run", "study.yaml"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    records = pd.read_parquet(tmp_path / "runs" / "plugins" / "records.parquet")
    assert set(records["model"]) == {"llama-nano", "transformer-pp-nano+prune"}
    assert set(records["adaptation"]) >= {"bias-only"}
    assert not records["note"].str.contains("embedded suite").any()  # no task of the study is from there
    assert (records["metric"] == "disk_bytes").sum() == 2
    attacked = records[(records["set"] == "attack:swap") & (records["metric"] == "robust_accuracy")]
    assert set(attacked["level"]) >= {"word"} and attacked["value"].between(0, 1).all()
