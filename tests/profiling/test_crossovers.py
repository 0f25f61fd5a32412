"""Where one model overtakes another."""

import pytest

from tests.profiling.test_exchange import a_profile
from trilemma.cli import profile_tables
from trilemma.profiling.crossovers import Crossing, Lead, races
from trilemma.profiling.exchange import PointProfile, Profile, Value

LENGTHS = (128, 256, 512, 1024)


def profile_of(spread: float | None = 0.01, **models: list[float]) -> Profile:
    """Two models' TTFT at :data:`LENGTHS`; ``spread`` is half the width of the intervals."""
    template = a_profile().models[0]
    found = []
    for name, times in models.items():
        points = []
        for length, time in zip(LENGTHS, times, strict=True):
            ends = {} if spread is None else {"low": time * (1 - spread), "high": time * (1 + spread), "n": 9}
            value = Value.model_validate({"value": time, "unit": "ms", **ends})
            points.append(PointProfile(phase="inference", batch=1, length=length, values={"ttft_ms": value}))
        found.append(template.model_copy(update={"name": name, "points": tuple(points)}))
    return a_profile(models=tuple(found))


def test_the_length_is_read_off_between_the_points_that_tell_the_two_apart() -> None:
    # In proportion to L^2 and to L: equal at 300 tokens.
    quadratic, linear = [n * n / 300 for n in LENGTHS], [float(n) for n in LENGTHS]
    (race,) = races(profile_of(attention=quadratic, linear=linear))
    assert race.leads == (Lead("attention", (128, 256)), Lead("linear", (512, 1024)))
    (crossing,) = race.crossings
    assert crossing == Crossing("linear", pytest.approx(300), 256, 512)  # type: ignore[arg-type]


def test_wider_intervals_widen_the_bracket_and_not_the_length() -> None:
    quadratic, linear = [n * n / 300 for n in LENGTHS], [float(n) for n in LENGTHS]
    (race,) = races(profile_of(0.3, attention=quadratic, linear=linear))
    (crossing,) = race.crossings
    assert (crossing.low, crossing.high) == (128, 1024) and crossing.length == pytest.approx(300)
    (race,) = races(profile_of(0.6, attention=quadratic, linear=linear))
    assert race.leads == () and race.crossings == ()


def test_a_lead_may_change_twice() -> None:
    (race,) = races(profile_of(one=[1.0, 3.0, 3.0, 1.0], other=[2.0, 2.0, 2.0, 2.0]))
    assert [lead.model for lead in race.leads] == ["one", "other", "one"]
    assert [crossing.model for crossing in race.crossings] == ["other", "one"]


def test_without_an_interval_five_percent_are_needed() -> None:
    (race,) = races(profile_of(None, one=[1.0, 1.0, 1.0, 1.0], other=[1.05, 1.09, 1.2, 0.8]))
    assert race.leads == (Lead("one", (512,)), Lead("other", (1024,)))


def test_a_profile_says_who_needs_less() -> None:
    def line(**models: list[float]) -> str:
        (*_, sheet) = profile_tables.sheets(profile_of(**models))
        assert sheet.title == "Who needs less, by length" and sheet.rows[0][:3] == ("a / b", "1", "TTFT")
        return sheet.rows[0][3]

    square = [n * n / 300 for n in LENGTHS]
    assert line(a=square, b=[float(n) for n in LENGTHS]) == "a; b from about 300 [256, 512]"
    assert line(a=square, b=[2 * n for n in square]) == "a, at every length"
    assert line(a=square, b=square) == "not told apart"
    assert line(a=square, b=[*square[:1], *(2 * n for n in square[1:])]) == "a, at every length but 128"
    ends = [1.0, 2.0, 2.0, 1.0]
    assert line(a=ends, b=[2.0] * 4) == "a, told apart at 128, 1,024"
    assert line(a=[1.0, 2.0, 1.5, 1.5], b=[2.0, 1.0, 1.5, 1.5]).endswith("[128, 256], told apart to 256")
    assert line(a=square, b=[*square[:2], *(2 * n for n in square[2:])]) == "a, told apart at 512, 1,024"


def test_one_length_or_one_model_is_no_race() -> None:
    assert not list(races(profile_of(one=[1.0, 2.0, 3.0, 4.0])))
    profile = profile_of(one=[1.0, 2.0, 3.0, 4.0], other=[4.0, 3.0, 2.0, 1.0])
    short = [model.model_copy(update={"points": model.points[:1]}) for model in profile.models]
    assert not list(races(profile.model_copy(update={"models": tuple(short)})))


def test_an_encoder_does_not_race_a_model_that_generates() -> None:
    profile = profile_of(one=[1.0, 2.0, 3.0, 4.0], other=[4.0, 3.0, 2.0, 1.0])
    encoder = profile.models[1].model_copy(update={"causal": False})
    assert not list(races(profile.model_copy(update={"models": (profile.models[0], encoder)})))


def test_a_length_is_within_its_bracket() -> None:
    square = [n * n / 1030 for n in LENGTHS]
    profile = profile_of(0.001, a=square, b=[float(n) * (1 if n < 1000 else 0.99) for n in LENGTHS])
    (*_, sheet) = profile_tables.sheets(profile)
    assert sheet.rows[0][3].endswith("[512, 1,024]") and " about 1,000 " in sheet.rows[0][3]
