"""Forecasts by slices: which layers are timed, the line through them, what is kept, and words for limits."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import BertConfig, Gemma2Config, LlamaConfig

from tests.stand_ins.measured import Clock
from trilemma.forecasting.calibration import families
from trilemma.forecasting.forecaster import TOO_WIDE, WIDEST
from trilemma.forecasting.measuring import Bench, RandomModel
from trilemma.forecasting.passes import ForwardPass
from trilemma.forecasting.slices import ForecastCheck, Slices, error_of, sliced, slices_of, time_slices
from trilemma.hardware.machine import Machine
from trilemma.profiling.operations import dimensions_of

MACHINE = Machine(name="here", kind="cpu", flops={"float32": 1e11}, bandwidth=3e10, memory=16e9)
SMOLLM: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
GOOD = [
    ForecastCheck(name, decoding, ratio)
    for name in "abcd"
    for decoding in (False, True)
    for ratio in (0.9, 1.2)
]


def one_pass(config: Any, phase: Any = "prefill", length: int = 8, precision: str = "float32") -> ForwardPass:
    return ForwardPass(dimensions_of(config), precision, phase, 1, length)


def chosen(config: Any, phase: str = "prefill", memory: float = 16e9) -> tuple[int, int] | None:
    machine = MACHINE.model_copy(update={"memory": memory})
    return slices_of(config, "float32", machine, one_pass(config, phase))


def test_slices_are_large_enough_for_no_cache_and_small_models_are_timed_whole() -> None:
    assert chosen(LlamaConfig(**SMOLLM)) == (1, 8)  # a head of 113 MB
    assert chosen(LlamaConfig(**SMOLLM), "classify") == (5, 10)  # no head, layers of 14 MB
    assert chosen(LlamaConfig(**SMOLLM | {"num_hidden_layers": 10})) == (10, 10)
    minilm = BertConfig(hidden_size=384, intermediate_size=1536, num_hidden_layers=6)
    assert chosen(minilm, "classify") == (6, 6)
    wide = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_attention_heads=32)
    assert chosen(wide, memory=64e9) == (1, 8)
    assert chosen(wide, memory=10e9) == (1, 2)  # of 0.8 GB a layer, a quarter of the memory
    assert chosen(wide, memory=2e9) is None


def test_kinds_of_layers_that_alternate_stay_in_proportion() -> None:
    config = Gemma2Config(vocab_size=99, hidden_size=64, num_hidden_layers=64, num_attention_heads=2)
    few, many = chosen(config) or (1, 1)
    assert few % 2 == many % 2 == 0
    cut = sliced(config, 6)
    assert cut.layer_types == config.layer_types[:6] and cut.num_hidden_layers == 6
    assert (len(config.layer_types), config.num_hidden_layers) == (64, 64)


class Layered(Bench):
    """A machine that needs a second, and half of one for each layer, of a prompt; a tenth for a token."""

    def __init__(self, slower: float = 1.0) -> None:
        super().__init__(0.0, Clock())
        self.slower, self.calls = slower, 0

    def samples(self, models: Any, points: Any) -> Any:
        self.calls += 1
        for point in points:
            for model in models:
                prompt = 1 + 0.5 * model.config.num_hidden_layers
                rounds = [1, 1.5, 1, 1, 1, 1 + self.slower]
                parts = {"prefill": prompt, "decode": 1.6 * prompt} if point.decode else {"forward": prompt}
                yield model, point, [{name: t * one for name, t in parts.items()} for one in rounds]


def test_the_line_through_two_slices_gives_the_time_of_all_layers() -> None:
    config = LlamaConfig(**SMOLLM)
    passes = [one_pass(config), one_pass(config, "decode", 16)]
    shares: list[float] = []
    found = time_slices(
        Layered(), config, passes, MACHINE, lambda done, total, unit: shares.append(done / total)
    )
    assert shares == [0.5, 1.0]
    assert [found[one].value for one in passes] == pytest.approx([16.0, 1.6])
    (alone,) = time_slices(Layered(), config, [one_pass(config, "classify")], MACHINE).values()
    assert alone.value == pytest.approx(16.0)


def test_real_layers_are_timed_in_the_form_in_which_they_answer() -> None:
    for name, model in families(32, 2, 320).items():
        phases = ["prefill", "decode"] if model.generates else ["classify"]
        passes = [one_pass(model.config, phase, 24, model.precision) for phase in phases]
        found = time_slices(Bench(0.0, Clock()), model.config, passes, MACHINE)
        assert set(found) == set(passes), name
        assert all(one.value > 0 for one in found.values())
    ternary = families(32, 2, 320)["matmul-free"].config
    assert not time_slices(Bench(0.0, Clock()), ternary, [one_pass(ternary)], MACHINE)  # it is packed


def test_what_has_too_few_positions_or_is_too_slow_is_not_timed() -> None:
    config = BertConfig(vocab_size=99, hidden_size=32, num_attention_heads=2, num_hidden_layers=1)
    bert = RandomModel(config, classifier=True)
    assert not time_slices(Bench(0.0, Clock()), config, [one_pass(config, "classify", 600)], MACHINE)
    assert bert.precision == "float32"
    slow = Bench(0.0, Clock(), time_limit=1e-9)
    assert not time_slices(slow, config, [one_pass(config, "classify")], MACHINE)


def test_times_are_kept_for_one_calibration_where_they_are_settled(tmp_path: Path) -> None:
    config, path = LlamaConfig(**SMOLLM), tmp_path / "slices.json"
    bench = Layered(slower=0.0)
    passes = [one_pass(config)]

    def forecast(made_for: str = "a", bench: Layered = bench) -> float:
        (found,) = Slices(MACHINE, GOOD, made_for, path, lambda: bench).seconds(config, passes).values()
        return found.value

    assert forecast() == 16.0 and bench.calls == 1
    scattered = json.loads(path.read_text())["times"]
    assert not scattered  # one of six rounds took half as long again
    steady = Layered(slower=0.0)
    steady.samples = lambda models, points: (  # type: ignore[method-assign]
        (model, point, [{"prefill": 1.0 + model.config.num_hidden_layers, "decode": 1.0}] * 6)
        for point in points
        for model in models
    )
    assert forecast(bench=steady) == 31.0
    assert forecast() == 31.0 and bench.calls == 1
    assert forecast("another calibration") == 16.0
    path.write_text("{")
    assert forecast("b") == 16.0


def test_a_forecast_is_off_as_far_as_those_of_the_calibration_were() -> None:
    few = [one for one in GOOD if one.family != "d"]
    assert "3 families of timed models are too few" in str(error_of(few))
    errors = [1 + 0.01 * place for place in range(1, 41)]
    checks = [ForecastCheck("abcd"[place % 4], False, one) for place, one in enumerate(errors)]
    assert error_of(checks) == pytest.approx(1.37, abs=0.01)  # 90% of 40, and a little for so few
    inverse = [replace(one, ratio=1 / one.ratio) for one in checks]
    assert error_of(inverse) == pytest.approx(error_of(checks))


def test_what_is_not_known_well_enough_has_no_interval_but_words(tmp_path: Path) -> None:
    config = LlamaConfig(**SMOLLM)
    one = one_pass(config)

    def forecast(checks: list[ForecastCheck], slower: float = 0.0) -> Any:
        slices = Slices(MACHINE, checks, "", tmp_path / "none.json", lambda: Layered(slower))
        return slices.seconds(config, [one])[one]

    known = forecast(GOOD)
    assert 1.2 <= known.high / known.value <= WIDEST and known.low < known.value and known.note == ""
    busy = [replace(check, ratio=check.ratio**5) for check in GOOD]
    for checks, slower in ((busy, 0.0), (GOOD, 9.0)):
        found = forecast(checks, slower)
        assert math.isnan(found.low) and math.isnan(found.high) and found.note == TOO_WIDE
    few = forecast([])
    assert math.isnan(few.low) and "too few" in few.note
