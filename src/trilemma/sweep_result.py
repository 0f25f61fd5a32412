"""What a user holds after a sweep over clock frequencies: time and energy by frequency, and the choice."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from trilemma.clocks.choose import SLOWDOWN, Bounds, ClockChoice, Phases, Setting, choose, pareto
from trilemma.clocks.sweep import Place
from trilemma.errors import DataError, TrilemmaError
from trilemma.files import require_suffix
from trilemma.operating_point import OperatingPoint
from trilemma.profile_result import Profile, notes_in, open_profile
from trilemma.records import NOTES_KEY, SWEEP_KEY, write_table
from trilemma.statistics.intervals import Interval
from trilemma.units import format_value
from trilemma.untrusted import read_columns

if TYPE_CHECKING:
    from rich.console import Console

    from trilemma.clocks.queries import Tokenize
    from trilemma.report.charts.clocks import Mark
    from trilemma.report.layout import Sheet

SWEEP = pa.schema(
    [
        *((name, pa.string()) for name in ("model", "form", "phase")),
        *((name, pa.int64()) for name in ("batch", "length", "decode")),
        *((name, pa.float64()) for name in ("mhz", "seconds", "seconds_low", "seconds_high")),
        *((name, pa.float64()) for name in ("joules", "joules_low", "joules_high")),
        ("estimate", pa.bool_()),
    ]
)
"""One row per phase and frequency: time and energy of the batch, with their 95% intervals."""

VERSION = b"1"
AGAIN = "run `trilemma clocks MODEL... --out FILE.parquet` again"
_FACTS = b"trilemma_facts"


class ClockSweep:
    """Time and energy of each phase at each clock frequency.

    Args:
        places: settings of each phase, by model and operating point.
        facts: sentences about the whole: hardware, versions, how it was estimated.

    Attributes:
        places, facts: as given.
    """

    def __init__(self, places: Mapping[Place, Phases], facts: Sequence[str] = ()) -> None:
        self.places, self.facts = places, tuple(facts)

    @classmethod
    def load(cls, path: str | Path) -> "ClockSweep":
        """Read a sweep that :meth:`save` wrote; as :meth:`trilemma.profile_result.Profile.load`."""
        path = Path(path)
        file = open_profile(path, SWEEP_KEY)
        metadata = file.schema_arrow.metadata or {}
        if metadata[SWEEP_KEY] != VERSION:
            raise DataError(f"{path} is a sweep of another version of trilemma; {AGAIN}")
        places: dict[Place, dict[str, list[Setting]]] = {}
        try:
            for row in read_columns(file, SWEEP, path, AGAIN).to_pylist():
                OperatingPoint.parse("batch={batch},length={length},decode={decode}".format(**row))
                point = OperatingPoint(row["batch"], row["length"], row["decode"])
                place = Place(row["model"], point, row["form"])
                places.setdefault(place, {}).setdefault(row["phase"], []).append(_setting(row))
            found = cls(places, notes_in(metadata, _FACTS))
            found.choose()  # refuses two settings of one frequency
        except (TypeError, TrilemmaError) as error:
            raise DataError(f"{path} is damaged: {error}; {AGAIN}") from error
        return found

    def save(self, path: str | Path) -> Path:
        """Write the sweep to a ``.parquet`` file; as :meth:`trilemma.profile_result.Profile.save`."""
        path = require_suffix(path, ".parquet")
        metadata = {SWEEP_KEY: VERSION, _FACTS: json.dumps(self.facts).encode()}
        rows = [
            {"model": place.model, "form": place.form, "phase": phase, **place.point._asdict(), **_row(one)}
            for place, phases in self.places.items()
            for phase, settings in phases.items()
            for one in settings
        ]
        write_table(pa.Table.from_pylist(rows, schema=SWEEP.with_metadata(metadata)), path)
        return path

    def choose(self, slowdown: float = SLOWDOWN, bounds: Bounds | None = None) -> dict[Place, ClockChoice]:
        """What each phase should run at, by model and operating point.

        Args:
            slowdown: share of time that may be added to each phase.
            bounds: that an answer must keep.
        """
        return {
            place: choose(phases, max(place.point.decode - 1, 1), slowdown, bounds)
            for place, phases in self.places.items()
        }

    def by_query(
        self,
        queries: Sequence[str],
        slowdown: float = SLOWDOWN,
        tokenizers: "Mapping[str, Tokenize] | None" = None,
    ) -> dict[str, list[str]]:
        """What queries of each length should run at: sentences by model and batch.

        Args:
            queries: texts.
            slowdown: share of time that may be added to each phase.
            tokenizers: by model; of others, words and marks are counted.
        """
        from trilemma.clocks.queries import length_classes, sentences, words_and_marks

        known = tokenizers or {}
        places: dict[tuple[str, str, int], dict[int, Phases]] = {}
        for place, phases in self.places.items():
            places.setdefault((place.name, place.model, place.point.batch), {})[place.point.length] = phases
        found = {}
        for (name, model, batch), measured in places.items():
            classes = length_classes(queries, measured, slowdown, known.get(model, words_and_marks))
            counted = "" if model in known else ", in words and marks, as the model has no tokenizer"
            found[f"{name}, batch {batch}, queries by length{counted}"] = list(sentences(classes))
        return found

    def sheets(self, choices: Mapping[Place, ClockChoice] | None = None) -> "list[Sheet]":
        """A table for each place, highest frequency first, with what to run at as its notes."""
        from trilemma.report.layout import Sheet

        chosen = self.choose() if choices is None else choices
        found = []
        for place, phases in self.places.items():
            marks = [(phase, mark) for phase in phases for mark in self._marks(place, phase, chosen)]
            energy = f"energy of the batch{', estimate' if any(one.estimate for _, one in marks) else ''}"
            rows = tuple(
                (phase, f"{one.mhz:g}", one.time, one.energy, "yes" * one.front, "yes" * one.chosen)
                for phase, one in marks
            )
            header = ("phase", "MHz", "time", energy, "on the front", "chosen")
            title = f"{place.name}, {place.point}"
            found.append(Sheet(title, header, rows, chosen[place].sentences, fixed=2))
        return found

    def _marks(self, place: Place, phase: str, choices: Mapping[Place, ClockChoice]) -> "list[Mark]":
        """The frequencies of a phase as they are shown, highest first."""
        from trilemma.report.charts.clocks import Mark

        settings, chosen = self.places[place][phase], choices[place].settings.get(phase)
        front = pareto(settings)
        return [
            Mark(
                one.mhz,
                1e3 * one.seconds,
                one.joules,
                format_value(1e3 * one.seconds, "ms", *(1e3 * end for end in one.seconds_interval or ())),
                format_value(one.joules, "J", *(one.joules_interval or ())),
                one in front,
                one == chosen,
                one.estimate,
            )
            for one in sorted(settings, key=lambda one: -one.mhz)
        ]

    def show(
        self,
        console: "Console | None" = None,
        choices: Mapping[Place, ClockChoice] | None = None,
        queries: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Print the frequencies of each place and what to run at: of :meth:`choose` and :meth:`by_query`."""
        from rich.console import Console

        from trilemma.report.terminal import show
        from trilemma.terminal import print_lines

        console = console or Console()
        print_lines(console, *self.facts, "")
        show(console, self.sheets(choices))
        for title, sentences in (queries or {}).items():
            print_lines(console, title, *(f"  {sentence}" for sentence in sentences))
        if not self.places:
            print_lines(console, "no frequency can be chosen: no phase has both its time and its energy")

    def report(
        self,
        path: str | Path,
        choices: Mapping[Place, ClockChoice] | None = None,
        queries: Mapping[str, Sequence[str]] | None = None,
    ) -> Path:
        """Write an ``.html`` page that needs no other file; arguments as for :meth:`show`."""
        from trilemma.report.pages.clocks import write

        path = require_suffix(path, ".html")
        chosen = self.choose() if choices is None else choices
        marks = {
            (place.name, str(place.point.batch), str(place.point.length), phase): marks
            for place, phases in self.places.items()
            for phase in phases
            if (marks := self._marks(place, phase, chosen))
        }
        write(path, self.facts, marks, self.sheets(chosen), queries or {})
        return path

    def _repr_html_(self) -> str:
        """The tables, for notebooks."""
        from trilemma.notebook import table

        return "".join(table(sheet.header, sheet.rows, sheet.title) for sheet in self.sheets())


def load_file(path: str | Path) -> Profile | ClockSweep:
    """What a Parquet file of ``trilemma profile``, ``forecast`` or ``clocks`` holds.

    Raises:
        DataError: where it holds neither, or is damaged.
    """
    metadata = open_profile(Path(path), SWEEP_KEY, NOTES_KEY).schema_arrow.metadata
    return ClockSweep.load(path) if SWEEP_KEY in metadata else Profile.load(path)


def _row(one: Setting) -> dict[str, Any]:
    seconds = one.seconds, *(one.seconds_interval or (None, None))
    joules = one.joules, *(one.joules_interval or (None, None))
    return dict(zip(SWEEP.names[6:], (one.mhz, *seconds, *joules, one.estimate), strict=True))


def _setting(row: Mapping[str, Any]) -> Setting:
    ends = ((row[f"{name}_low"], row[f"{name}_high"]) for name in ("seconds", "joules"))
    intervals = [None if None in pair else Interval(*pair) for pair in ends]
    return Setting(row["mhz"], row["seconds"], row["joules"], bool(row["estimate"]), *intervals)
