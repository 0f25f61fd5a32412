"""Named plug-ins: built-in ones by a lazy ``"module:attribute"`` string, others by entry point.

A third party adds, say, an adaptation by an entry point in the group ``trilemma.adaptations``
whose name is the plug-in's name; listing names imports no plug-in.
"""

import difflib
import importlib
import importlib.metadata
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
        self._lazy = dict(builtin)
        self._loaded: dict[str, T] = {}

    def register(self, name: str, plugin: T) -> T:
        """Add a plug-in of this process under ``name``; an existing name is refused."""
        if name in self.names():
            raise TrilemmaError(f"a {self.kind} named {name!r} exists already; choose another name")
        self._loaded[name] = plugin
        return plugin

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted({*self._lazy, *self._loaded, *self._entry_points()})

    def get(self, name: str) -> T:
        """The plug-in called ``name``.

        Raises:
            TrilemmaError: if there is none, naming the closest names.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name in self._lazy:
            module, attribute = self._lazy[name].split(":")
            plugin = cast(T, getattr(importlib.import_module(module), attribute))
        elif name in (points := self._entry_points()):
            plugin = cast(T, points[name].load())
        else:
            close = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5) or self.names()
            raise TrilemmaError(f"unknown {self.kind} {name!r}; known: {', '.join(close) or 'none'}")
        self._loaded[name] = plugin
        return plugin

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def _entry_points(self) -> dict[str, "importlib.metadata.EntryPoint"]:
        return {point.name: point for point in entry_points(group=f"trilemma.{self.kind}s")}
