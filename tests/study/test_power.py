"""What a plan says that a study can resolve, before anything is spent."""

from pathlib import Path

from trilemma.study.layout import lay_out
from trilemma.study.power import Resolution, resolutions
from trilemma.study.spec import load_study

STUDY = """\
name: small
models: [{arch: gla, size: nano}, {arch: matmul-free, size: nano}]
tasks: [sst2, qnli]
robustness: {sets: [advglue], attacks: [checklist], items: 40}
"""


def planned(folder: Path, text: str = STUDY) -> dict[str, Resolution]:
    (folder / "study.yaml").write_text(text)
    return {one.what: one for one in resolutions(lay_out(load_study(folder / "study.yaml"), offline=True))}


def test_each_level_has_the_difference_that_its_items_and_seeds_can_resolve(tmp_path: Path) -> None:
    one, three, many = (
        planned(tmp_path, f"{STUDY}seeds: {seeds}\n") for seeds in ([0], [0, 1, 2], list(range(12)))
    )
    assert list(one) == [
        "clean",
        "advglue",
        "advglue, word level",
        "advglue, sentence level",
        "advglue, human level",
        "attack checklist",
    ]
    assert one["attack checklist"].items == 80 and one["clean"].items > 500
    for name in one:
        assert 0 < many[name].difference < three[name].difference < 1
    assert one["clean"].difference < one["advglue"].difference < one["advglue, word level"].difference


def test_more_candidates_cost_power_and_one_has_nothing_to_compare(tmp_path: Path) -> None:
    more = STUDY.replace(
        "models: [", "models: [{arch: transformer-pp, size: nano}, {arch: gla, size: micro}, "
    )
    few, many = planned(tmp_path), planned(tmp_path, more)
    assert all(many[name].difference > few[name].difference for name in few)
    alone = STUDY.replace(", {arch: matmul-free, size: nano}", "")
    assert planned(tmp_path, alone) == {}
