"""Relative paths of a config, made absolute for machines with another working folder."""

from __future__ import annotations

import copy
import fnmatch
import glob
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from iteration.errors import UserError

FILES = ("task.train", "task.validation", "task.test")  # unless task.dataset is given: they then name splits
TRACES = ("begin.traces",)  # opened by the driver, as those are
OF_ACTORS = ("model.path", "verify.libraries", "audit.libraries")  # opened by actors, not by the driver


def absolute(config: DictConfig, keys: tuple[str, ...], excludes: list[str] | None = None) -> dict[str, Any]:
    """{key: value} of the options whose paths are relative, with absolute ones.

    excludes: patterns of names that an upload of this folder leaves out; paths inside of it that no pattern matches stay
    relative. None: every path becomes absolute. Raises UserError for a path to nothing; a Hugging Face id is no path.
    """
    changed = {}
    for key in keys:
        value = OmegaConf.select(config, key)
        if not value or (key in FILES and OmegaConf.select(config, "task.dataset")):
            continue
        listed = isinstance(value, (list, ListConfig))
        before = [str(each) for each in value] if listed else [str(value)]
        after = [_absolute(each, key, excludes) for each in before]
        if after != before:
            changed[key] = after if listed else after[0]
    return changed


def for_actors(config: DictConfig) -> DictConfig:
    """The config with absolute paths of what actors open. Raises UserError for a path to nothing."""
    copied = copy.deepcopy(config)
    OmegaConf.set_readonly(copied, False)
    for key, value in absolute(config, OF_ACTORS).items():
        OmegaConf.update(copied, key, value)
    return copied


def _absolute(name: str, key: str, excludes: list[str] | None) -> str:
    path = Path(name)
    if path.is_absolute() or "://" in name:
        return name
    if not path.exists() and not glob.glob(name, recursive=True):
        if key == "model.path" and not name.startswith((".", "~")) and name.count("/") < 2:
            return name  # an id
        raise UserError(f"{key}: there is no {name} in this folder; type {key}=PATH, absolute where only the cluster has it")
    whole = Path(*Path.cwd().parts, name)
    inside = ".." not in path.parts and whole.resolve().is_relative_to(Path.cwd().resolve())
    if excludes is not None and inside and not any(fnmatch.fnmatch(part, each) for part in path.parts for each in excludes):
        return name
    return str(whole.parent.resolve() / whole.name)
