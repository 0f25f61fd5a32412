"""Frequencies on estimates: what a device of known powers would need, and classes of queries."""

from pathlib import Path

import pytest
from transformers import AlbertConfig

from trilemma.clocks.choose import Place, Setting
from trilemma.clocks.model import Power, estimable, estimated_places
from trilemma.clocks.query_policy import class_queries, read_queries
from trilemma.errors import DeployError
from trilemma.hardware.roofline import Roofline
from trilemma.models.sizes import configuration
from trilemma.profiling.subject import ProfiledModel
from trilemma.records import Record


def time_of(metric: str, milliseconds: float) -> Record:
    return Record(
        "",
        "one",
        "a",
        1,
        "",
        "",
        "",
        None,
        "E",
        metric,
        batch=1,
        length=32,
        value=milliseconds,
        low=0.9 * milliseconds,
        high=1.1 * milliseconds,
        unit="ms",
    )


def test_a_device_of_two_known_powers_has_the_usual_voltage_curve() -> None:
    power = Power.usual(100, 20, 2000)
    assert power.watts(2000) == pytest.approx(100)
    assert power.volts(1000) == pytest.approx(0.7) and power.volts(400) == 0.7
    assert power.watts(1000) == pytest.approx(20 + 80 * 0.5 * 0.49)


@pytest.mark.parametrize(
    ("bandwidth", "flops", "on_cpu", "on_gpu"),
    [
        (1e6, 1e15, 1.0, 1.0),  # everything waits for memory
        (1e15, 1e6, 2.0, 2.0),  # for the multipliers
        (1e15, 1e15, 2.0, 1.0),  # for the host, whose clock a processor's is
    ],
)
def test_estimates_follow_the_roofline_of_each_phase(
    tmp_path: Path, bandwidth: float, flops: float, on_cpu: float, on_gpu: float
) -> None:
    configuration("transformer-pp", "nano", 512).save_pretrained(tmp_path)
    models, reasons = estimable([ProfiledModel(("one",), tmp_path, form="plain")])
    roofline = Roofline(machine="m", bandwidth=bandwidth, flops={"float32": flops})
    records = [time_of("ttft_ms", 10.0), time_of("tpot_ms", 2.0)]
    for host_follows, ratio in ((True, on_cpu), (False, on_gpu)):
        found = estimated_places(
            records, models, roofline, Power(10, 0.01, 1), [1000, 2000], 5, host_follows=host_follows
        )
        assert list(found) == [Place("one", 1, 32)] and not reasons
        for name, seconds in (("prefill", 0.01), ("decode", 4 * 0.002)):
            slow, fast = found[Place("one", 1, 32)][name]
            assert (slow.mhz, fast.mhz) == (1000, 2000) and fast.estimate
            assert fast.seconds == pytest.approx(seconds)
            assert slow.seconds / fast.seconds == pytest.approx(ratio, rel=1e-3)
            assert fast.joules == pytest.approx(30 * seconds)
            assert slow.seconds_interval is not None
            assert slow.seconds_interval.high == pytest.approx(1.1 * slow.seconds)


def test_a_family_that_is_not_known_is_left_out_with_a_reason(tmp_path: Path) -> None:
    AlbertConfig().save_pretrained(tmp_path)
    models, (reason,) = estimable([ProfiledModel(("one",), tmp_path)])
    assert not models and reason.startswith("one is left out: operations of a model of type 'albert'")


def lengths_measured() -> dict[int, dict[str, list[Setting]]]:
    """At 16 and 256 tokens; the long input is bound by compute, so it runs best at the high clock."""
    low = {"prefill": [Setting(800, 0.10, 1), Setting(1600, 0.10, 2)]}
    high = {"prefill": [Setting(800, 2.0, 30), Setting(1600, 1.0, 32)]}
    return {16: low, 256: high}


def test_classes_of_queries_get_the_settings_of_their_lengths() -> None:
    queries = [" ".join(["word"] * n) for n in (2, 4, 8, 14, 16, 20, 200, 240, 300)]
    found = class_queries(queries, lengths_measured(), 0.1)
    assert found.policy.classes.feature == "length" and found.counts == (3, 3, 3)
    assert found.lengths == (16, 16, 256)
    assert found.policy.frequency("two words", "prefill") == 800
    assert found.policy.frequency("word " * 250, "prefill") == 1600
    assert found.correlations["length"].spearman > 0.9  # beyond the measured lengths, energies tie


def test_queries_that_cannot_be_classed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="two or more lengths"):
        class_queries(["a", "b c", "d e f"], {16: lengths_measured()[16]}, 0.1)
    file = tmp_path / "queries.txt"
    with pytest.raises(DeployError, match="is no file"):
        read_queries(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeployError, match="no text file"):
        read_queries(file)
    file.write_bytes(b"one\0\ntwo\nthree")
    with pytest.raises(DeployError, match="no text file"):
        read_queries(file)
    with pytest.raises(DeployError, match=r"beyond the measured lengths, 16 to 256; .* theirs, 1 to 3"):
        class_queries(["a", "b c", "d e f"], lengths_measured(), 0.1)
    file.write_text("\ufeffa\u2028b\nc\nd\n", "utf-8")
    assert read_queries(file) == ["a\u2028b", "c", "d"]
    file.write_text("one\n\n  \ntwo\n")
    with pytest.raises(DeployError, match="holds 2 queries"):
        read_queries(file)
