"""WordNet's synonyms, read from the files of its distribution (Miller 1995; Debian's ``wordnet-base``).

Words are found by bisection in the sorted index files, so nothing is loaded in advance.
"""

import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from trilemma.errors import AttackError

PLACES = ("/usr/share/wordnet", "/usr/local/share/wordnet", "/usr/share/nltk_data/corpora/wordnet")
"""Folders where systems install it."""

REMEDY = (
    "install it by `apt-get install wordnet-base`, or name a folder with the files index.* and data.* "
    "of noun, verb, adj and adv"
)

_PARTS_OF_SPEECH = ("noun", "verb", "adj", "adv")
_FILES = tuple(f"{kind}.{part}" for part in _PARTS_OF_SPEECH for kind in ("index", "data"))

_ENDINGS = {
    "noun": "s: ses:s xes:x zes:z ches:ch shes:sh men:man ies:y",
    "verb": "s: ies:y es:e es: ed:e ed: ing:e ing:",
    "adj": "er: est: er:e est:e",
    "adv": "",
}
"""Endings of inflections and of their lemmas: WordNet's rules of detachment (morphy)."""


class WordNet:
    """A WordNet folder, with ``index.*`` and ``data.*``; by default where systems install it.

    Raises:
        AttackError: if the folder does not contain these files.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        places = [Path(folder)] if folder is not None else [Path(place) for place in PLACES]
        found = [place for place in places if all((place / name).is_file() for name in _FILES)]
        if not found:
            where = f" in {folder}" if folder is not None else ""
            raise AttackError(f"WordNet was not found{where}; {REMEDY}")
        self.folder = found[0]
        self._files: dict[str, mmap.mmap] = {}
        self._known: dict[str, tuple[str, ...]] = {}

    @property
    def files(self) -> list[Path]:
        """The files that are read, for a fingerprint."""
        names = (*_FILES, *(f"{part}.exc" for part in _PARTS_OF_SPEECH))
        return [self.folder / name for name in names if (self.folder / name).is_file()]

    def synonyms(self, word: str) -> tuple[str, ...]:
        """Single words that share a sense with ``word`` or a word it is inflected from, most frequent first.

        Raises:
            AttackError: if a file is damaged.
        """
        key = word.lower()
        if key not in self._known:
            found = [one for part in _PARTS_OF_SPEECH for form in self._forms(key, part)
                     for one in self._senses(form, part)]  # fmt: skip
            self._known[key] = tuple(dict.fromkeys(one for one in found if one != key and one.isalpha()))
        return self._known[key]

    def _forms(self, word: str, part: str) -> Iterator[str]:
        yield word
        yield from self._exceptions[part].get(word, ())
        for rule in _ENDINGS[part].split():
            ending, _, stem = rule.partition(":")
            if word.endswith(ending) and len(word) > len(ending):
                yield word[: -len(ending)] + stem

    def _senses(self, form: str, part: str) -> Iterator[str]:
        line = self._find(form, part)
        if line is None:
            return
        try:
            fields = line.split()
            senses = int(fields[2])
            for offset in fields[len(fields) - senses :]:
                yield from self._words(int(offset), part)
        except (ValueError, IndexError, UnicodeDecodeError) as error:
            raise AttackError(f"{self.folder} is damaged at {form!r} ({error}); {REMEDY}") from error

    def _words(self, offset: int, part: str) -> Iterator[str]:
        data = self._open("data", part)
        fields = data[offset : data.find(b"\n", offset)].decode("utf-8").split()
        if int(fields[0]) != offset:
            raise ValueError(f"no entry at {offset}")
        for i in range(int(fields[3], 16)):
            yield fields[4 + 2 * i].partition("(")[0].lower()

    def _find(self, form: str, part: str) -> str | None:
        index = self._open("index", part)
        key = form.replace(" ", "_").encode() + b" "
        low, high = 0, len(index)
        while low < high:  # low is the start of a line
            middle = index.rfind(b"\n", low, (low + high) // 2) + 1 or low
            end = index.find(b"\n", middle)
            end = len(index) if end < 0 else end
            line = index[middle:end]
            if line.startswith(key):
                return line.decode("utf-8")
            if line < key or line.startswith(b" "):
                low = end + 1
            else:
                high = middle
        return None

    def _open(self, kind: str, part: str) -> mmap.mmap:
        name = f"{kind}.{part}"
        if name not in self._files:
            try:
                with (self.folder / name).open("rb") as file:
                    self._files[name] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise AttackError(f"{self.folder / name} cannot be read ({error}); {REMEDY}") from error
        return self._files[name]

    @cached_property
    def _exceptions(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Irregular forms; none in a folder without the lists."""
        tables: dict[str, dict[str, tuple[str, ...]]] = {}
        for part in _PARTS_OF_SPEECH:
            path = self.folder / f"{part}.exc"
            lines = path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
            tables[part] = {fields[0]: tuple(fields[1:]) for line in lines if (fields := line.split())}
        return tables
