import pytest

from trilemma.analysis.metrics import METRICS, find_metric, format_value, parse_limit
from trilemma.errors import TrilemmaError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8GB", 8e9),
        ("512MiB", 512 * 2**20),
        ("1.5 gib", 1.5 * 2**30),
        ("1e9", 1e9),
        ("2M", 2e6),
        (1234, 1234.0),
    ],
)
def test_sizes_are_read_in_bytes(text: str | float, expected: float) -> None:
    assert parse_limit(METRICS["peak_inference_memory_bytes"], text) == expected


@pytest.mark.parametrize(
    ("metric", "text", "expected"),
    [
        ("accuracy", "88%", 0.88),
        ("accuracy", 0.88, 0.88),
        ("latency_ms", "0.5s", 500.0),
        ("latency_ms", "20ms", 20.0),
        ("training_seconds", "1500ms", 1.5),
        ("parameters", "1.3B", 1.3e9),
    ],
)
def test_limits_are_read_in_the_metrics_unit(metric: str, text: str | float, expected: float) -> None:
    assert parse_limit(METRICS[metric], text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("accuracy", "88"),
        ("accuracy", "0.9GB"),
        ("peak_inference_memory_bytes", "8 apples"),
        ("latency_ms", "fast"),
    ],
)
def test_an_unreadable_limit_says_what_to_write(metric: str, text: str) -> None:
    with pytest.raises(TrilemmaError, match=r"write|fraction"):
        parse_limit(METRICS[metric], text)


def test_an_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(TrilemmaError, match=r"did you mean .*robust_accuracy") as caught:
        find_metric("robust_acuracy")
    assert "latency_ms" in str(caught.value)
    assert find_metric("max-memory".removeprefix("max-")).name == "peak_inference_memory_bytes"
    assert find_metric("latency-ms").name == "latency_ms"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8812, "fraction", "88.1%"),
        (1.3e9, "bytes", "1.30 GB"),
        (512, "bytes", "512 B"),
        (999_600, "bytes", "1.00 MB"),
        (4.2, "ms", "4.20 ms"),
        (3_200_000, "count", "3.20 M"),
        (36_400, "tokens/s", "36.4 K tokens/s"),
        (0.0, "ms", "0 ms"),
        (None, "ms", "–"),
        (float("nan"), "fraction", "–"),
    ],
)
def test_values_are_written_for_people(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_limits_share_the_values_unit_and_decimals() -> None:
    assert format_value(1.3e9, "bytes", 0.9e9, 2e9) == "1.30 GB [0.90, 2.00]"
    assert format_value(0.5, "fraction", 0.412, 0.588) == "50.0% [41.2, 58.8]"
    assert format_value(0.5, "fraction", None, None) == "50.0%"
