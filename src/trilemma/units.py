"""Numbers with units, and lists: read as people write them, and written as people read them."""

import math
import re
from collections.abc import Iterable
from typing import Any

from trilemma.errors import TrilemmaError

_DECIMAL = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SIZES = _DECIMAL | {"KIB": 2.0**10, "MIB": 2.0**20, "GIB": 2.0**30, "TIB": 2.0**40, "B": 1.0}
_SECONDS = {"US": 1e-6, "MS": 1e-3, "S": 1.0, "MIN": 60.0, "H": 3600.0}
_SUFFIXES = {
    "bytes": _SIZES | {f"{prefix}B": factor for prefix, factor in _DECIMAL.items()},
    "count": _DECIMAL | {"B": 1e9},
    "fraction": {"%": 0.01, "PT": 0.01},
    "ms": {suffix: 1e3 * seconds for suffix, seconds in _SECONDS.items()},
    "s": _SECONDS,
}
"""By unit, what may follow a number, in capitals, and by how much it multiplies it."""

_EXAMPLES = {
    "bytes": "for example 8GB, 512MiB or a number of bytes",
    "fraction": "a fraction such as 0.88, or 88%",
    "ms": "milliseconds, for example 20, 20ms or 0.5s",
    "s": "seconds, for example 90, 90s or 1500ms",
    "count": "a number, for example 370M or 1.3B",
}

_QUANTITY = re.compile(r"\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z%]*)\s*")


def parse_quantity(text: str | float, unit: str, name: str) -> float:
    """A quantity as people write it, in ``unit``.

    Bytes: ``8GB`` is 8e9, ``512MiB`` is 512 * 2**20, a bare number is bytes. Counts and FLOPs take
    ``K``, ``M``, ``G`` (or ``B``). Milliseconds and seconds take ``us``, ``ms``, ``s``, ``min`` and ``h``.
    Fractions are 0 to 1 or written with a percent sign.

    Args:
        text: what was written; a number is taken in ``unit``.
        unit: of the result: ``bytes``, ``fraction``, ``ms``, ``s``, ``count``, ``FLOPs`` or another one,
            which takes bare numbers alone.
        name: what the quantity is of, for the error.

    Raises:
        TrilemmaError: when it cannot be read, or cannot be: a fraction outside -1 to 1, a negative time.
    """
    if isinstance(text, (int, float)):
        number, suffix = float(text), ""
    else:
        match = _QUANTITY.fullmatch(text) if len(text) <= 100 else None
        try:
            number, suffix = (float(match[1]), match[2]) if match else (math.nan, "")
        except ValueError:
            number, suffix = math.nan, ""
    kind = "count" if unit == "FLOPs" else unit
    factor = _SUFFIXES.get(kind, {}).get(suffix.upper()) if suffix else 1.0
    if factor is None or not math.isfinite(number):
        example = _EXAMPLES.get(kind, "a number")
        raise TrilemmaError(f"cannot read {text!r} as a limit on {name}; write {example}")
    value = number * factor
    if unit == "fraction" and abs(value) > (1 if suffix else 100):
        raise TrilemmaError(f"{name} is a fraction, which cannot be above 100%, as {text} is")
    if value < 0 and unit not in ("fraction", "cosine", "ratio", ""):
        raise TrilemmaError(f"{name} cannot be below 0, as {text} is; give a positive limit")
    if unit == "fraction" and abs(value) > 1:
        raise TrilemmaError(f"{name} is a fraction: write {text} as {value / 100:g} or {value:g}%")
    return value


def parse_slo(text: str) -> list[tuple[str, str]]:
    """Names and limits of bounds on times: ``ttft=200ms,tpot=40ms``.

    Raises:
        TrilemmaError: for another form, or a name that is there twice.
    """
    pairs = [
        [piece.strip() for piece in part.partition("=")[::2]] for part in text.split(",") if part.strip()
    ]
    if not all(name and limit for name, limit in pairs) or len({name for name, _ in pairs}) < len(pairs):
        raise TrilemmaError(
            f"cannot read the SLO {text[:60]!r}; write bounds like ttft=200ms,tpot=40ms, each once"
        )
    return [(name, limit) for name, limit in pairs]


def parse_count(value: object) -> object:
    """``10M`` to 10,000,000 (suffixes k, M, B); anything else is left to whoever validates it."""
    if isinstance(value, str) and value[-1:] in ("k", "M", "B"):
        try:
            return round(parse_quantity(value, "count", "a count"))
        except TrilemmaError:
            return value
    return value


def format_value(value: float | None, unit: str, low: float | None = None, high: float | None = None) -> str:
    """A value as a person reads it, its limits in the same unit: ``88.1% [86.0, 90.1]``, ``4.21 ms``.

    A dash stands for no value.
    """
    if value is None or not math.isfinite(value):
        return "–"
    factor, suffix = _scale(value, unit)
    scaled = value / factor
    whole = factor == 1 and unit != "ms" and unit != "s" and scaled == int(scaled)
    decimals = 1 if unit == "fraction" else 0 if whole else _decimals(scaled)
    text = f"{scaled:.{decimals}f}{suffix}"
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return text
    return f"{text} [{low / factor:.{decimals}f}, {high / factor:.{decimals}f}]"


def format_limit(value: float, unit: str) -> str:
    """A number that a person wrote, with no more digits than that needs: ``50 ms``, ``75%``."""
    factor, suffix = _scale(value, unit)
    return f"{value / factor:.6g}{suffix}"


def _scale(value: float, unit: str) -> tuple[float, str]:
    """The factor of the unit that a person reads, and what follows the number."""
    if unit == "fraction":
        return 0.01, "%"
    if unit in ("perplexity", "cosine", "queries", "ratio", ""):
        return 1.0, ""
    if unit in ("ms", "s"):
        return 1.0, f" {unit}"
    if unit in ("J", "W") and 0 < abs(value) < 1:
        small = ("m", 1e-3) if abs(value) >= 1e-3 else ("\u00b5", 1e-6)
        return small[1], f" {small[0]}{unit}"
    prefixes = ("", "K", "M", "B", "T") if unit in ("count", "FLOPs") else ("", "K", "M", "G", "T")
    step = 0
    while abs(value) / 1000**step >= 999.5 and step < len(prefixes) - 1:
        step += 1
    symbols = {"bytes": "B", "bytes/s": "B/s", "FLOP/s": "FLOP/s", "count": "", "FLOPs": ""}
    name = f"{prefixes[step]}{symbols.get(unit, f' {unit}')}".strip()
    return 1000.0**step, f" {name}" if name else ""


def _decimals(number: float) -> int:
    """Decimals that show three significant digits."""
    return 0 if number == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(float(f"{number:.3g}"))))))


def counted(count: int, noun: str) -> str:
    """``1 entry``, ``2 entries``."""
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{count} {noun}s"


def listed(value: Any) -> list[Any]:
    """Several things as they are given: a list, or one thing alone."""
    alone = isinstance(value, str) or not isinstance(value, Iterable) or hasattr(value, "_fields")
    return [value] if alone else list(value)


def join(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = list(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
