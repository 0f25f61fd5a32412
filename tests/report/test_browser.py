"""The report in a real browser: it draws, filters, sorts and runs nothing that data brings."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stand_ins.profiles import of_model
from tests.stand_ins.synthetic import frames
from trilemma.clocks.choose import Setting
from trilemma.clocks.sweep import Place
from trilemma.operating_point import OperatingPoint
from trilemma.profile_result import Profile
from trilemma.report.pages import study
from trilemma.sweep_result import ClockSweep

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EVIL = '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>\u2028'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    records, items = frames(adversarial=60, clean=80, seeds=(0, 1))
    evil = items["id"].eq("sst2-a0")
    items["shown"] = [[EVIL] if bad else shown for bad, shown in zip(evil, items["shown"], strict=True)]
    for table in (records, items):
        table["model"] = table["model"].replace("matmul-free-nano", EVIL)
    return study.write(records, items, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """The opened report; no error, and no request but for the file itself, may happen in a test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    errors: list[str] = []
    requests: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(report.as_uri())
    opened.wait_for_selector("html[data-ready]")
    yield opened
    assert errors == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [report.as_uri()]
    assert opened.evaluate("window.pwned") is None
    context.close()


def count(page: Any, name: str) -> int:
    return int(page.inner_text(f"#{name}-count").split()[0])


def test_every_chart_is_drawn_in_both_themes(page: Any, tmp_path: Path) -> None:
    for name in ("pareto", "levels", "methods", "length", "phases", "roofline"):
        page.wait_for_selector(f"[data-figure={name}][data-drawn] svg")
    assert page.locator("[data-figure=pareto] svg .mark-symbol path").count() == 3
    assert page.locator("[data-figure=methods] svg .role-mark.mark-rect path").count() == 3 * 7
    shots = Path(os.environ.get("TRILEMMA_SCREENSHOTS", tmp_path))
    page.screenshot(path=shots / "light.png", full_page=True)
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.wait_for_timeout(300)
    page.screenshot(path=shots / "dark.png", full_page=True)
    assert (shots / "dark.png").stat().st_size > 50_000


def test_pages_of_profiles_are_drawn(browser: Any, tmp_path: Path) -> None:
    """With the script of every page alone, and names as text."""
    Profile(of_model(EVIL)).report(tmp_path / "profile.html")
    settings = [Setting(800, 2.0, 1.0), Setting(1600, 1.0, 2.0), Setting(1200, 3.0, 3.0)]
    places = {Place(name, OperatingPoint(1, 8, 4)): {"prefill": settings} for name in (EVIL, "gla")}
    ClockSweep(places).report(tmp_path / "clocks.html")
    opened = browser.new_page()
    errors: list[str] = []
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.goto((tmp_path / "profile.html").as_uri())
    opened.wait_for_selector("[data-figure=length][data-drawn] svg")
    opened.goto((tmp_path / "clocks.html").as_uri())
    opened.wait_for_selector("[data-figure=clocks][data-drawn] svg")
    assert opened.locator("[data-figure=clocks] svg .mark-symbol path").count() == 3
    opened.select_option("[data-controls=clocks] select >> nth=0", "gla")
    opened.wait_for_selector("[data-figure=clocks][data-drawn='gla, 1, 8, prefill']")
    assert opened.evaluate("window.pwned") is None and errors == []
    opened.close()


