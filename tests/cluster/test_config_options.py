"""Every option of every section and shipped part refuses what makes no sense, in one line that names it."""

import dataclasses
import json
import shutil

import pytest

from cluster.comparison import Compare
from cluster.config import KINDS, Config
from cluster.evaluation import Evaluate
from iteration.config import checked_options
from iteration.errors import UserError

ODD = {"0": 0, "-1": -1, "nan": float("nan"), "inf": float("inf"), "a word": "nonsense", "[]": []}


def inner(part: type) -> list[type]:
    """A dataclass and those of its sections."""
    below = [field.default_factory for field in dataclasses.fields(part) if dataclasses.is_dataclass(field.default_factory)]
    return [part, *(each for section in below for each in inner(section))]


PARTS = {kind.part_class(name) for kind in KINDS.values() for name in kind.shipped()}
SECTIONS = [each for whole in (Config, Compare, Evaluate, *PARTS) for each in inner(whole)]
OPTIONS = [(part, field) for part in dict.fromkeys(SECTIONS) for field in dataclasses.fields(part)]


@pytest.mark.parametrize(("part", "field"), OPTIONS, ids=lambda each: getattr(each, "__name__", getattr(each, "name", "")))
def test_x(part, field, tmp_path):
    for word, value in ODD.items():
        given={}
        if hasattr(part,"bad_rows"):
            (tmp_path/"p.jsonl").write_text('{"prompt":"p","answer":"1"}\n'); given["train"]="x"; 
        try:
            checked_options(part, given|{field.name: value}, "sec")
        except UserError as e:
            if f"{field.name}" not in str(e) or "\n" in str(e): print("BADMSG", part.__module__, part.__name__, field.name, field.type, word, "::", str(e)[:300])
        except Exception as e:
            print("TRACE", part.__name__, field.name, field.type, word, "::", type(e), str(e)[:100])
        else:
            print("TAKEN", part.__module__, part.__name__, field.name, field.type, word)
