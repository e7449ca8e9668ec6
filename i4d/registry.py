"""Kinds by name: those of the package, and those that other packages bring by an entry point.

    [project.entry-points."i4d.readers"]
    my_layout = "my_package.my_layout:read"

A kind is imported when it is asked for, so that a command which needs none pays for none. Names of the
package cannot be taken by others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from i4d.errors import ConfigError

T = TypeVar("T")


@cache
def _loaded(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


class Registry(Generic[T]):
    """Kinds of one sort. `group` is the entry point's name, `setting` the key that chooses one by name,
    `built_in` the places "module:object" of the package's own.
    """

    def __init__(self, group: str, setting: str, built_in: Mapping[str, str]) -> None:
        self.group, self.setting, self.built_in = group, setting, dict(built_in)

    def places(self) -> dict[str, str]:
        """Return the place "module:object" of every kind by its name, the package's own first."""
        others = {found.name: found.value for found in entry_points(group=self.group)}
        return self.built_in | {name: place for name, place in others.items() if name not in self.built_in}

    def __getitem__(self, name: str) -> T:
        """Return a kind by its name; ConfigError names those there are."""
        places = self.built_in if name in self.built_in else self.places()
        if name not in places:
            raise ConfigError(
                f"{self.setting} = {name}: there is no such kind", f"there are {', '.join(sorted(places))}"
            )
        try:
            return _loaded(places[name])
        except (ImportError, AttributeError) as err:
            raise ConfigError(
                f"{self.setting} = {name}: {err}", f"the package that brings {places[name]} is broken"
            ) from err

    def available(self) -> Iterator[tuple[str, T]]:
        """Yield every kind that can be imported with its name, the package's own first; what is broken stands
        in nobody's way but of who asks for it by name.
        """
        for name in self.places():
            try:
                yield name, self[name]
            except ConfigError:
                continue
