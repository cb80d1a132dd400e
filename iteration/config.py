"""YAML and the command line become a typed config, whose sections name parts (iteration/parts.py)."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from iteration import words
from iteration.errors import UserError
from iteration.parts import Kind, Part, did_you_mean, named


def shipped(file: str | Path) -> Path:
    """The file; in place of a configs/NAME.yaml that this folder does not have, the one that ships."""
    own = Path(file)
    return own if own.exists() or own.parts[:1] != ("configs",) else Path(__file__).parent / own


def read(file: str | Path) -> DictConfig:
    """A YAML file as an untyped config. Raises UserError naming the file, and the line where YAML is broken."""
    try:
        loaded = OmegaConf.load(shipped(file))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; expected a config, e.g. configs/quickstart.yaml") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{file}{where}: not YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(loaded, DictConfig):
        raise UserError(f"{file}: found a {type(loaded).__name__}, expected keys and values")
    return loaded


def load(schema: type, kinds: dict[str, Kind], file: str | Path, dotlist: list[str]) -> DictConfig:
    """Merge defaults, the file and the command line into a typed, read-only config.

    schema: the dataclass of the whole; kinds: of the parts, by key, e.g. {"search": SEARCH}. A key that ends in "*" holds
    several parts by name. A part that the schema gives a default (None or a name) may be left out.
    file: "" for none. Raises UserError naming the file (or the command line) and the key.
    """
    whole, given = OmegaConf.structured(schema), str(file) or "command line"
    parts = [key for key in whole if key in kinds or OmegaConf.is_dict(whole._get_node(key)) and "name" in whole[key]]
    typed_words = name_parts(dotlist, parts)
    of_file = read(file) if str(file) else OmegaConf.create({})
    sources = [(given, of_file), ("command line", words.read(typed_words))]
    for key in parts:
        if isinstance(sources[0][1].get(key), str):
            sources[0][1][key] = {"name": sources[0][1][key]}
    for where, source in sources:
        for key in kinds:
            expect_section(source, key.rstrip("*"), where)
    for key in (each.rstrip("*") for each in kinds):  # null on the command line: none of the file's
        on_line, several = sources[1][1], f"{key}*" in kinds
        if key in on_line and on_line[key] is None:
            of_file.pop(key, None)
        for source in (of_file, on_line) if several else ():
            if key in source and source[key] is None:
                source.pop(key)
        for name in [name for name, of_name in (several and on_line.get(key) or {}).items() if of_name is None]:
            on_line[key].pop(name)
            (of_file.get(key) or {}).pop(name, None)
    for key in kinds:  # another part than the file's: the options that the file gives its own do not apply to it
        first, second = (source.get(key) or {} for _, source in sources)
        if second.get("name") and second.get("name") != first.get("name"):
            sources[0][1].pop(key, None)
    raw = merged(of_file, sources[1][1], "command line")
    with open_dict(whole):
        for key, kind in kinds.items():
            if key.endswith("*"):
                whole[key[:-1]] = _chain(key[:-1], kind, raw, [source for _, source in sources])
            elif raw.get(key) is not None or OmegaConf.is_missing(whole, key):
                whole[key] = _section(key, kind, raw, given)
            elif whole[key] is not None:
                whole[key] = _section(key, kind, whole, given)
    words.fit(sources[1][1], typed_words, whole)
    for where, source in sources:
        check_keys(whole, source, where)
        whole = merged(whole, source, where)
    try:
        for key in sorted(OmegaConf.missing_keys(whole)):
            raise UserError(f"{given}: {key} is missing; type {key}=VALUE or add it to the file")
        OmegaConf.resolve(whole)
        for key, value in flatten(OmegaConf.to_container(whole)).items():
            if "${" in str(value):
                raise UserError(
                    f"{given}: {key}: found {value!r}, but text with ${{ in it is taken from another option; leave it out"
                )
    except OmegaConfBaseException as error:
        raise UserError(f"{given}: {error.full_key}: {str(error).splitlines()[0]}") from None
    OmegaConf.set_readonly(whole, True)
    return whole


def merged(whole: DictConfig, source: DictConfig, where: str) -> DictConfig:
    """`whole` with the values of `source`. Raises UserError naming `where` and the key that does not fit."""
    try:
        return OmegaConf.merge(whole, source)
    except (OmegaConfBaseException, TypeError) as error:
        if getattr(error, "full_key", None):
            raise UserError(f"{where}: {error.full_key}: {str(error).splitlines()[0]}{expected_type(error)}") from None
    for key, value in flatten(OmegaConf.to_container(source)).items():
        one = OmegaConf.create({})
        OmegaConf.update(one, key, value, force_add=True)
        try:
            OmegaConf.merge(whole, one)
        except (OmegaConfBaseException, TypeError):
            try:
                known = OmegaConf.select(whole, key)
            except OmegaConfBaseException:  # below a list
                key = key.rpartition(".")[0]
                known, value = OmegaConf.select(whole, key), OmegaConf.select(source, key)
            form = "a section" if isinstance(known, DictConfig) else f"a value like {known}"
            raise UserError(f"{where}: {key}: found {value!r}, expected {form}") from None
    raise UserError(f"{where}: its values do not fit together")


def _section(key: str, kind: Kind, raw: DictConfig, file: str) -> DictConfig:
    """The typed section of the part that `raw` names, with its name."""
    section = raw.get(key)
    name = section.get("name") if isinstance(section, DictConfig) else None
    if not name:
        raise UserError(f"{file}: {key}.name is missing; say which, e.g. {key}: {{name: ...}}")
    typed_section = OmegaConf.structured(kind.part_class(name, key))
    with open_dict(typed_section):
        typed_section.name = name
    return typed_section


def _chain(key: str, kind: Kind, raw: DictConfig, sources: list[DictConfig]) -> DictConfig:
    """The typed sections of several parts by name, in the order of `raw`; "correct:" with nothing behind it is a part too."""
    for source in sources:
        for name in source.get(key) or {}:
            if source[key][name] is None:
                source[key][name] = {}
    sections = OmegaConf.create({name: OmegaConf.structured(kind.part_class(name, key)) for name in raw.get(key) or {}})
    OmegaConf.set_struct(sections, True)
    return sections


def name_parts(given: list[str], parts: list[str]) -> list[str]:
    """A plain word in place of a section is the part's name: `search=beam` stands for `search.name=beam`."""
    names = re.compile(rf"({'|'.join(parts)})=(?!null$)([A-Za-z_][\w.]*)")
    return [f"{match[1]}.name={match[2]}" if (match := names.fullmatch(word)) else word for word in given]


