"""A bad study is refused before any work, with the line, the field and what would be right."""

from pathlib import Path

import pytest

from trilemma.errors import StudyError
from trilemma.study.spec import Study, load_study, schema

GOOD = """\
name: small
models:
  - {arch: gla, size: nano}
  - {arch: transformer-pp, size: nano}
tasks: [sst2]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_short_study_gets_the_defaults(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    assert [model.label for model in study.models] == ["gla-nano", "transformer-pp-nano"]
    assert study.data == "embedded" and study.seeds == (0,)
    assert study.base == tmp_path.resolve()


def test_rates_without_a_dot_and_counts_with_a_suffix_are_numbers(tmp_path: Path) -> None:
    text = GOOD + "adapt: {learning_rate: {sweep: [3e-4, 1e-3]}}\npretrain: {corpus: [a.txt], tokens: 10M}\n"
    study = load_study(write(tmp_path, text))
    assert study.adapt[0].learning_rate.sweep == (3e-4, 1e-3)
    assert study.pretrain is not None and study.pretrain.tokens == 10_000_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            GOOD.replace("size: nano}\n  - {arch: t", "size: huge}\n  - {arch: t"),
            r"line 3: models\.0: unknown size 'huge'.*micro",
        ),
        (GOOD.replace("gla,", "mamba,"), r"line 3: models\.0\.arch: unknown architecture 'mamba'.*gla"),
        (GOOD + "sedes: [1]\n", r"line 6: sedes: is not a field here; known: .*seeds"),
        (GOOD + "adapt: {epoch: 3}\n", r"line 6: adapt\.0\.epoch: is not a field here; known: .*epochs"),
        (GOOD + "seeds: [0, 0]\n", r"seeds names 0 twice"),
        (GOOD + "seeds: [-1]\n", r"line 6: seeds\.0: .*greater than or equal to 0"),
        (GOOD + "name: again\n", r"line 6: `name` is given twice"),
        (GOOD + "seeds: &s [0]\nx: *s\n", r"aliases"),
        (GOOD + "seeds: [0\n", r"line \d+ is not valid YAML"),
        (GOOD.replace("tasks: [sst2]\n", ""), r"tasks: Field required"),
        (GOOD.replace("name: small", "name: ../../etc"), r"line 1: name"),
        (GOOD.replace("{arch: gla, size: nano}", "{arch: gla}"), r"line 3: models\.0: "),
        (GOOD.replace("{arch: gla, size: nano}", "{id: a/b, path: c}"), r"one of id, path, package"),
        (
            GOOD.replace("{arch: gla, size: nano}", "{arch: gla, size: nano, pretrain: true}"),
            r"needs a `pretrain` block",
        ),
        (GOOD.replace("[sst2]", "[{name: sst2, rows: 3}]"), r"unknown field\(s\) rows"),
        (
            GOOD + "robustness: {sets: [advglue], atacks: []}\n",
            r"robustness\.atacks: is not a field here; known: .*attacks",
        ),
        (
            GOOD.replace(
                "gla, size: nano}", "gla, size: nano, adapt: {learning_rate: {sweep: [1e-3, 2e-3]}}}"
            ),
            r"equal number of trials",
        ),
        (GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {epoch: 1}}"), r"gla-nano on sst2: epoch"),
        ("just text", r"not a study"),
        ("[" * 5000, r"nested too deeply|not valid YAML"),
    ],
)
def test_a_bad_study_is_refused_by_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(StudyError, match=expected):
        load_study(write(tmp_path, text))


def test_a_study_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(path)
    path.write_bytes(b"x" * 2_000_000)
    with pytest.raises(StudyError, match="at most"):
        load_study(path)
    with pytest.raises(StudyError, match="cannot read"):
        load_study(tmp_path / "absent.yaml")


def test_settings_of_a_cell_are_the_studys_then_the_tasks_then_the_models(tmp_path: Path) -> None:
    text = (
        GOOD.replace("[sst2]", "[{name: sst2, adapt: {epochs: 2, batch: 8}}]").replace(
            "{arch: gla, size: nano}", "{arch: gla, size: nano, adapt: {batch: 4}}"
        )
        + "adapt: {epochs: 5, batch: 32, max_length: 64}\n"
    )
    study = load_study(write(tmp_path, text))
    gla, plain = (study.settings_for(study.adapt[0], study.tasks[0], model) for model in study.models)
    assert (gla.epochs, gla.batch, gla.max_length) == (2, 4, 64)
    assert (plain.epochs, plain.batch, plain.max_length) == (2, 8, 64)


@pytest.mark.parametrize("path", sorted(Path("studies").glob("*.yaml")), ids=lambda path: path.name)
def test_committed_studies_are_valid(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_the_schema_describes_every_field() -> None:
    document = schema()
    assert set(document["properties"]) == set(Study.model_fields) - {"base"}
    assert "robustness" in document["properties"]
