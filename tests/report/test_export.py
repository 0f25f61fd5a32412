"""Figures as pictures, and the head of a report as one page."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.stand_ins.synthetic import frames
from trilemma.errors import TrilemmaError
from trilemma.result import Result

NAMES = [f"model-{index}" for index in range(12)]


@pytest.fixture(scope="module")
def result() -> Result:
    return Result(*frames(adversarial=40, clean=60, seeds=(0,)))


def test_a_figure_is_drawn_with_a_legend(result: Result, tmp_path: Path) -> None:
    svg = result.figure("pareto", tmp_path / "front.svg").read_text("utf-8")
    assert svg.startswith("<svg") and "role-legend" in svg and "gla-nano" in svg and "#d55e00" in svg
    assert result.figure("levels", tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_written_is_refused(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrilemmaError, match=r"no figure 'nope'; it has pareto, levels"):
        result.figure("nope", tmp_path / "a.svg")
    with pytest.raises(TrilemmaError, match=r"is not a \.svg or \.png file in a folder that exists"):
        result.figure("pareto", tmp_path / "a.jpg")
    with pytest.raises(TrilemmaError, match=r"is not a \.pdf or \.png file"):
        result.one_page(tmp_path / "a.html")
    monkeypatch.setenv("TRILEMMA_BROWSER", "no-such-browser")
    with pytest.raises(TrilemmaError, match="install it"):
        result.one_page(tmp_path / "a.pdf")


def test_a_browser_that_fails_is_one_sentence(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRILEMMA_BROWSER", "false")
    with pytest.raises(TrilemmaError, match="could not draw the page"):
        result.one_page(tmp_path / "a.pdf")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium: apt-get install chromium")
def test_one_page_is_one_page(result: Result, tmp_path: Path) -> None:
    path = result.one_page(tmp_path / "one.pdf", title="For the board")
    assert len(re.findall(rb"/Type\s*/Page\b", path.read_bytes())) == 1
    records, items = result.records, result.items
    many = [table.assign(model=name) for name in NAMES for table in [records[records["model"] == "gla-nano"]]]
    more = [table.assign(model=name) for name in NAMES for table in [items[items["model"] == "gla-nano"]]]
    import pandas as pd

    long = Result(pd.concat(many), pd.concat(more))
    path = long.one_page(tmp_path / "long.pdf")
    assert len(re.findall(rb"/Type\s*/Page\b", path.read_bytes())) == 1
    assert os.path.getsize(long.one_page(tmp_path / "long.png")) > 50_000
