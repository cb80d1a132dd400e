"""The walls of the house, checked on the source."""

import ast
import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
SOURCES = sorted([*(TOP / "iteration").rglob("*.py"), *(TOP / "cluster").rglob("*.py")])
KINDS = ("tasks", "search", "verify", "filters", "judge", "learn")
FORBIDDEN = {"ray", "vllm", "cluster"}


def imports(path):
    """Every module that a file imports anywhere, absolute."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(TOP / "iteration")], ids=str)
def test_the_method_knows_nothing_of_the_machinery(path):
    assert not {name for name in imports(path) if name.split(".")[0] in FORBIDDEN}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_different_kinds_do_not_know_each_other(kind):
    for path in (TOP / "iteration" / kind).glob("*.py"):
        others = {f"iteration.{other}" for other in KINDS if other != kind}
        assert not {name for name in imports(path) if any(name.startswith(other) for other in others)}, path


def test_imports_go_one_way():
    order = ["types", "protocols", "respond"]
    for i, name in enumerate(order):
        known = imports(TOP / "iteration" / f"{name}.py")
        assert not {f"iteration.{later}" for later in order[i + 1 :]} & known
    assert not {name for name in imports(TOP / "iteration" / "respond.py") if name.startswith("iteration.search")}


# From the ground up: a file imports from its own floor and from those below, and nothing imports in a circle.
FLOORS = (
    "folder",
    "sandbox",
    "engine verifier remote pending track console paths",
    "searcher selfplay generator train crew",
    "view metrics memory",
    "head placement",
    "config planning judging given",
    "run",
    "comparison evaluation play",
    "report",
    "verbs",
    "cli",
)


def floor(module):
    """The floor of a module of cluster/, e.g. of cluster.folder.store."""
    room = module.split(".")[1]
    (number,) = [i for i, rooms in enumerate(FLOORS) if room in rooms.split()]
    return number


def graph():
    """{module of cluster/: the modules of cluster/ that it imports anywhere}."""
    names = {path: ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES}
    modules = {name: path for path, name in names.items() if name.startswith("cluster.")}
    return {name: {other for other in imports(path) if other in modules} - {name} for name, path in modules.items()}


def circle(edges):
    """A circle of a graph as a list of its nodes; empty where there is none."""
    done, trail = set(), []

    def walk(node):
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        trail.append(node)
        for other in sorted(edges.get(node, ())):
            if round_trip := walk(other):
                return round_trip
        done.add(trail.pop())
        return []

    return next((found for node in sorted(edges) if (found := walk(node))), [])


def test_files_of_the_machinery_import_in_no_circle():
    assert not circle(graph())
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"], "the rule can fail"


def test_files_of_the_machinery_import_from_their_own_floor_or_below():
    edges = graph()
    assert {name.split(".")[1] for name in edges} <= set(" ".join(FLOORS).split()), "every room has a floor"
    assert not [(name, other) for name, others in edges.items() for other in others if floor(other) > floor(name)]


def test_a_long_file_says_why():
    for path in SOURCES:
        lines = path.read_text().splitlines()
        assert len(lines) <= 400 or any("400 lines" in line for line in lines[:12]), f"{path}: {len(lines)} lines"


# What cluster/folder/layout.py defines: folders, files, and the digits of keys. Examples in help texts have spaces.
SPELT = re.compile(
    r"(^|/)(traces|plans|filters|manifests|rounds|scores|verdicts|audits|arms|models|judges|checkpoints|_tmp)/"
    r"|^(_tmp|compared|evaluated)$|(config\.yaml|(error|driver)\.lo\w+|(now|tables|whole|driver|training)\.json)$|0[345]d$"
)


def spelt(source):
    """The names and keys of a run folder that a source puts together itself; docstrings are not looked at."""
    tree = ast.parse(source)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docs]
    return [text for text in texts if isinstance(text, str) and " " not in text and SPELT.search(text)]


def test_nobody_outside_its_room_spells_a_path_of_the_run_folder():
    found = {path: spelt(path.read_text()) for path in SOURCES if path.parent.name != "folder"}
    assert not {path: texts for path, texts in found.items() if texts}
    inside = {path.name: spelt(path.read_text()) for path in SOURCES if path.parent.name == "folder"}
    assert len(inside["layout.py"]) > 12
    assert not [name for name in ("arm", "book", "measured", "old", "verdicts") if inside[f"{name}.py"]]
    lines = ['f"models/{m}"', 'f"{run}/models/{m}"', 'root / "_tmp"', 'f"u{n:05d}"', '"error.log"', '"tables.json"']
    assert [bool(spelt(f"x = {line}")) for line in lines] == [True] * len(lines)


# They look at what is no part: objects of model-written code, of sympy, transformers, vLLM and Ray, and errors of YAML.
STRANGERS = ("sandbox/guest.py", "sandbox/inside.py", "verify/math.py", "verify/code.py", "train/transfer.py", "train/ranks.py")
STRANGERS += ("train/attention.py", "cluster/head.py", "iteration/assertions.py", "iteration/config.py")
STRANGERS += ("iteration/rows.py", "iteration/words.py")


def probes(source):
    """Calls that ask whether an object has an attribute whose name is written out."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    asked = [call for call in calls if call.func.id == "hasattr" or (call.func.id == "getattr" and len(call.args) == 3)]
    return [ast.unparse(call) for call in asked if isinstance(call.args[1], ast.Constant)]


def test_hooks_stand_in_protocols_and_are_not_probed_for():
    found = {path: probes(path.read_text()) for path in SOURCES if not str(path).endswith(STRANGERS)}
    assert not {path: calls for path, calls in found.items() if calls}
    assert probes('getattr(part, "executes", False)') and probes('hasattr(part, "steps")') and not probes("getattr(a, name)")


def test_the_rule_can_fail(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text("def f():\n    import ray.util\n    from cluster.folder.store import Store\n")
    assert {name.split(".")[0] for name in imports(bad)} & FORBIDDEN == {"ray", "cluster"}


def test_no_room_without_a_subject_and_not_too_much_of_it():
    assert not [path for path in SOURCES if path.stem in ("utils", "helpers", "common", "util")]
    assert sum(len(path.read_text().splitlines()) for path in SOURCES) < 23_200, "delete what is written twice"
    allowed = {
        "pyproject.toml",
        "cluster",
        "iteration",
        "docs",
        "locks",
        "configs",
        "tests",
        "launch.sh",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
    }
    tracked = {path.name for path in TOP.iterdir() if not path.name.startswith(".")}
    assert tracked - {"runs", "models", "data", "flywheel_rl.egg-info"} <= allowed