def test_the_system_theme_is_followed(browser: Any, report: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    opened = context.new_page()
    opened.goto(report.as_uri())
    assert opened.evaluate("document.documentElement.dataset.theme") == "dark"
    context.close()


def test_figures_change_with_their_choices(page: Any) -> None:
    page.wait_for_selector("[data-figure=pareto][data-drawn]")
    page.select_option("[data-controls=pareto] select", "peak memory")
    page.wait_for_selector("[data-figure=pareto][data-drawn='peak memory']")
    page.select_option("[data-controls=length] select >> nth=0", "throughput")
    page.select_option("[data-controls=length] select >> nth=2", "batch 16")
    page.wait_for_selector("[data-figure=length][data-drawn='throughput, length, batch 16']")
    page.select_option("[data-controls=length] select >> nth=1", "batch")
    page.wait_for_selector("[data-figure=length][data-drawn='throughput, batch, length 32']")


def test_tooltips_show_data_as_text(page: Any) -> None:
    page.locator("#methods").scroll_into_view_if_needed()
    page.locator("[data-figure=methods] svg .role-mark.mark-text text").last.hover()
    page.wait_for_selector("#vg-tooltip-element.visible")
    assert page.locator("#vg-tooltip-element img").count() == 0
    assert "<img src=x" in page.inner_text("#vg-tooltip-element")


def test_examples_are_filtered_searched_and_extended(page: Any) -> None:
    assert count(page, "example") == 120
    assert page.locator("#example-list article").count() == 12
    page.click("#example-more")
    assert page.locator("#example-list article").count() == 36
    page.select_option("#example-task", "sst2")
    assert count(page, "example") == 60
    page.select_option("#example-level", "word")
    word = count(page, "example")
    assert word == 24
    page.select_option("#example-who", label="gla-nano")
    page.select_option("#example-outcome", "fell")
    fell = count(page, "example")
    page.select_option("#example-outcome", "wrong")
    assert 0 < fell <= count(page, "example") < word
    page.fill("#search", "zebra crossing")
    assert count(page, "example") == 0
    assert page.is_visible("#example-list .empty")


def test_changed_words_and_answers_are_marked(page: Any) -> None:
    page.select_option("#example-level", "sentence")
    first = page.locator("#example-list article").first
    assert "and that is true" in first.locator("ins").first.text_content()
    cells = first.locator(".answers td").all_text_contents()
    assert len(cells) == 6 and all(cell[0] in "✓✗" and "%" in cell for cell in cells)


def test_hostile_text_is_shown_as_text(page: Any) -> None:
    page.fill("#search", "pwned")
    assert count(page, "example") == 1
    shown = page.locator("#example-list article .texts").text_content()
    assert "<img src=x onerror=" in shown and "<script>" in shown


def test_comparisons_are_sorted_and_filtered(page: Any) -> None:
    everything = count(page, "comparison")
    page.click("#comparison-table thead button:text('p (Holm)')")
    values = [
        float(text.strip("< "))
        for text in page.locator("#comparison-table tbody td:nth-child(6)").all_inner_texts()
    ]
    assert values == sorted(values)
    assert page.get_attribute("#comparison-table th >> nth=5", "aria-sort") == "ascending"
    page.select_option("#comparison-level", "word")
    assert 0 < count(page, "comparison") < everything
    page.check("#comparison-apart")
    assert count(page, "comparison") == page.locator("#comparison-table tbody td.good").count()


def test_tabs_show_one_table_by_mouse_and_keyboard(page: Any) -> None:
    assert page.is_visible("#panel-efficiency") and page.is_hidden("#panel-robustness")
    page.click("#tab-robustness")
    assert page.is_visible("#panel-robustness") and page.is_hidden("#panel-efficiency")
    page.keyboard.press("ArrowRight")
    assert page.is_visible("#panel-efficiency")
    assert page.get_attribute("#tab-efficiency", "aria-selected") == "true"


def test_it_fits_a_narrow_screen_and_paper(page: Any, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 380, "height": 800})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_timeout(200)
    assert page.evaluate("document.documentElement.scrollWidth") <= 800
    links = page.locator("nav a")
    boxes = [links.nth(i).bounding_box() for i in range(links.count())]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 800 for box in boxes)
    places = {page.locator(".card").nth(i).bounding_box()["x"] for i in range(3)}
    assert len(places) == 1  # one below the other, none alone beside an empty place
    page.emulate_media(media="print")
    assert page.is_hidden("header.top") and page.is_visible("#panel-robustness")
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")


def test_long_examples_are_folded_and_no_column_is_hidden(browser: Any, tmp_path: Path) -> None:
    records, items = frames(adversarial=20, clean=40, seeds=(0,))
    for name in ("shown", "original"):
        items[name] = [
            None if texts is None else [f"{'before ' * 150}{text}{' after' * 150}" for text in texts]
            for texts in items[name]
        ]
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(study.write(records, items, tmp_path / "long.html").as_uri())
    opened.wait_for_selector("html[data-ready]")
    card = opened.locator(".example").first
    assert len(card.inner_text().split()) < 150 and "…" in card.inner_text()
    assert card.bounding_box()["height"] < 600
    card.locator(".unfold").click()
    assert len(card.inner_text().split()) > 300 and card.locator(".unfold").count() == 0
    wide = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    nav = "document.querySelector('nav').scrollWidth <= document.querySelector('nav').clientWidth"
    assert opened.evaluate(wide) == 0 and opened.evaluate(nav)
    opened.close()
