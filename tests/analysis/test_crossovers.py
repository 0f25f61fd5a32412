"""Where one model overtakes another."""

from dataclasses import replace

import pytest

from tests.stand_ins.profiles import value
from trilemma.analysis.crossovers import Crossing, Lead, Race, races, runs
from trilemma.records import Record, records_table

LENGTHS = (128, 256, 512, 1024)


def records_of(spread: float | None = 0.01, **models: list[float]) -> list[Record]:
    """Models' TTFT at :data:`LENGTHS`; ``spread`` is half the width of the intervals."""
    return [
        value("ttft_ms", "prefill", time, spread, model=name, batch=1, length=length)
        for name, times in models.items()
        for length, time in zip(LENGTHS, times, strict=True)
    ]


def races_of(records: list[Record]) -> list[Race]:
    return list(races(records_table(records).to_pandas()))


def test_the_length_is_read_off_between_the_points_that_tell_the_two_apart() -> None:
    # In proportion to L^2 and to L: equal at 300 tokens.
    quadratic, linear = [n * n / 300 for n in LENGTHS], [float(n) for n in LENGTHS]
    (race,) = races_of(records_of(attention=quadratic, linear=linear))
    assert race.leads == (Lead("attention", (128, 256)), Lead("linear", (512, 1024)))
    (crossing,) = race.crossings
    assert crossing == Crossing("linear", pytest.approx(300), 256, 512)  # type: ignore[arg-type]


def test_wider_intervals_widen_the_bracket_and_not_the_length() -> None:
    quadratic, linear = [n * n / 300 for n in LENGTHS], [float(n) for n in LENGTHS]
    (race,) = races_of(records_of(0.3, attention=quadratic, linear=linear))
    (crossing,) = race.crossings
    assert (crossing.low, crossing.high) == (128, 1024) and crossing.length == pytest.approx(300)
    (race,) = races_of(records_of(0.6, attention=quadratic, linear=linear))
    assert race.leads == () and race.crossings == ()


def test_a_lead_may_change_twice() -> None:
    (race,) = races_of(records_of(one=[1.0, 3.0, 3.0, 1.0], other=[2.0, 2.0, 2.0, 2.0]))
    assert [lead.model for lead in race.leads] == ["one", "other", "one"]
    assert [crossing.model for crossing in race.crossings] == ["other", "one"]


def test_who_leads_without_an_interval_is_not_known_unless_it_was_counted() -> None:
    records = records_of(None, one=[1.0, 1.0, 1.0, 1.0], other=[1.05, 1.09, 1.2, 0.8])
    (counted,) = races_of(records)
    assert counted.leads == (Lead("one", (128, 256, 512)), Lead("other", (1024,))) and not counted.unknown
    (race,) = races_of([replace(one, basis="forecast") for one in records])
    assert race.leads == () and race.unknown == LENGTHS and str(race) == "not known: no intervals"
    some = records_of(one=[1.0, 1.0, 1.0, 1.0], other=[2.0, 2.0, 2.0, 2.0])
    (race,) = races_of([replace(some[0], low=None, high=None, confidence=None), *some[1:]])
    assert str(race) == "one, told apart at 256, 512, 1,024; not known at 128: no intervals"


def test_a_race_is_told_in_words() -> None:
    def line(**models: list[float]) -> str:
        (race,) = races_of(records_of(**models))
        assert (race.models, race.batch, race.metric, race.phase) == (("a", "b"), 1, "ttft_ms", "prefill")
        return str(race)

    square = [n * n / 300 for n in LENGTHS]
    assert line(a=square, b=[float(n) for n in LENGTHS]) == "a; b from about 300 [256, 512]"
    assert line(a=square, b=[2 * n for n in square]) == "a, at every length"
    assert line(a=square, b=square) == "not told apart"
    assert line(a=square, b=[*square[:1], *(2 * n for n in square[1:])]) == "a, at every length but 128"
    ends = [1.0, 2.0, 2.0, 1.0]
    assert line(a=ends, b=[2.0] * 4) == "a, told apart at 128, 1,024"
    assert line(a=[1.0, 2.0, 1.5, 1.5], b=[2.0, 1.0, 1.5, 1.5]).endswith("[128, 256], told apart to 256")
    assert line(a=square, b=[*square[:2], *(2 * n for n in square[2:])]) == "a, told apart at 512, 1,024"


def test_one_length_or_one_model_is_not_a_race() -> None:
    assert not races_of(records_of(one=[1.0, 2.0, 3.0, 4.0]))
    records = records_of(one=[1.0, 2.0, 3.0, 4.0], other=[4.0, 3.0, 2.0, 1.0])
    assert not races_of([one for one in records if one.length == 128])


def test_an_encoder_does_not_race_a_model_that_generates() -> None:
    one, other = (
        [value("latency_ms", phase, float(length), model=phase, batch=1, length=length) for length in LENGTHS]
        for phase in ("generate", "classify")
    )
    assert not races_of([*one, *other])


def test_forecasts_race_on_one_machine() -> None:
    records = records_of(one=[1.0, 2.0, 3.0, 4.0], other=[4.0, 3.0, 2.0, 1.0])
    here, there = (
        [replace(one, machine=machine, model=f"{one.model} on {machine}") for one in records]
        for machine in ("here", "l4")
    )
    found = [race.models for race in races_of([*here, *there])]
    assert found == [("one on here", "other on here"), ("one on l4", "other on l4")]


def test_a_length_is_within_its_bracket() -> None:
    square = [n * n / 1030 for n in LENGTHS]
    linear = [float(n) * (1 if n < 1000 else 0.99) for n in LENGTHS]
    (race,) = races_of(records_of(0.001, a=square, b=linear))
    assert str(race).endswith("[512, 1,024]") and " about 1,000 " in str(race)


def test_values_that_are_not_there_or_not_positive_are_left_out() -> None:
    records = records_of(one=[1.0, 2.0, 3.0, 4.0], other=[4.0, 3.0, 2.0, 1.0])
    absent = {"value": None, "low": None, "high": None, "status": "failed", "reason": "out of memory"}
    records[0] = replace(records[0], **absent)  # type: ignore[arg-type]
    records[1] = replace(records[1], value=0.0, low=0.0, high=0.0)
    (race,) = races_of(records)
    assert race.lengths == (512, 1024)


def test_runs_join_what_is_led_by_the_same() -> None:
    leaders = {1: "a", 2: None, 3: "a", 4: "b", 5: None, 6: "a"}
    assert runs(list(leaders), leaders.__getitem__) == [("a", (1, 3)), ("b", (4,)), ("a", (6,))]
