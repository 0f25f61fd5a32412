"""A bad study is refused before any work, with the line, the field and what would be right."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from trilemma.errors import StudyError
from trilemma.study.spec import ModelSpec, Study, load_study, schema
from trilemma.study.spec.blocks import MOST_MODELS, MOST_SEEDS

GOOD = """\
name: small
models:
  - {arch: gla, size: nano}
  - {arch: transformer-pp, size: nano}
tasks: [sst2]
"""
MINE = "[{name: mine, fields: t, label: u, labels: [a, b], files: {train: t.csv, validation: v.csv}}]"


def set_called(name: str) -> str:
    return f"robustness: {{sets: [{{name: {name}, task: sst2, file: a.csv}}]}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_new_model_is_written_as_everywhere_else(tmp_path: Path) -> None:
    text = GOOD.replace(
        "- {arch: gla, size: nano}\n  - {arch: transformer-pp, size: nano}", "- gla:nano\n  - o/m"
    )
    study = load_study(write(tmp_path, text))
    assert study.models == (ModelSpec(arch="gla", size="nano"), ModelSpec(id="o/m"))
    for wrong, expected in (
        ("gal:nano", r"line 3: models\.0: unknown architecture 'gal'; did you mean gla\?"),
        ("gla:huge", r"line 3: models\.0: unknown size 'huge'; known: nano"),
    ):
        with pytest.raises(StudyError, match=expected):
            load_study(write(tmp_path, text.replace("gla:nano", wrong)))


def test_a_short_study_gets_the_defaults(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, GOOD))
    assert [model.label for model in study.models] == ["gla-nano", "transformer-pp-nano"]
    assert study.data == "embedded" and study.seeds == (0, 1, 2)
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
        (GOOD + "adapt: {epoch: 3}\n", r"line 6: adapt\.epoch: is not a field here; known: .*epochs"),
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
        (GOOD.replace("[sst2]", "[{name: sst2, rows: 3}]"), r"line 5: tasks\.0\.rows: .*`files`"),
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
        (
            GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {epoch: 1}}"),
            r"line 3: models\.0\.adapt\.epoch: is not a field here; known: .*epochs",
        ),
        (GOOD.replace("[sst2]", "[{name: sst2, adapt: {epochs: 0}}]"), r"line 5: tasks\.0\.adapt\.epochs: "),
        (GOOD.replace("[sst2]", "[sst2, sst2]"), r"line 5: tasks\.1: tasks names sst2 twice"),
        (GOOD + "base: /etc\n", r"base is not a field here"),
        (GOOD + "data: nowhere\n", r"line 6: data: should be embedded, hub or folder:PATH, not 'nowhere'"),
        (GOOD + f"seeds: [{'9' * 5000}]\n", r"line 6: 9+… is a larger number"),
        (GOOD + f"seeds: [{2**32}]\n", r"line 6: seeds\.0: should be less than 4294967296"),
        (GOOD + "adapt: {epochs: 1e300}\n", r"line 6: adapt\.epochs: should be less than"),
        (GOOD + "seeds: !!int nine\n", r"YAML cannot read"),
        (GOOD + 'data: "folder:\\0"\n', r"line 6: a NUL character"),
        (
            GOOD + "robustness: {attacks: [nope]}\n",
            r"line 6: robustness\.attacks\.0\.recipe: unknown attack 'nope'",
        ),
        (
            GOOD.replace("gla, size: nano}", "gla, size: nano, transforms: [nope]}"),
            r"line 3: .*unknown transform",
        ),
        (
            GOOD + "pretrain: {corpus: [a.txt], tokens: infM}\n",
            r"line 6: pretrain\.tokens: should be a whole",
        ),
        (GOOD + "pretrain: {corpus: [a.txt], tokens: 1, learning_rate: {gal: 0.1}}\n", r"architecture 'gal'"),
        (
            GOOD + "pretrain: {corpus: [a.txt], tokens: 1, learning_rate: {gla: -1}}\n",
            r"gla: should be greater",
        ),
        (
            GOOD + "robustness: {sets: [{name: a, tasks: b}]}\n",
            r"line 6: robustness\.sets\.0\.tasks: .*known: .*task",
        ),
        (
            GOOD.replace("[sst2]", MINE.replace("label: u", "lable: u")),
            r"line 5: tasks\.0\.lable: .*known: .*label",
        ),
        (GOOD.replace("[sst2]", MINE.replace("[a, b]", "[no, yes]")), r"tasks\.0\.labels\.0: .*in quotes"),
        (GOOD.replace("[sst2]", MINE.replace("name: mine", "name: sst2")), r"'sst2' exists already"),
        (GOOD.replace("[sst2]", MINE.replace("validation", '"a b"')), r"tasks\.0\.files\.a b"),
        (
            GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {method: lora}}")
            + "adapt: [{method: full}, {method: lora}]\n",
            r"line 3: models\.0\.adapt\.method: gla-nano on sst2 would be adapted by lora 2 times.*leave it",
        ),
        (
            GOOD.replace("[sst2]", "[{name: sst2, adapt: {method: full}}]")
            + "adapt: [{method: full}, {method: lora}]\n",
            r"line 5: tasks\.0\.adapt\.method: .*full 2 times",
        ),
        (GOOD + set_called("adv_typos"), r"line 6: robustness\.sets\.0: .*'adv_typos'.*adv_, advglue.*taken"),
        (GOOD + set_called("advglue"), r"line 6: robustness\.sets\.0: .*'advglue'.*taken"),
        (GOOD + set_called("anli_r4"), r"'anli_r4'.*taken"),
        (GOOD + set_called("clean"), r"'clean'.*all, average, clean"),
        (GOOD + set_called("validation_typos"), r"'validation_typos'.*taken"),
        (
            GOOD.replace("[sst2]", MINE.replace("validation", "spring"))
            + set_called("spring").replace("sst2", "mine"),
            r"line 6: robustness\.sets\.0: spring is also a split of task mine",
        ),
        (GOOD + "robustness: {sets: [advglue, advglue]}\n", r"robustness\.sets\.1: sets names advglue twice"),
        (
            GOOD.replace("[sst2]", MINE.replace("name: mine", "name: average")),
            r"line 5: tasks\.0: a task cannot be called 'average': all, average, clean",
        ),
        (
            GOOD.replace("[sst2]", "[sst]"),
            r"line 5: tasks\.0: unknown task 'sst'; did you mean sst2\? known: ax,",
        ),
        (GOOD.replace("{arch: gla, size: nano}", "{path: my bert}"), r"line 3: models\.0: 'my bert'.*`name`"),
        (GOOD.replace("{arch: gla, size: nano}", "{path: /}"), r"line 3: models\.0: ''.*`name`"),
        (
            GOOD.replace("{arch: gla, size: nano}", "./m/bert"),
            r"line 3: models\.0: .*write {path: \./m/be",
        ),
        (GOOD.replace("{arch: gla, size: nano}", "~/bert"), r"line 3: models\.0: .*write {path: ~/bert}"),
        (GOOD.replace("{arch: gla, size: nano}", "here"), r"line 3: models\.0: .*write {path: here}"),
        (GOOD + "data: folder:~nosuchuser/x\n", r"line 6: data: ~nosuchuser/x has no home folder"),
        (GOOD + "efficiency: {decode: 1}\n", r"line 6: efficiency(\.|: )decode: .*at least 2, or 0"),
        (
            GOOD + "adapt: {learning_rate: 0,001}\n",
            r"line 6: `001` cannot name a field: .*point, not a",
        ),
        (
            GOOD.replace("[sst2]", MINE.replace("fields: t,", "fields: [t, u, v],")),
            r"line 5: tasks\.0\.fields: takes at most 2 entries, not 3",
        ),
        (GOOD + "adapt: {learning_rate: {sweep: [1e-3]}}\n", r"sweep: needs at least 2 entries"),
        (GOOD + "".join(f"wrong{i}: 1\n" for i in range(4)), r"\(and 1 more fault\)"),
        (
            GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {epochs: 9}}"),
            r"line 3: models\.0\.adapt\.epochs: gla-nano .* epochs 9 and others with 3: .*`note`",
        ),
        (
            GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {rows: 50}}") + "adapt: {rows: 5000}\n",
            r"models\.0\.adapt\.rows: gla-nano .* rows 50 and others with 5,000",
        ),
        (
            GOOD.replace(
                "gla, size: nano}",
                "gla, size: nano, adapt: {learning_rate: {sweep: [1e-4, 3e-4, 1e-3], rows: 50}}}",
            ),
            r"models\.0\.adapt\.learning_rate\.rows: gla-nano .*rows 50 and others with 4,000",
        ),
        (GOOD + "data: 'folder:'\n", r"line 6: data: "),
        ("just text", r"not a study"),
        ("[" * 5000, r"nested too deeply|not valid YAML"),
    ],
)
def test_a_bad_study_is_refused_by_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(StudyError, match=expected):
        load_study(write(tmp_path, text))


@pytest.mark.parametrize(
    "models",
    [
        "{arch: gla, size: nano, adapt: {epochs: 9}, note: trained for longer on purpose}",
        "{arch: gla, size: nano, adapt: {batch: 8}}",
    ],
)
def test_unequal_training_with_a_note_is_allowed_and_so_are_other_settings(
    tmp_path: Path, models: str
) -> None:
    load_study(write(tmp_path, GOOD.replace("{arch: gla, size: nano}", models)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"models": MOST_MODELS + 1}, r"line 3: models: takes at most 5000 entries, not 5001"),
        ({"seeds": MOST_SEEDS + 1}, r"line 4: seeds: takes at most 1000 entries, not 1001"),
        (
            {"models": 60, "seeds": 60},
            r"line 3: models: .* makes about 223,200 stages, and .* at most 200,000",
        ),
    ],
)
def test_a_study_that_nobody_means_is_refused_at_once(
    tmp_path: Path, fields: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trilemma.study.spec.consistency.MOST_STAGES", 200_000)
    models = ", ".join(f"{{arch: gla, size: nano, name: m{i}}}" for i in range(fields.get("models", 1)))
    text = f"name: x\ntasks: [sst2]\nmodels: [{models}]\nseeds: {list(range(fields.get('seeds', 1)))}\n"
    with pytest.raises(StudyError, match=said):
        load_study(write(tmp_path, text + "robustness: {attacks: [deepwordbug]}\n"))


def test_names_and_training_are_compared_over_thousands_of_models(tmp_path: Path) -> None:
    lines = [f"- {{arch: gla, size: nano, name: m{i}}}" for i in range(3_000)]
    text = "name: x\ntasks: [sst2]\nmodels:\n" + "\n".join(lines)
    assert len(load_study(write(tmp_path, text)).models) == 3_000
    with pytest.raises(StudyError, match=r"line 3003: models.2999: models names m7 twice"):
        load_study(write(tmp_path, text.replace("m2999", "m7")))
    with pytest.raises(StudyError, match=r"line 2003: .*m1999 would train with epochs 9 and others with 3"):
        load_study(write(tmp_path, text.replace("m1999}", "m1999, adapt: {epochs: 9}}")))


def test_all_models_may_depart_from_the_study_together(tmp_path: Path) -> None:
    load_study(write(tmp_path, GOOD.replace("size: nano}", "size: nano, adapt: {epochs: 9}}")))


def test_sets_that_no_score_can_be_mistaken_for_are_allowed(tmp_path: Path) -> None:
    for name in ("typos", "my_adv_set", "robust"):
        load_study(write(tmp_path, GOOD + set_called(name)))
    load_study(write(tmp_path, GOOD + "robustness: {sets: [{name: advglue, advglue: dev_ann.json}]}\n"))


@pytest.mark.parametrize(("written", "name"), [(".", "mine"), ("..", "above"), ("deeper/..", "mine")])
def test_a_folder_by_dots_is_called_what_it_is_called(tmp_path: Path, written: str, name: str) -> None:
    (tmp_path / "above" / "mine").mkdir(parents=True)
    text = GOOD.replace("{arch: gla, size: nano}", f"{{path: {written}}}")
    study = load_study(write(tmp_path / "above" / "mine", text))
    assert study.models[0].label == name and study.models[0].path == written


def test_a_study_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(StudyError, match="UTF-8"):
        load_study(path)
    path.write_bytes(b"x" * 2_000_000)
    with pytest.raises(StudyError, match="at most"):
        load_study(path)
    with pytest.raises(StudyError, match="cannot be read"):
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD + "adapt: {epochs: no}\n", "adapt.epochs: "),
        (GOOD + "adapt: {learning_rate: fast}\n", "adapt.learning_rate: "),
        (GOOD + "adapt: {learning_rate: 3}\n", "adapt.learning_rate: should be less than 1"),
        (GOOD + "adapt: {learning_rate: {sweep: [fast, 0.1]}}\n", "adapt.learning_rate.sweep.0: "),
        (GOOD + "robustness: {sets: [{nme: x, task: a, file: b}]}\n", "robustness.sets.0."),
        (GOOD.replace("[sst2]", "[[sst2]]"), "tasks.0: "),
        (GOOD + "adapt: []\n", "adapt: needs at least 1 entry"),
    ],
)
def test_only_what_is_at_fault_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(StudyError) as caught:
        load_study(write(tmp_path, text))
    for line in str(caught.value).splitlines():
        place = line.split(": ", 1)[1]
        assert place.startswith(expected)
        assert "Tuple" not in place and "instance of" not in place and "constrained" not in place


def test_a_data_folder_starts_from_the_files_folder_like_every_path(tmp_path: Path) -> None:
    path = write(tmp_path, "name: s\nmodels: [m]\ntasks: [sst2]\ndata: folder:glue\n")
    assert load_study(path).data == f"folder:{tmp_path / 'glue'}"
    assert load_study(path, data="folder:glue").data == "folder:glue"


def test_a_name_may_look_like_a_date(tmp_path: Path) -> None:
    assert load_study(write(tmp_path, GOOD.replace("name: small", "name: 2024-13-45"))).name == "2024-13-45"


def test_a_wrong_option_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"^--data: should be embedded"):
        load_study(write(tmp_path, GOOD), data="nowhere")


def as_an_editor_reads(text: str) -> object:
    """YAML 1.2, in which 1e-3 is a number."""

    def numbers(value: object) -> object:
        if isinstance(value, dict):
            return {key: numbers(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [numbers(inner) for inner in value]
        return float(value) if isinstance(value, str) and re.fullmatch(r"\d(\.\d+)?e-\d", value) else value

    return numbers(yaml.safe_load(text))


def test_the_schema_accepts_what_runs_and_refuses_what_does_not() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    good = [path.read_text("utf-8") for path in sorted(Path("studies").glob("*.yaml"))]
    assert len(good) >= 4
    good += [GOOD, GOOD.replace("[sst2]", MINE), GOOD.replace("- {arch: gla, size: nano}", "- name/model")]
    for text in good:
        assert [error.message for error in validator.iter_errors(as_an_editor_reads(text))] == [], text
    for text in (
        GOOD + "sedes: [1]\n",
        GOOD + "base: /etc\n",
        GOOD.replace("tasks: [sst2]", "tasks: []"),
        GOOD.replace("[sst2]", "[{name: sst2, rows: 3}]"),
        GOOD.replace("[sst2]", MINE.replace("label: u", "lable: u")),
        GOOD.replace("{arch: gla, size: nano}", "{arch: gla}"),
        GOOD.replace("gla, size: nano}", "gla, size: nano, adapt: {epoch: 1}}"),
        GOOD + "pretrain: {corpus: [a.txt], tokens: many}\n",
        GOOD + "robustness: {sets: [{name: a, tasks: b}]}\n",
    ):
        assert list(validator.iter_errors(as_an_editor_reads(text))), text


def test_the_schema_describes_every_field() -> None:
    document = schema()
    assert set(document["properties"]) == set(Study.model_fields) - {"base"}
    assert "robustness" in document["properties"]


def test_a_study_in_python_is_refused_as_a_file_is() -> None:
    with pytest.raises(StudyError, match=r"^typo: is not a field here; known: name, data, models"):
        Study(name="a", models=["gla:nano"], tasks=["sst2"], typo=1)
    with pytest.raises(StudyError, match=r"^tasks\.0: unknown task 'sst'; did you mean sst2\?"):
        Study(name="a", models=["gla:nano"], tasks=["sst"])
    study = Study(name="a", models=["gla:nano"], tasks=["sst2"])
    assert Study.model_validate(study.model_dump()) == study


@pytest.mark.parametrize("path", sorted(Path("studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository_are_valid(path: Path) -> None:
    assert load_study(path).name == path.stem
