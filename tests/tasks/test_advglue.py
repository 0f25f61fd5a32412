import http.server
import json
import os
import threading
from collections import Counter

import pyarrow.parquet as pq
import pytest

from tests.stand_ins.hub import require_loopback
from trilemma import tasks
from trilemma.errors import DataError
from trilemma.tasks import advglue

# By set: items, their levels (word, sentence, human), paired items, different originals as printed, and
# different originals when spacing, case and punctuation are left out.
COUNTS = {
    "adv_sst2": (148, (80, 51, 17), 131, 87, 62),
    "adv_qqp": (78, (66, 5, 7), 71, 39, 26),
    "adv_mnli": (121, (85, 36, 0), 121, 73, 54),
    "adv_mnli_mismatched": (162, (71, 48, 43), 119, 73, 60),
    "adv_qnli": (148, (91, 42, 15), 133, 83, 62),
    "adv_rte": (81, (62, 19, 0), 81, 36, 25),
}
# By level and method: sst2, qqp, mnli, mnli_mismatched, qnli, rte.
METHODS = {
    ("word", "TextBugger"): (19, 24, 38, 38, 35, 24),
    ("word", "TextFooler"): (16, 8, 8, 7, 11, 12),
    ("word", "BERT-ATTACK"): (8, 6, 13, 11, 8, 7),
    ("word", "SememePSO"): (28, 9, 11, 9, 19, 12),
    ("word", "SemAttack"): (9, 19, 15, 6, 18, 7),
    ("sentence", "SCPN"): (4, 0, 10, 9, 4, 1),
    ("sentence", "T3"): (17, 5, 10, 10, 15, 7),
    ("sentence", "AdvFever"): (0, 0, 0, 1, 0, 1),
    ("sentence", "StressTest"): (19, 0, 8, 9, 11, 7),
    ("sentence", "CheckList"): (11, 0, 8, 19, 12, 3),
    ("human", "CheckList"): (17, 7, 0, 0, 7, 0),
    ("human", "StressTest"): (0, 0, 0, 21, 0, 0),
    ("human", "ANLI"): (0, 0, 0, 22, 0, 0),
    ("human", "AdvSQuAD"): (0, 0, 0, 0, 8, 0),
}

SST2, MNLI = tasks.get("sst2"), tasks.get("mnli")


def item(idx, sentence, label, level, method, original=None):
    made = {"sentence": sentence, "label": label, "method": method, "data_construction": level, "idx": idx}
    return made if original is None else {"original_sentence": original, **made}


DOCUMENT = {
    "sst2": [
        item(0, "a splendd film", 1, "word", "TextBugger", "A splendid film"),
        item(1, "a splendid film @x1", 1, "sentence", "CheckList", "a splendid film ."),
        item(2, "not a film I would ever hate", 1, "human", "CheckList"),
        item(3, "a dull film", 0, "word", "glue"),
    ],
    "mnli": [
        {
            "hypothesis": "he did not came",
            "premise": "he came",
            "original_hypothesis": "he did not come",
            "label": 2,
            "idx": 0,
            "method": "TextFooler",
            "data_construction": "word",
        }
    ],
    "mnli-mm": [
        {
            "premise": "a",
            "hypothesis": "b",
            "label": 1,
            "idx": 0,
            "method": "ANLI",
            "data_construction": "human",
        }
    ],
}


def write(path, document=DOCUMENT):
    path.write_text(json.dumps(document))
    return path


def read(path, task=SST2):
    """As a study does: a block that names the annotated file."""
    return tasks.adversarial_from_user({"name": "x", "advglue": path.name}, path.parent, task)


def test_there_are_14_methods_at_three_levels():
    assert {(level, method) for level, methods in advglue.METHODS.items() for method in methods} == set(
        METHODS
    )


