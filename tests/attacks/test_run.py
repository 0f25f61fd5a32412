"""Attacks run on labelled items: journal, results, and one model attacked from Python or the shell."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.stand_ins.tiny_models import save_bert
from tests.stand_ins.victims import BagOfWords, Endpoint, Failing
from trilemma.attacks import ATTACKS, Attack, Attacked, AttackRun, AttackSettings, build, fingerprint
from trilemma.attacks.attack import require_misclassification
from trilemma.attacks.attack_model import attack
from trilemma.attacks.journal import AttackJournal
from trilemma.attacks.run import AttackedItems, run_attack
from trilemma.cli.main import app
from trilemma.errors import AttackError, ModelError, TrilemmaError
from trilemma.tasks import adversarial_from_user, get


def test_what_a_failing_run_has_finished_is_not_attacked_again(tmp_path: Path) -> None:
    path, won = tmp_path / "attacked.jsonl", Attacked(("ünïcode 🎬",), 7, True, 0.5, "pwws")
    journal = AttackJournal(path, 5, "a model")
    journal.keep(3, won)
    journal.keep(9, Attacked(("of another size",), 1))
    with path.open("a") as file:
        file.write('{"index": 4, "text": ["cut o')
    again = AttackJournal(path, 5, "a model")
    assert again.results == {3: won}
    again.keep(2, won)
    assert AttackJournal(path, 5, "a model").results == {3: won, 2: won}
    assert AttackJournal(path, 5, "another model").results == {}


def test_a_run_resumes_by_its_journal(tmp_path: Path) -> None:
    texts = [("good",), ("dull",), ("a good film, a good one and a really good story",)]
    recipe, settings = build("deepwordbug", AttackSettings(), None), AttackSettings()
    victim = BagOfWords({"good": 1.0, "dull": -1.0})
    whole = run_attack(recipe, victim, texts, [1] * 3, settings, AttackRun(40))
    path, told = tmp_path / "journal", dict[int, Attacked]()
    with pytest.raises(TimeoutError):
        failing = Failing(victim, 4, TimeoutError("no answer"))
        run_attack(recipe, failing, texts, [1] * 3, settings, AttackRun(40), AttackJournal(path, 3))
    journal = AttackJournal(path, 3)
    done = dict(journal.results)
    assert set(done) == {0}
    run = AttackRun(40, finished=told.__setitem__)
    resumed = run_attack(recipe, victim, texts, [1] * 3, settings, run, journal)
    assert resumed.columns() == whole.columns()
    assert set(told) == {2}


def found() -> AttackedItems:
    texts = [("a good film",), ("a fine film",), ("a bad film",), ("dull",)]
    shown = [("a gud film",), ("a fien film",), ("a bad film",), ("dull",)]
    zeros = np.zeros((4, 2), np.float32)
    return AttackedItems(
        level="word",
        originals=texts,
        shown=shown,
        labels=[1, 1, 0, 0],
        attacked=[True, True, True, False],
        queries=[5, 6, 9, 0],
        by=[""] * 4,
        success=[True, True, False, False],
        similarity=[0.9, 0.4, None, None],
        perplexity_ratio=[None] * 4,
        before=zeros,
        after=zeros,
        unmeasured="",
    )


def test_examples_are_curated_with_counts_by_reason() -> None:
    kept, dropped = found().kept(AttackSettings(similarity=0.5, words_changed=0.4))
    assert kept == [0]
    assert dropped == {"no success": 1, "the model was wrong already": 1, "too little similar": 1}


def test_examples_have_the_columns_of_advglue_and_are_read_without_naming_them(tmp_path: Path) -> None:
    columns = found().as_advglue(get("sst2"), "deepwordbug", [0, 1])
    pq.write_table(pa.Table.from_pydict(columns), tmp_path / "made.parquet")
    block = {"name": "mine", "task": "sst2", "file": "made.parquet"}
    [examples] = adversarial_from_user(block, tmp_path, get("sst2"))
    assert list(examples.texts) == [("a gud film",), ("a fien film",)]
    assert list(examples.originals) == [("a good film",), ("a fine film",)]
    assert set(examples.levels) == {"word"} and set(examples.methods) == {"deepwordbug"}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("no_proxy", "*")
    served = Endpoint()
    served.bag = BagOfWords({"quite": 1.0, "really": 1.0, "seemed": 1.0}, bias=-0.5)
    yield served
    served.close()


def test_the_same_call_resumes_where_a_failing_victim_left_it(endpoint: Endpoint, tmp_path: Path) -> None:
    out = tmp_path / "adv.parquet"
    whole = attack(endpoint.bag, "sst2", "deepwordbug", items=30, budget=30)
    assert whole.path is None and not list(tmp_path.iterdir())
    endpoint.answer = lambda count, texts: endpoint.right(texts) if count < 8 else (404, {}, b"gone")
    with pytest.raises(AttackError, match="status 404"):
        attack(endpoint.url, "sst2", "deepwordbug", out, items=30, budget=30)
    assert not out.exists() and out.with_suffix(".journal").is_file()
    asked = len(endpoint.bag.asked)
    endpoint.answer = lambda count, texts: endpoint.right(texts)
    resumed = attack(endpoint.url, "sst2", "deepwordbug", out, items=30, budget=30)
    assert resumed.examples.columns() == whole.examples.columns() and resumed.ids == whole.ids
    assert len(endpoint.bag.asked) - asked < sum(whole.examples.queries)
    assert not out.with_suffix(".journal").exists()
    rows = pq.read_table(out).to_pylist()
    assert [row["idx"] for row in rows] == [whole.ids[i] for i in whole.kept]
    assert 0 < resumed.successes <= resumed.attacked and resumed.success_rate is not None
    assert f"{resumed.attacked} of 30 items" in resumed.text() and "file: adv.parquet" in resumed.text()


def test_an_adapted_model_is_attacked_by_command_line(tmp_path: Path) -> None:
    folder, out = save_bert(tmp_path / "bert"), tmp_path / "adv.parquet"
    command = ["attack", str(folder), "--task", "sst2", "--recipe", "checklist", "--out", str(out)]
    done = CliRunner().invoke(app, [*command, "--items", "5", "--budget", "9", "--setting", "protect=[not]"])
    assert done.exit_code == 0, done.output
    assert "of 5 items were answered correctly" in done.output and out.is_file()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"out": "adv.csv"}, "not a .parquet file"),
        ({"out": "nowhere/adv.parquet"}, "a folder that exists"),
        ({"model": "nowhere"}, "checkpoints.json"),
        ({"model": "bert", "task": "mnli"}, "the task that it was adapted to"),
        ({"task": "stsb"}, "no task 'stsb'"),
        ({"items": 0}, "at least 1"),
        ({"budget": 0}, "allow at least 1"),
        ({"settings": {"similarty": 0.8}}, "did you mean similarity"),
        ({"settings": {"similarity": 8}}, "the setting similarity: .*less than or equal"),
        ({"recipe": "input-reduction"}, "not a wrong answer"),
        ({"recipe": "own-templates"}, "called custom-templates now"),
    ],
)
def test_a_wrong_call_is_refused_with_its_remedy(
    changed: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_bert(tmp_path / "bert")
    call = {"model": BagOfWords({"is": 1.0}, bias=-0.5), "task": "sst2", "recipe": "deepwordbug"} | changed
    with pytest.raises(TrilemmaError, match=said):
        attack(**call)  # type: ignore[arg-type]


def test_a_folder_without_a_classifier_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="name an adapted model"):
        attack(tmp_path, "sst2", "deepwordbug")


@pytest.mark.parametrize(
    ("pair", "said"), [("similarity", "not NAME=VALUE"), ("protect=[", "cannot be read")]
)
def test_a_setting_that_cannot_be_parsed_is_refused(pair: str, said: str, tmp_path: Path) -> None:
    command = ["attack", "m", "--task", "sst2", "--recipe", "pwws", "--out", str(tmp_path / "a.parquet")]
    done = CliRunner().invoke(app, [*command, "--setting", pair])
    assert isinstance(done.exception, AttackError) and said in str(done.exception)


class Plain(Attack):
    level = "word"

    def __call__(self, victim, texts, labels, run):  # type: ignore[no-untyped-def]
        return [Attacked(text, 0) for text in texts]


def test_an_attack_declares_its_optional_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Plain()
    assert not plain.white_box and plain.misclassifies and not plain.configurable
    ATTACKS.register("plain-attack", plain)
    ATTACKS.register("no-attack", object())  # type: ignore[arg-type]
    assert build("plain-attack", AttackSettings(), None) is plain
    assert fingerprint("plain-attack", AttackSettings()) == {}
    require_misclassification("plain-attack")
    with pytest.raises(AttackError, match="plain-attack takes no settings; leave out similarity"):
        build("plain-attack", AttackSettings(similarity=0.5), None)
    with pytest.raises(AttackError, match=r"derive its class from"):
        ATTACKS.get("no-attack")


def test_attacks_are_listed_and_built_without_torch() -> None:
    code = (
        "import sys; from trilemma.attacks import ATTACKS, AttackSettings, build\n"
        "assert 'hotflip' in ATTACKS and len(ATTACKS.names()) > 20\n"
        "build('checklist', AttackSettings(), None)\n"
        "print(*{'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
