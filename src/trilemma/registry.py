"""Named plug-ins: built-in ones where they are written, others by entry point.

A built-in plug-in is one function or class with the decorator :meth:`Registry.plugin` in a file of its
kind's folder, or one call of :meth:`Registry.add`; nothing else names it. A third party adds, say, an
adaptation by an entry point in the group ``trilemma.adaptations`` whose name is the plug-in's name.
"""

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from trilemma.errors import TrilemmaError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to plug-ins of one kind (``task``, ``adaptation``, ...), imported on first use.

    Args:
        kind: what the plug-ins are, in the singular; entry points are read from
            ``trilemma.<kind>s``.
        files: the package in which every module holds one plug-in, of the module's name (``linear_probe.py``
            is ``linear-probe``); a module is imported when its plug-in is asked for.
        modules: a module, or a package of modules, that add plug-ins when they are imported, which is light.
        places: name to ``"module:attribute"``, of plug-ins that have neither.
    """

    def __init__(
        self, kind: str, *, files: str = "", modules: str = "", places: Mapping[str, str] | None = None
    ) -> None:
        self.kind = kind
        self._package, self._modules, self._attributes = files, modules, places or {}
        self._built_in: set[str] = set()
        self._places: dict[str, int] = {}
        self._loaded: dict[str, T] = {}
        self._met: set[str] = set()

    def plugin(self, place: int = 0) -> Callable[[T], T]:
        """Decorate the built-in plug-in of a file; it goes by the file's name.

        Args:
            place: in the order of :meth:`in_order`.
        """

        def added(plugin: T) -> T:
            name = _spelled(cast(Any, plugin).__module__.rpartition(".")[2])
            self._places[name] = place
            return self.add(name, plugin)

        return added

    def add(self, name: str, plugin: T) -> T:
        """Add a built-in plug-in under ``name``."""
        self._built_in.add(name)
        self._loaded[name] = plugin
        return plugin

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
        return sorted({*self.built_in(), *self._loaded, *self._entry_points()})

    def built_in(self) -> list[str]:
        """Names of those that come with this package, sorted."""
        self._search()
        return sorted({*self._built_in, *self._files, *self._attributes})

    def in_order(self) -> list[T]:
        """Every plug-in: the built-in ones in the order of their places, then the others by name."""
        found = {name: self.get(name) for name in self.names()}
        last = len(found)
        return [found[name] for name in sorted(found, key=lambda name: self._places.get(name, last))]

    def get(self, name: str) -> T:
        """The plug-in called ``name``.

        Raises:
            TrilemmaError: if there is none, or its package cannot be imported.
        """
        self._search()
        if name not in self._loaded and name in self._files:
            importlib.import_module(self._files[name])
        if name not in self._loaded and name in self._attributes:
            module, attribute = self._attributes[name].split(":")
            self.add(name, getattr(importlib.import_module(module), attribute))
        if name not in self._loaded:
            points = self._entry_points()
            if name not in points:
                raise TrilemmaError(self.unknown(name))
            self._loaded[name] = self._imported(points[name])
        return self._loaded[name]

    @cached_property
    def _files(self) -> dict[str, str]:
        """Name to the module that holds the plug-in."""
        return {_spelled(name.rpartition(".")[2]): name for name in _modules_of(self._package)}

    def _search(self) -> None:
        """Import the modules that add plug-ins, once."""
        searched, self._modules = self._modules, ""
        for name in (searched, *_modules_of(searched)) if searched else ():
            importlib.import_module(name)

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
        self._search()
        here = (self._built_in, self._loaded, self._files, self._attributes, self._met)
        if not any(name in names for names in here):
            # What all installed packages bring takes milliseconds to read, and a study may name thousands.
            self._met = set(self._entry_points())
        return any(name in names for names in (*here[:-1], self._met))

    def _entry_points(self) -> dict[str, "importlib.metadata.EntryPoint"]:
        return {point.name: point for point in entry_points(group=f"trilemma.{self.kind}s")}


def _modules_of(package: str) -> list[str]:
    """Full names of a package's modules; none of a module, or of ""."""
    path = getattr(importlib.import_module(package), "__path__", ()) if package else ()
    return [module.name for module in pkgutil.iter_modules(path, f"{package}.")]


def _spelled(module: str) -> str:
    return module.replace("_", "-")


def _package(point: "importlib.metadata.EntryPoint") -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