def test_annotated_json_gives_levels_methods_originals_and_clusters(tmp_path):
    (one,) = read(write(tmp_path / "dev_ann.json"))
    assert one.split == "adv_sst2" and one.official_rows == 148 and one.partial
    assert one.texts == [("a splendd film",), ("a splendid film @x1",), ("not a film I would ever hate",)]
    assert one.levels == ["word", "sentence", "human"] and one.methods == [
        "TextBugger",
        "CheckList",
        "CheckList",
    ]
    assert one.originals == [("A splendid film",), ("a splendid film .",), None]
    # the same sentence, once tokenised, is one source; an item without original is alone
    assert one.origins[0] == one.origins[1] != one.origins[2] == "adv_sst2-2"


def test_an_unchanged_field_is_its_own_original(tmp_path):
    matched, mismatched = read(write(tmp_path / "dev_ann.json"), MNLI)
    assert (matched.split, mismatched.split) == ("adv_mnli", "adv_mnli_mismatched")
    assert matched.texts == [("he came", "he did not came")]
    assert matched.originals == [("he came", "he did not come")] and mismatched.originals == [None]


def test_the_test_file_is_a_set_of_its_own_without_its_clean_items(tmp_path):
    (one,) = read(write(tmp_path / "test_ann.json"))
    assert one.split == "adv_sst2_test" and one.official_rows == 1_420 and len(one) == 3
    assert "glue" not in one.methods


def test_rows_are_counted_among_the_adversarial_items_and_ids_fall_back_to_them(tmp_path):
    clean = item(0, "fine", 1, "word", "glue")
    wrong = [clean, item(0, "a", 1, "word", "X", "b"), item(1, "a", 7, "word", "X", "b")]
    with pytest.raises(DataError, match=r"sst2 \(not counting 1 clean items\), row 2: unknown label 7"):
        read(write(tmp_path / "test_ann.json", {"sst2": wrong}))
    twice = [item(3, text, 1, "word", "X", "b") for text in ("a", "c")]
    assert read(write(tmp_path / "test_ann.json", {"sst2": twice}))[0].ids == ["row-1", "row-2"]


def test_official_rows_are_known_for_the_published_files_only(tmp_path):
    assert read(write(tmp_path / "mine.json"))[0].official_rows is None
    assert read(write(tmp_path / "mine.json"), tasks.get("cola")) == []


def test_it_is_read_again_when_the_file_changes(tmp_path):
    path = write(tmp_path / "dev_ann.json")
    before = read(path)[0].fingerprint
    changed = json.loads(json.dumps(DOCUMENT))
    changed["sst2"][0]["sentence"] += " indeed"
    assert read(write(path, changed))[0].fingerprint != before


def test_it_is_read_from_a_url(tmp_path, monkeypatch):
    require_loopback()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    write(tmp_path / "dev_ann.json")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        block = {"name": "x", "advglue": f"{address}/dev_ann.json?raw=true"}
        (one,) = tasks.adversarial_from_user(block, tmp_path, SST2)
        with pytest.raises(
            DataError, match=r"nothing.json cannot be read .*404.*download it once and give its path"
        ):
            tasks.adversarial_from_user({"name": "x", "advglue": f"{address}/nothing.json"}, tmp_path, SST2)
        server.shutdown()
    assert one.fingerprint == read(tmp_path / "dev_ann.json")[0].fingerprint and one.official_rows == 148


def without(key):
    return [{name: value for name, value in DOCUMENT["sst2"][0].items() if name != key}]


