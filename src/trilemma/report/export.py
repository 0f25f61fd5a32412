"""What leaves a report by itself: a figure as SVG or PNG, and the report's head as one page, PDF or PNG."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from trilemma.errors import TrilemmaError, one_line
from trilemma.files import disk_errors
from trilemma.report.charts.encoding import Figure
from trilemma.report.pages.page import resource

BROWSER = "TRILEMMA_BROWSER"
"""Environment variable that names the browser which draws pages."""

_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_WIDTH = 1120
_A4 = 1.4142
_SECONDS = 90
_FIGURE_WIDTH = 760

_ONE_PAGE = """
@page { size: %(width)dpx %(height)dpx; margin: 0; }
.top, .skip, .controls, .more, footer { display: none !important; }
main > section:not(.hero):not(#front) { display: none !important; }
main { padding: 24px 40px; } main > section, main > section.hero { padding: 16px 0 8px; }
.cards { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; margin-top: 1.2rem; }
"""
"""What is left of the page: the headline, the cards, the trade-off."""


def write_figure(figures: Sequence[Figure], name: str, path: Path) -> Path:
    """Draw a figure as the report first shows it, in light colours and with a legend.

    Raises:
        TrilemmaError: for a figure that there is not, or a path that ends in neither ``.svg`` nor ``.png``.
    """
    import vl_convert

    known = {figure.name: figure for figure in figures}
    if name not in known:
        raise TrilemmaError(f"this report has no figure {name!r}; it has {', '.join(known)}")
    _require(path, ".svg", ".png")
    spec = _alone(next(iter(known[name].variants.values())))
    given: dict[str, Any] = {"vl_spec": json.dumps(spec), "config": _config()}
    if path.suffix == ".svg":
        drawn: bytes = vl_convert.vegalite_to_svg(**given).encode()
    else:
        drawn = vl_convert.vegalite_to_png(**given, scale=2)
    with disk_errors(path):
        path.write_bytes(drawn)
    return path


def write_one_page(html: str, path: Path) -> Path:
    """Print the head of a report to one page: of A4, or longer where it must be.

    Raises:
        TrilemmaError: without a browser, for another ending than ``.pdf`` or ``.png``, or where the browser
            fails.
    """
    _require(path, ".pdf", ".png")
    browser = _browser()
    with TemporaryDirectory() as folder:
        source, drawn, height = Path(folder) / "report.html", Path(folder) / "page.pdf", _WIDTH * _A4
        while True:
            style = _ONE_PAGE % {"width": _WIDTH, "height": height}
            source.write_text(html.replace("</style>", f"{style}</style>", 1), "utf-8")
            size = f"--window-size={_WIDTH},{int(height)}"
            _draw(browser, source, f"--print-to-pdf={drawn}", "--no-pdf-header-footer", size)
            if len(re.findall(rb"/Type\s*/Page\b", drawn.read_bytes())) <= 1:
                break
            height *= 1.2
        if path.suffix == ".png":
            drawn = drawn.with_suffix(".png")
            _draw(browser, source, f"--screenshot={drawn}", size, "--force-device-scale-factor=2")
        with disk_errors(path):
            shutil.copyfile(drawn, path)
    return path


def _require(path: Path, *endings: str) -> None:
    if path.suffix not in endings or not path.parent.is_dir():
        raise TrilemmaError(f"{path} is not a {' or '.join(endings)} file in a folder that exists")


def _browser() -> str:
    named = os.environ.get(BROWSER)
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise TrilemmaError(
            "one page is drawn by Chromium or Chrome, which is not found here: install it (apt-get install "
            f"chromium), name it by {BROWSER}, or open the report and print its first page"
        )
    return found


def _draw(browser: str, source: Path, *options: str) -> None:
    """Run the browser without a window, on a local file that makes no requests."""
    command = [browser, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--no-sandbox")  # a browser refuses to run as root with one
    command += [f"--user-data-dir={source.parent / 'profile'}", "--virtual-time-budget=15000", *options]
    try:
        done = subprocess.run([*command, source.as_uri()], capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrilemmaError(f"{browser} could not draw the page ({one_line(error)}); try again") from error
    written = Path(options[0].partition("=")[2])
    if done.returncode or not written.is_file():
        said = one_line(done.stderr.decode(errors="replace")[-400:])
        raise TrilemmaError(f"{browser} could not draw the page ({said}); name another by {BROWSER}")


def _alone(part: Any) -> Any:
    """A specification that stands without its page: with a width, and a legend of the candidates."""
    if isinstance(part, list):
        return [_alone(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {key: _alone(one) for key, one in part.items()}
    if found.get("width") == "container":
        found["width"] = _FIGURE_WIDTH
    if found.get("field") == "candidate" and found.get("legend", "") is None:
        found["legend"] = {"title": None, "orient": "top"}
    return found


def _config() -> dict[str, Any]:
    """The charts' light theme; its colours are those of ``style.css``."""
    colors = dict(re.findall(r"--([\w-]+): (#\w+);", resource("style.css").partition("}")[0]))
    text = {"labelColor": colors["muted"], "titleColor": colors["muted"], "titleFontWeight": 400}
    lines = dict.fromkeys(("gridColor", "domainColor", "tickColor"), colors["line"])
    return {
        "background": colors["panel"],
        "font": "sans-serif",
        "view": {"stroke": None},
        "axis": {**text, **lines, "labelFontSize": 12, "titleFontSize": 12, "labelPadding": 6},
        "legend": {**text, "labelFontSize": 12},
        "text": {"color": colors["ink"]},
        "range": {
            "category": [colors[f"c{index}"] for index in range(8)],
            "heatmap": [colors[f"heat{index}"] for index in range(3)],
        },
        "padding": 12,
    }
