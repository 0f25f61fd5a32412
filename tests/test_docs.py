"""What the documents show is executed as it stands there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = [path for path in DOCUMENTS if path.name != "extend.md"]  # tests/test_plugins.py runs its examples


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """The commands on the finished demo that a document shows."""
    lines = [line for block in blocks(path, "bash") for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("trilemma ") and "runs/demo" in line]


def execute(code: str, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in EXAMPLES if blocks(p, "python")], ids=lambda path: path.name)
def test_python_in_documents_runs(path: Path, finished_demo: Path) -> None:
    execute("\n".join(blocks(path, "python")), finished_demo)


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in DOCUMENTS if commands(p)], ids=lambda path: path.name)
def test_commands_on_a_finished_run_work(path: Path, finished_demo: Path) -> None:
    for command in commands(path):
        arguments = [sys.executable, "-m", *shlex.split(command.split("#")[0])]
        done = subprocess.run(arguments, cwd=finished_demo, capture_output=True, text=True, timeout=120)
        nobody = " decide " in command and done.stdout.startswith("No candidate")  # of this small run
        assert done.returncode == (1 if nobody else 0), f"{command}\n{done.stderr}"


def test_studies_in_documents_are_valid(tmp_path: Path) -> None:
    from trilemma.study.spec import load_study

    shown = [
        block
        for path in EXAMPLES
        for block in blocks(path, "yaml")
        if re.search("^name:", block, re.MULTILINE)
    ]
    assert shown
    for number, block in enumerate(shown):
        (tmp_path / f"{number}.yaml").write_text(block, "utf-8")
        load_study(tmp_path / f"{number}.yaml")


def test_the_demo_study_shown_is_the_file() -> None:
    assert (ROOT / "studies" / "demo.yaml").read_text("utf-8") in blocks(ROOT / "README.md", "yaml")


def test_the_reference_is_up_to_date(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "docs" / "write_reference.py", tmp_path], check=True)
    for page in tmp_path.iterdir():
        kept = (ROOT / "docs" / "reference" / page.name).read_text("utf-8")
        assert page.read_text("utf-8") == kept, "run `python docs/write_reference.py`"


def test_links_between_documents_lead_somewhere() -> None:
    for path in [*DOCUMENTS, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name} links to {target}, which does not exist"


def test_the_number_of_attacks_is_the_true_one() -> None:
    from trilemma.attacks.attack import ATTACKS

    recipes = ATTACKS.built_in()
    for name in ("README.md", "CHANGELOG.md"):
        assert re.findall(r"(\d+) attacks\b", (ROOT / name).read_text("utf-8"))[:1] == [str(len(recipes))]
    reference = (ROOT / "docs" / "reference" / "studies.md").read_text("utf-8")
    assert "deepwordbug" in recipes and f"attacks: {', '.join(recipes)}" in reference