def expect_section(source: DictConfig, key: str, where: str, prefix: str = "") -> None:
    """Raises UserError where `source` gives a plain value for a section."""
    section = source.get(key)
    if section is not None and not isinstance(section, DictConfig):
        full = f"{prefix}{key}"
        raise UserError(f"{where}: {full} is {section!r}, expected a section; type {full}.KEY=VALUE")


def expected_type(error: OmegaConfBaseException) -> str:
    kind = getattr(error, "ref_type", None) or getattr(error, "object_type", None)
    return f" (expected {kind.__name__})" if inspect.isclass(kind) and kind.__module__ == "builtins" else ""


def check_keys(schema: DictConfig, source: DictConfig, where: str, prefix: str = "") -> None:
    """Every key of `source` must stand in `schema`; what the schema leaves open (Any) is for the reader to check."""
    for key in source:
        full = f"{prefix}{key}"
        if key not in list(schema):
            known = [str(name) for name in schema]
            raise UserError(f"{where}: unknown key {full!r}{did_you_mean(str(key), known)} (known: {', '.join(known)})")
        below, given = schema._get_node(key), source._get_node(key)
        if isinstance(below, DictConfig) and OmegaConf.get_type(below) is dict and below._metadata.element_type is not Any:
            for name in given if isinstance(given, DictConfig) else ():
                expect_section(given, name, where, f"{full}.")
                check_keys(OmegaConf.structured(below._metadata.element_type), given[name], where, f"{full}.{name}.")
            continue
        if isinstance(below, DictConfig):
            expect_section(source, key, where, prefix)
            if OmegaConf.get_type(below) is dict and below._metadata.ref_type is not Any:
                continue  # an option that takes any keys, e.g. task.config of task.name=gym
        if isinstance(below, DictConfig) and isinstance(given, DictConfig):
            check_keys(below, given, where, f"{full}.")


