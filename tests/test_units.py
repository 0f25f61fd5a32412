"""Numbers with units, as people write and read them."""

import pytest

from trilemma.errors import TrilemmaError
from trilemma.units import format_limit, format_value, parse_quantity


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
    assert parse_quantity(text, "bytes", "memory") == expected


@pytest.mark.parametrize(
    ("unit", "text", "expected"),
    [
        ("fraction", "88%", 0.88),
        ("fraction", 0.88, 0.88),
        ("ms", "0.5s", 500.0),
        ("ms", "20ms", 20.0),
        ("ms", "5us", 0.005),
        ("s", "1500ms", 1.5),
        ("s", "2min", 120.0),
        ("count", "1.3B", 1.3e9),
        ("FLOPs", "2G", 2e9),
        ("tokens/s", "30", 30.0),
    ],
)
def test_quantities_are_read_in_the_unit_that_is_asked_for(
    unit: str, text: str | float, expected: float
) -> None:
    assert parse_quantity(text, unit, "it") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        ("fraction", "88"),
        ("fraction", "0.9GB"),
        ("bytes", "8 apples"),
        ("ms", "fast"),
        ("ms", "1.2.3"),
        ("tokens/s", "3K"),
        ("count", "9" * 200),
    ],
)
def test_an_unreadable_quantity_says_what_to_write(unit: str, text: str) -> None:
    with pytest.raises(TrilemmaError, match=r"write|fraction"):
        parse_quantity(text, unit, "it")


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
    assert [format_limit(*one) for one in ((50.0, "ms"), (0.755, "fraction"), (8e9, "bytes"))] == [
        "50 ms",
        "75.5%",
        "8 GB",
    ]
    assert format_value(1.3e9, "bytes", 0.9e9, 2e9) == "1.30 GB [0.90, 2.00]"
    assert format_value(0.5, "fraction", 0.412, 0.588) == "50.0% [41.2, 58.8]"
    assert format_value(0.5, "fraction", None, None) == "50.0%"


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("150%", "fraction", "cannot be above 100%"),
        ("150", "fraction", "cannot be above 100%"),
        ("88", "fraction", "write 88 as 0.88 or 88%"),
        ("-3ms", "ms", "cannot be below 0"),
        ("-1GB", "bytes", "cannot be below 0"),
    ],
)
def test_what_cannot_be_is_refused(text: str, unit: str, expected: str) -> None:
    with pytest.raises(TrilemmaError, match=expected):
        parse_quantity(text, unit, "x")
