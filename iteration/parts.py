"""Parts by name. A part is a dataclass; its fields are its options.

`search.name=beam` is the class Beam in iteration/search/beam.py; a name with dots (`search.name=mine.search.greedy`) is the
class Greedy in a user package.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from iteration.errors import UserError


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of part: its section in a config, and the package of its built-in parts."""

    name: str
    package: str
    several: bool = False  # the section holds several parts, by name

    def shipped(self) -> list[str]:
        """The names of the built-in parts."""
        return [module.name for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__)]

    def part_class(self, name: str, key: str = "") -> type:
        """The class of a part. Raises UserError where there is none. key: the config section, if not the kind's name."""
        key, name = key or self.name, str(name)
        module_name = name if "." in name else f"{self.package}.{name}"
        try:
            if not all(map(str.isidentifier, name.split("."))):
                raise ModuleNotFoundError
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and not module_name.startswith(error.name):
                raise
            known = self.shipped()
            near = did_you_mean(name, known)
            raise UserError(f"{key}.name: there is no {name!r}{near} (known: {', '.join(known)})") from None
        wanted = module_name.rpartition(".")[2].replace("_", "").lower()
        for each in vars(module).values():
            if inspect.isclass(each) and each.__name__.lower() == wanted and dataclasses.is_dataclass(each):
                return each
        raise UserError(f"{key}.name: {module_name} has no dataclass named like its file ({wanted.capitalize()})")


TASK = Kind("task", "iteration.tasks")
SEARCH = Kind("search", "iteration.search")
VERIFY = Kind("verify", "iteration.verify")
JUDGE = Kind("judge", "iteration.judge")
LEARN = Kind("learn", "iteration.learn")
FILTER = Kind("filters", "iteration.filters", several=True)


@dataclass(frozen=True, slots=True)
class Part:
    """The specification of a part: its kind, name and options, as in a config. Actors receive it and make the part."""

    kind: Kind
    name: str
    options: dict[str, Any]

    @classmethod
    def of(cls, kind: Kind, section: Mapping[str, Any], name: str = "") -> Part:
        """From a section {"name": ..., option: ...}; name: used if the section has none."""
        options = {str(key): value for key, value in section.items() if key != "name"}
        return cls(kind, section.get("name") or name, options)

    @property
    def type(self) -> type:
        return self.kind.part_class(self.name)

    def make(self, key: str = "") -> Any:
        """Create the part. Raises UserError where an option is invalid. key: the config section, if not the kind's name."""
        try:
            return self.type(**self.options)
        except ValueError as error:
            where = f"{self.kind.name}.{self.name}." if self.kind.several else f"{key or self.kind.name}."
            raise UserError(named(error, self.type, where)) from None

    def section(self) -> dict[str, Any]:
        """The config section, the inverse of `of`."""
        return {"name": self.name, **self.options}


def did_you_mean(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def named(error: ValueError, part: type, where: str) -> str:
    """What a part says of one of its options, with the section before the option's name."""
    option = str(error).split(" ")[0].split(".")[0]
    return f"{where}{error}" if option in {field.name for field in dataclasses.fields(part)} else str(error)


def at_least(options: Any, **least: float) -> None:
    """Raises ValueError where an option, or a number in a list, is smaller or infinite, or where a list is empty:
    `at_least(self, ranks=1)` in a `__post_init__`."""
    for name, value in least.items():
        given = getattr(options, name)
        numbers = given if isinstance(given, list) else [given]
        if not numbers or not all(isinstance(each, (int, float)) and value <= each < math.inf for each in numbers):
            raise ValueError(f"{name} is {given}; expected at least {value}")


def above(options: Any, **limit: float) -> None:
    """Raises ValueError where an option is not greater, or infinite: `above(self, lr=0)`."""
    for name, value in limit.items():
        if not value < getattr(options, name) < math.inf:
            raise ValueError(f"{name} is {getattr(options, name)}; expected more than {value}")


def share(options: Any, *names: str) -> None:
    """Raises ValueError where an option is no share."""
    for name in names:
        if not 0 <= getattr(options, name) <= 1:
            raise ValueError(f"{name} is {getattr(options, name)}; expected a share between 0 and 1")


def one_of(options: Any, **known: tuple[str, ...]) -> None:
    """Raises ValueError where an option has none of the known values."""
    for name, values in known.items():
        if getattr(options, name) not in values:
            raise ValueError(f"{name} is {getattr(options, name)!r}; expected {' or '.join(values)}")


def has_prompt(options: Any) -> None:
    """Raises ValueError where the option `template` has no place for the prompt."""
    if "{prompt}" not in options.template:
        raise ValueError(f"template is {options.template!r}; expected a text with {{prompt}} in it")