HOSTILE = {
    "not AdvGLUE": ([1, 2], r"no list under 'sst2'; expected AdvGLUE's dev_ann.json"),
    "no such task": ({"qqp": []}, r"no list under 'sst2'"),
    "empty": ({"sst2": []}, r"no adversarial item"),
    "only clean": ({"sst2": DOCUMENT["sst2"][3:]}, r"no adversarial item"),
    "not an object": ({"sst2": ["x"]}, r"dev_ann.json, sst2, row 1: a str; expected an object"),
    "no level": ({"sst2": without("data_construction")}, r"row 1 lacks the column 'data_construction'"),
    "bare dev.json": (
        {"sst2": [{"idx": 0, "sentence": "a", "label": 1}]},
        r"lacks the column 'data_construction'",
    ),
    "unknown level": (
        {"sst2": [item(0, "a", 1, "char", "X", "b")]},
        r"row 1: level 'char' .* expected word, sentence",
    ),
    "unknown label": ({"sst2": [item(0, "a", 5, "word", "X", "b")]}, r"row 1: unknown label 5"),
    "hidden label": ({"sst2": [item(0, "a", -1, "word", "X", "b")]}, r"row 1: unknown label -1"),
    "null text": ({"sst2": [item(0, None, 1, "word", "X", "b")]}, r"row 1: None in column 'sentence'"),
    "number as original": (
        {"sst2": [item(0, "a", 1, "word", "X", 3)]},
        r"row 1: 3 in column 'original_sentence'",
    ),
    "number as method": ({"sst2": [item(0, "a", 1, "word", None, "b")]}, r"row 1: None in column 'method'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_json_is_refused(case, tmp_path):
    document, message = HOSTILE[case]
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path / "dev_ann.json", document))
    assert "dev_ann.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{]", "not valid JSON"),
        (b"[" * 200_000, "nested too deeply"),
        ("é".encode("latin-1"), "not UTF-8"),
        (b"\0\0", "NUL"),
    ],
)
def test_bytes_that_are_no_json_are_refused(content, message, tmp_path):
    path = tmp_path / "dev_ann.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"dev_ann.json cannot be read \(No such file"):
        read(tmp_path / "dev_ann.json")


@pytest.fixture(scope="module")
def real():
    if "TRILEMMA_DATA" not in os.environ:
        pytest.skip("TRILEMMA_DATA is not set: no real AdvGLUE files")
    source = tasks.open_source(f"folder:{os.environ['TRILEMMA_DATA']}")
    found = [one for name in tasks.TASKS.names() for one in source.adversarial(tasks.get(name), "advglue")]
    return {one.split: one for one in found}


def test_real_sets_have_the_published_counts(real):
    assert set(real) == set(COUNTS)
    for name, (items, levels, paired, printed, sources) in COUNTS.items():
        one = real[name]
        assert len(one) == items == one.official_rows and not one.partial
        assert tuple(Counter(one.levels)[level] for level in ("word", "sentence", "human")) == levels
        originals = [original for original in one.originals if original is not None]
        assert (len(originals), len(set(originals))) == (paired, printed)
        clusters = {origin for origin, original in zip(one.origins, one.originals, strict=True) if original}
        assert len(clusters) == sources and len(set(one.origins)) == sources + items - paired
    assert sum(len(one) for one in real.values()) == 738
    assert sum(original is not None for one in real.values() for original in one.originals) == 656


def test_real_methods_have_the_published_counts(real):
    for number, name in enumerate(
        ("adv_sst2", "adv_qqp", "adv_mnli", "adv_mnli_mismatched", "adv_qnli", "adv_rte")
    ):
        found = Counter(zip(real[name].levels, real[name].methods, strict=True))
        assert found == {key: counts[number] for key, counts in METHODS.items() if counts[number]}


def test_real_clusters_are_the_rows_of_glue(real):
    """No cluster spans two rows of GLUE's validation set, no row two clusters, where rows are known."""
    for name, one in real.items():
        path = f"{os.environ['TRILEMMA_DATA']}/advglue/{name}/validation.parquet"
        rows = pq.read_table(path)["glue_validation_idx"].to_pylist()
        known = {(row, origin) for row, origin in zip(rows, one.origins, strict=True) if row is not None}
        assert len({row for row, _ in known}) == len({origin for _, origin in known}) == len(known)


def test_real_perturbations_change_exactly_one_field(real):
    for one in real.values():
        for text, original in zip(one.texts, one.originals, strict=True):
            if original is not None:
                assert sum(a != b for a, b in zip(text, original, strict=True)) == 1
