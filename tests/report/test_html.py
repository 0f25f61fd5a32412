import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
import pytest

from tests.stand_ins.synthetic import frames
from trilemma.analysis.candidates import candidates
from trilemma.analysis.evidence import Evidence
from trilemma.analysis.lookup import Estimate
from trilemma.errors import StoreError, TrilemmaError
from trilemma.report import examples
from trilemma.report.charts.encoding import columns, cost_scale, kind_of
from trilemma.report.charts.length import length_figure
from trilemma.report.charts.pareto import pareto_figure
from trilemma.report.charts.phases import phases_figure
from trilemma.report.charts.robustness import levels_figure, methods_figure
from trilemma.report.charts.roofline import roofline_figure
from trilemma.report.pages import study
from trilemma.report.pages.page import embed_json

EVIL = "</script><script>window.pwned=1</script><img src=x onerror=pwned=1>${study}\u2028&amp;"


class Page(HTMLParser):
    """Tags, and the text of scripts by order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script" and self.cdata_elem == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def page() -> str:
    return study.render(*frames(adversarial=40, clean=60))


def data_of(page: str) -> dict[str, Any]:
    return json.loads(Page(page).scripts[0])


def test_the_page_is_whole_and_small(page: str) -> None:
    assert len(page.encode()) < 3_000_000
    parsed = Page(page)
    assert len(parsed.scripts) == 3
    assert not [tag for tag, attributes in parsed.tags if "src" in attributes]
    links = [attributes["href"] for tag, attributes in parsed.tags if tag in ("link", "a", "use")]
    assert all(str(link).startswith(("#", "data:")) for link in links)
    assert "$" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_only_the_pages_own_scripts_may_run(page: str) -> None:
    parsed = Page(page)
    policy = next(a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy) and "unsafe-eval" not in str(policy)
    allowed = re.findall(r"'sha256-([^']+)'", str(policy))
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in parsed.scripts[1:]
    ]
    assert allowed == hashes


def test_every_section_is_there(page: str) -> None:
    ids = {attributes.get("id") for _, attributes in Page(page).tags}
    sections = {
        "verdict",
        "front",
        "levels",
        "methods",
        "length",
        "phases",
        "roofline",
        "forecasts",
        "comparisons",
        "examples",
        "numbers",
        "caveats",
    }
    assert sections | {"method"} <= ids
    headings = [tag for tag, _ in Page(page).tags if tag in ("h1", "h2")]
    assert headings[0] == "h1" and headings.count("h1") == 1


def test_all_examples_and_answers_are_there(page: str) -> None:
    data = data_of(page)
    assert len(data["examples"]) == 80
    assert "All 80 adversarial examples" in page
    first = data["examples"][0]
    assert len(first["answers"]) == 3 and len(first["answers"][0]) == 2
    answer, confidence, original, _ = first["answers"][0][0]
    assert answer in (0, 1) and 0.5 <= confidence <= 1 and original in (0, 1)
    human = next(e for e in data["examples"] if e["level"] == "human")
    assert human["original"] is None and human["answers"][0][0][2:] == [None, None]


def test_data_cannot_become_markup_or_script() -> None:
    records, items = frames(adversarial=20, clean=30, seeds=(0,))
    records = records.assign(model=records["model"].replace("gla-nano", EVIL), study=EVIL, kernel=EVIL)
    items = items.assign(model=items["model"].replace("gla-nano", EVIL), method=EVIL)
    items["shown"] = [None if shown is None else [EVIL] * len(shown) for shown in items["shown"]]
    page = study.render(records, items)
    parsed = Page(page)
    assert len(parsed.scripts) == 3
    assert "img" not in {tag for tag, _ in parsed.tags}
    raw = page[page.index('id="data">') :]
    assert "\u2028" not in raw and "<" not in raw[len('id="data">') : raw.index("</script>")]
    data = data_of(page)
    assert data["examples"][0]["shown"][0] == EVIL
    assert EVIL in data["candidates"]


def test_json_is_embedded_unchanged() -> None:
    content = {"text": "<b>&'\"\u2028\u2029\\</script>é", "numbers": [1, 2.5, None]}
    embedded = embed_json(content)
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert json.loads(embedded) == content
    numbers = {"rows": [{"p": float("nan")}, (1.5, float("inf"))]}
    assert json.loads(embed_json(numbers)) == {"rows": [{"p": None}, [1.5, None]]}


def test_a_share_of_the_roofline_with_an_impossible_limit_is_drawn_without_interval() -> None:
    records, _ = frames(models=1, seeds=(0,), clean=20, adversarial=20)
    records.loc[records["metric"] == "roofline_share", "low"] = -1e100
    figure = roofline_figure(records)
    assert figure is not None and '"y_low": null' in json.dumps(list(figure.variants.values()))


def test_many_examples_are_sampled_from_every_stratum() -> None:
    records, items = frames(models=2, adversarial=400, clean=20, seeds=(0,))
    shown = examples.collect(items, candidates(records), budget=30_000)
    size = len(embed_json(shown.examples))
    assert shown.total == 800 and shown.shown == len(shown.examples) < 200
    assert 15_000 < size < 45_000
    strata = items.loc[items["level"] != "clean", ["task", "level", "method"]].drop_duplicates()
    assert {(e["task"], e["level"], e["method"]) for e in shown.examples} == set(
        strata.itertuples(index=False, name=None)
    )
    right = items[items["level"] != "clean"].assign(answer=0.0)
    again = examples.collect(right, candidates(records), budget=30_000)
    assert [e["shown"] for e in again.examples] == [e["shown"] for e in shown.examples]


def test_charts_are_valid_vega_lite() -> None:
    records, items = frames(adversarial=40, clean=60, seeds=(0,))
    evidence = Evidence(records, items)
    for figure in (
        pareto_figure(evidence),
        levels_figure(evidence),
        methods_figure(evidence),
        length_figure(records),
        phases_figure(records),
        roofline_figure(records),
    ):
        assert figure is not None
        assert all(len(key) == len(figure.choices) for key in figure.variants)
        assert all(spec["datasets"]["rows"] for spec in figure.variants.values())
        for spec in list(figure.variants.values())[:: max(1, len(figure.variants) - 1)]:
            alt.Chart.from_dict(spec, validate=True)


def test_chart_rows_carry_n_and_interval() -> None:
    records, items = frames(adversarial=40, clean=60, seeds=(0,))
    figure = levels_figure(Evidence(records, items))
    rows = [row for row in figure.variants["sst2",]["datasets"]["rows"] if "candidate" in row]
    assert {row["level"] for row in rows} == {"clean", "word", "sentence", "human"}
    assert all(row["y_low"] < row["y"] < row["y_high"] and row["y_n"] > 0 for row in rows)


def test_a_study_without_answers_or_efficiency_is_still_reported() -> None:
    records, items = frames(adversarial=20, clean=30, seeds=(0,))
    page = study.render(records[records["axis"] == "E"], items.iloc[:0])
    assert "no three-axis front" in page and "No adversarial examples were answered" in page
    page = study.render(records[records["axis"] != "E"], items)
    assert "Efficiency was not measured" in page
    assert not {"length", "phases", "roofline"} & set(data_of(page)["figures"])
    assert 'id="forecasts"' not in page


def test_a_regression_is_reported() -> None:
    records, items = frames(models=2, tasks=("sst2",), adversarial=20, clean=30, seeds=(0,))
    scores = items.assign(task="stsb", labels=None, probabilities=None, original_probabilities=None)
    page = study.render(records, pd.concat([items, scores.assign(answer=scores["answer"] + 0.25)]))
    data = data_of(page)
    assert data["tasks"]["stsb"] == []
    assert next(e for e in data["examples"] if e["task"] == "stsb")["answers"][0][0][1] is None


def test_nothing_to_report_and_nowhere_to_write(tmp_path: Path) -> None:
    records, items = frames(models=1, adversarial=10, clean=10, seeds=(0,))
    with pytest.raises(TrilemmaError, match="nothing to report"):
        study.write(records.iloc[:0], items, tmp_path / "report.html")
    with pytest.raises(StoreError, match="cannot write"):
        study.write(records, items, tmp_path / "absent" / "report.html")


def test_no_two_candidates_share_colour_and_shape() -> None:
    assert len({kind_of(index) for index in range(64)}) == 64


def test_length_is_drawn_by_model() -> None:
    records, items = frames(models=2, adversarial=20, clean=30, seeds=(0,))
    lora = [table[table["adaptation"] == "full"].assign(adaptation="lora") for table in (records, items)]
    records, items = pd.concat([records, lora[0]]), pd.concat([items, lora[1]])
    page = study.render(records, items)
    section = page[page.index('<section id="length">') :].split("</section>")[0]
    # What training takes is a candidate's own.
    assert "gla-nano</li>" in section and "gla-nano:lora</li>" in section and section.count("<li>") == 6
    spec = next(iter(length_figure(records).variants.values()))
    domain = spec["layer"][0]["encoding"]["color"]["scale"]["domain"]
    everyone = [c.name for c in candidates(records)]
    assert domain.index("gla-nano") == everyone.index("gla-nano:full")


def test_costs_are_not_below_zero_and_absent_intervals_are_not_drawn() -> None:
    rows = [{"x": 3.0, "x_low": 0.5, "x_high": 9.0}, {"x": 40.0, "x_low": None, "x_high": None}]
    assert cost_scale(rows).domain[0] == 0
    assert columns("y", Estimate(1.0), "ms")["y_low"] is None
    assert columns("y", Estimate(1.0, 0.5, float("inf")), "ms")["y_high"] is None


def test_the_front_is_drawn_where_efficiency_was_measured() -> None:
    records, items = frames(models=2, adversarial=20, clean=60, seeds=(0,))
    timed = records["batch"].notna() & (records["axis"] == "E")
    elsewhere = records[~timed | ((records["batch"] == 16) & (records["length"] == 512))]
    page = study.render(elsewhere, items)
    assert "Efficiency was not measured" not in page and "at batch 16, length 512" in page
    assert "pareto" in data_of(page)["figures"]


def test_cautions_stand_in_two_groups() -> None:
    records, items = frames(adversarial=40, clean=60, seeds=(0,))
    made = study.render(records, items)
    caveats = made.partition('<section id="caveats"')[2].partition("</section>")[0]
    limits, _, absent = caveats.partition("<h3>Not asked for, or not to be measured here</h3>")
    assert "What limits the verdict" in limits and "Not measured" not in limits
    assert absent.count("<li>") == absent.count("Not measured") > 0
    count = limits.count("<li>")
    assert f"{count} caution{' limits' if count == 1 else 's limit'} this verdict" in made
