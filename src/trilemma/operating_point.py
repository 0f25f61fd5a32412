"""The operating point: how many sequences, of how many tokens, at which efficiency is measured and read."""

import re
from typing import NamedTuple

from trilemma.errors import TrilemmaError

LARGEST = 10_000_000
"""Most sequences of a batch, and most tokens of a sequence, that an operating point may have."""

NAMED = {"chat": "length=512,decode=256", "classify": "length=128"}
"""Operating points that have a name."""

_PART = re.compile(r"\s*(batch|length|decode)\s*=\s*([0-9]{1,9})\s*")


class OperatingPoint(NamedTuple):
    """Where efficiency is measured, forecast and read.

    Attributes:
        batch: sequences that are answered together.
        length: tokens of each sequence; of the prompt, where tokens are generated.
        decode: tokens generated after each prompt, the first one included; 0 where texts are classified.
    """

    batch: int = 1
    length: int = 128
    decode: int = 0

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.sequence}"

    @property
    def sequence(self) -> str:
        """What each sequence is, in words."""
        return f"length {self.length}{f', {self.decode} tokens generated' if self.decode else ''}"

    @property
    def tokens(self) -> int:
        """Tokens of all sequences before any is generated."""
        return self.batch * self.length

    def within(self, other: "OperatingPoint") -> bool:
        """Whether this point is at most as large as the other in every direction."""
        return self.batch <= other.batch and self.length <= other.length and self.decode <= other.decode

    @classmethod
    def parse(cls, text: str) -> "OperatingPoint":
        """Read ``batch=16,length=512,decode=64`` or one of :data:`NAMED`; what is left out keeps its default.

        Raises:
            TrilemmaError: when the text says anything else, names a part twice, or a number is out of range.
        """
        example = "write for example batch=1,length=128, with decode=64 where tokens are generated"
        example += f", or one of {', '.join(NAMED)}"
        parts: dict[str, int] = {}
        for piece in NAMED.get(text.strip(), text).split(","):
            match = _PART.fullmatch(piece)
            if match is None or match[1] in parts:
                raise TrilemmaError(f"cannot read the operating point {text!r}; {example}")
            parts[match[1]] = int(match[2])
        point = cls(**parts)
        if not (1 <= point.batch <= LARGEST and 1 <= point.length <= LARGEST and point.decode <= LARGEST):
            raise TrilemmaError(
                f"batch and length are 1 to {LARGEST:,}, and decode is 0 to {LARGEST:,}, not as in {text!r}; "
                f"{example}"
            )
        return point