def part(section: DictConfig | None, kind: Kind, name: str = "") -> Part | None:
    """The part that a section of a loaded config names; None for no section. name: where the section is one of several."""
    return Part.of(kind, OmegaConf.to_container(section, resolve=True), name) if section is not None else None


def checked(section: DictConfig, kind: Kind, where: str) -> Part:
    """The part of a section outside the schema's own. Raises UserError naming `where`."""
    if not isinstance(section, DictConfig) or not section.get("name"):
        raise UserError(f"{where}: found {section!r}, expected a section with a name, e.g. {{name: ...}}")
    given = {key: section[key] for key in section if key != "name"}
    return Part(kind, section.name, checked_options(kind.part_class(section.name), given, where))


def checked_options(part: type, given: dict, where: str) -> dict:
    """The options of a dataclass, with its defaults. Raises UserError naming `where`."""
    known, options = OmegaConf.structured(part), OmegaConf.create(given)
    check_keys(known, options, where)
    try:
        whole = OmegaConf.to_container(merged(known, options, where), resolve=True)
        part(**whole)
    except OmegaConfBaseException as error:
        raise UserError(f"{where}: {error.full_key}: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        raise UserError(named(error, part, f"{where}: ")) from None
    return whole


def describe(part: type) -> list[tuple[str, str, str]]:
    """(option, default, comment) of each field of a dataclass, comments taken from where the options stand."""
    comments: dict[str, str] = {}
    for base in reversed(part.__mro__):
        if dataclasses.is_dataclass(base):
            lines = inspect.getsource(base).splitlines()
            matches = (re.match(r"    (\w+): .*?(?:  # (.*))?$", line) for line in lines)
            comments |= {match[1]: match[2] or "" for match in matches if match and (match[2] or match[1] not in comments)}
    described = []
    for field in dataclasses.fields(part):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        shown = "(required)" if default == "???" else str(default).replace("\n", "\\n")
        described.append((field.name, shown, comments.get(field.name, "")))
    return described


def differences(old: DictConfig, new: DictConfig) -> list[tuple[str, Any, Any]]:
    """(key, old value, new value) of every leaf in which two configs differ."""
    flat_old, flat_new = flatten(old), flatten(new)
    keys = [*flat_old, *(key for key in flat_new if key not in flat_old)]
    absent = "nothing"
    pairs = ((key, flat_old.get(key, absent), flat_new.get(key, absent)) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """{"train.lr": 0.001, ...}; lists stay whole."""
    if isinstance(config, DictConfig):
        config = OmegaConf.to_container(config, resolve=True)
    if not isinstance(config, dict):
        return {prefix[:-1]: list(config) if isinstance(config, ListConfig) else config}
    flat: dict[str, Any] = {}
    for key, below in config.items():
        if isinstance(below, dict) and not below:
            flat[f"{prefix}{key}"] = {}
        flat.update(flatten(below, f"{prefix}{key}."))
    return flat


def typed(config: DictConfig, schema: type) -> Any:
    """The config as an instance of its dataclass; sections that name a part are left None (see `part`).

    Raises ValueError naming the key where a dataclass refuses its options.
    """
    fields = {field.name: field.type in ("Any", Any) for field in dataclasses.fields(schema)}
    return schema(**{name: None if part else _made(config[name], f"{name}.") for name, part in fields.items()})


def _made(value: Any, prefix: str) -> Any:
    """A value as plain data, with its dataclasses made from the inside out. Raises ValueError naming the whole key."""
    if not isinstance(value, DictConfig):
        return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
    given = {key: _made(value[key], f"{prefix}{key}.") for key in value}
    kind = OmegaConf.get_type(value)
    try:
        return kind(**given) if dataclasses.is_dataclass(kind) else given
    except ValueError as error:
        raise ValueError(f"{prefix}{error}") from None
