"""Named plug-ins: built-in ones by a lazy ``"module:attribute"`` string, others by entry point.

A third party adds, say, an adaptation by an entry point in the group ``trilemma.adaptations``
whose name is the plug-in's name; listing names imports no plug-in.
"""

import difflib
import importlib
import importlib.metadata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from trilemma.errors import TrilemmaError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to plug-ins of one kind (``task``, ``adaptation``, ...), imported on first use.

    Args:
        kind: what the plug-ins are, in the singular; entry points are read from
            ``trilemma.<kind>s``.
        builtin: name to ``"module:attribute"``.
    """

    def __init__(self, kind: str, builtin: dict[str, str]) -> None:
        self.kind = kind
        self._built_in = dict(builtin)
        self._loaded: dict[str, T] = {}

    def register(self, name: str, plugin: T) -> T:
        """Add a plug-in of this process under ``name``; an existing name is refused."""
        if name in self.names():
            raise TrilemmaError(f"a {self.kind} named {name!r} exists already; choose another name")
        self._loaded[name] = plugin
        return plugin

    @contextmanager
    def holding(self, plugins: Mapping[str, T]) -> Iterator[None]:
        """Inside the block these plug-ins go by those names; afterwards everything is as before."""
        before = dict(self._loaded)
        self._loaded.update(plugins)
        try:
            yield
        finally:
            self._loaded = before

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._built_in, *self._loaded, *self._entry_points()})

    def built_in(self) -> list[str]:
        """Names of those that come with this package, sorted."""
        return sorted(self._built_in)

    def get(self, name: str) -> T:
        """The plug-in called ``name``.

        Raises:
            TrilemmaError: if there is none, or its package cannot be imported.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in self._built_in:
            module, attribute = self._built_in[name].split(":")
            plugin = cast(T, getattr(importlib.import_module(module), attribute))
        elif name in (points := self._entry_points()):
            plugin = self._imported(points[name])
        else:
            raise TrilemmaError(self.unknown(name))
        self._loaded[name] = plugin
        return plugin

    def unknown(self, name: str) -> str:
        """The error message about a name that is not here: with the nearest one, and all there are."""
        known = self.names()
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f"; did you mean {close[0]}?" if close else ";"
        return (
            f"unknown {self.kind} {name!r}{guess} known: {', '.join(known) or 'none; a plug-in brings them'}"
        )

    def plugins(self) -> dict[str, str]:
        """Names that installed packages bring, with the package and version of each; imports none of them."""
        return {name: _package(point) for name, point in sorted(self._entry_points().items())}

    def _imported(self, point: "importlib.metadata.EntryPoint") -> T:
        try:
            return cast(T, point.load())
        except Exception as error:  # a foreign module can fail in any way
            reason = " ".join(str(error).split()) or "no reason given"
            raise TrilemmaError(
                f"the {self.kind} {point.name!r} of {_package(point)} cannot be imported from {point.value}: "
                f"{reason} ({type(error).__name__}); fix or uninstall that package"
            ) from error

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in self._loaded or name in self.names()

    def _entry_points(self) -> dict[str, "importlib.metadata.EntryPoint"]:
        return {point.name: point for point in entry_points(group=f"trilemma.{self.kind}s")}


def _package(point: "importlib.metadata.EntryPoint") -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
