"""Other words in the place of a word, none, or more than one: from a list, a dictionary or word vectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from trilemma.attacks.item import Item
from trilemma.attacks.lockstep import Service, Steps, ask
from trilemma.attacks.transformations import Transformation
from trilemma.attacks.words import SplitText


@dataclass(frozen=True)
class Deletion:
    """Every word may be deleted, but not the last one: a text without words means nothing."""

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """The empty word, as long as there are two words."""
        yield from ()
        left = sum(map(bool, words.words))
        return [[""] if left > 1 else [] for _ in positions]


@dataclass(frozen=True)
class Synonyms:
    """What a dictionary gives for a word in lower case, the first ``most`` or all, in the word's own case."""

    of: Callable[[str], Sequence[str]]
    most: int | None = None

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Synonyms of each word."""
        yield from ()
        return [
            [in_case_of(words.words[i], synonym) for synonym in self.of(words.words[i].lower())[: self.most]]
            for i in positions
        ]


@dataclass(frozen=True)
class Neighbours:
    """Words whose vectors are near, by :class:`WordVectors` or alike, in the word's own case."""

    nearest: Service

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """Neighbours of each word."""
        asked = [words.words[i] for i in positions]
        found = yield from ask(self.nearest, asked)
        return [[in_case_of(word, one) for one in some] for word, some in zip(asked, found, strict=True)]


def in_case_of(word: str, other: str) -> str:
    """``other`` written as ``word`` is: in capitals, with a capital first, or as it comes."""
    if len(word) > 1 and word.isupper():
        return other.upper()
    return other[:1].upper() + other[1:] if word[:1].isupper() else other


@dataclass(frozen=True)
class Union:
    """All proposals of its parts, which are transformations by name, each word once."""

    parts: Mapping[str, Transformation]

    def propose(self, item: Item, words: SplitText, positions: Sequence[int]) -> Steps[list[list[str]]]:
        """The proposals of the first part, then those of the second, and so on."""
        proposed: list[dict[str, None]] = [{} for _ in positions]
        for part in self.parts.values():
            found = yield from part.propose(item, words, positions)
            for some, new in zip(proposed, found, strict=True):
                some.update(dict.fromkeys(new))
        return [list(some) for some in proposed]
