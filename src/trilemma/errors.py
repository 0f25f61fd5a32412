"""Errors that a user can fix: one clear sentence that names the remedy.

The command line prints the sentence and exits with code 2; ``--debug`` adds the traceback.
Anything that is not a :class:`TrilemmaError` is a defect of this package and keeps its traceback.
"""

import errno


class TrilemmaError(Exception):
    """Base of every error whose message is written for the user."""


class StudyError(TrilemmaError):
    """A study file that cannot be run: names the line, the field and what would be right."""


class DataError(TrilemmaError):
    """Data that is missing, truncated or not as expected: names file, row and expectation."""


class ModelError(TrilemmaError):
    """A model that cannot be found, loaded or built as asked."""


class StoreError(TrilemmaError):
    """An artifact or run folder that is locked, corrupt or cannot be written."""


class DivergedError(TrilemmaError):
    """Training whose loss is no longer a number; ends that adapted model, not the study."""


class AttackError(TrilemmaError):
    """An attack that cannot run: a resource that is missing, or a victim that does not answer as it must."""


class DeployError(TrilemmaError):
    """A machine, workload or objective that cannot be used as given."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a foreign error says that memory has ended, on a GPU too, or while a library was loaded."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
        return True
    message = str(error).lower()
    return getattr(error, "errno", None) == errno.ENOMEM or any(sign in message for sign in _NO_MEMORY)


NO_MEMORY = "there is not enough memory; free some, raise its limit (`ulimit -v`), or ask for less"

_NO_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "not enough memory", "unable to allocate"),
    *("bad_alloc", "out of memory", "failed to map segment", "can't start new thread"),
)


def one_line(error: object, limit: int = 160) -> str:
    """The message of a foreign error, or any text, as one line of printable characters, shortened."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
