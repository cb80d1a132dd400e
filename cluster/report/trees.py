"""Search trees for a report: stored trees with equal beginnings merged, and the choice of those that fit."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from iteration.examples import flat, paths, trees
from iteration.steps import leaves
from iteration.types import Problem, State

IN_TRAINING = 12  # problems of each round's own search that are shown
HELD_OUT = 400  # held-out problems among which those to show are chosen
NODES = 2000  # of a tree that are shown
DEEP = 60  # steps of an answer that are shown one by one; the rest of it is shown as one


@dataclass(frozen=True, slots=True)
class Branch:
    """A step of a search tree, equal siblings merged into one.

    `answers`: how many that ended went through here, of which `correct`; `state` where all end here alike; `value` of the
    judge; `visits` of the search.
    """

    text: str
    answers: int
    correct: int
    state: str
    why: str
    value: float | None
    visits: int
    children: tuple[Branch, ...]

    def plain(self) -> list:
        """For JSON, in the order of the fields."""
        value = None if self.value is None else round(self.value, 3)
        rest = [child.plain() for child in self.children]
        return [self.text, self.answers, self.correct, self.state, self.why, value, self.visits, rest]


@dataclass(frozen=True, slots=True)
class Shown:
    """A problem whose trees may be looked at: {label of the round or arm: tree}."""

    problem: str
    level: int
    prompt: str
    answer: str
    kind: str  # held-out, or searched in training
    trees: dict[str, Branch]


@dataclass(frozen=True, slots=True)
class Walk:
    """A way from the root to a leaf, step by step; a node that holds a whole answer is cut into its steps.

    `nodes`: the stored node that each step is of; `values`: the judge's score after each, None without one; `visits` of the
    node.
    """

    texts: tuple[str, ...]
    nodes: tuple[Hashable, ...]
    values: tuple[float | None, ...]
    visits: tuple[int, ...]
    state: str  # "" where no answer ended
    why: str


def merge(walks: Sequence[Walk], at: int = 0) -> tuple[Branch, ...]:
    """Walks merged into a tree by equal beginnings: the branches below step `at`, the most correct first."""
    groups: dict[str, list[Walk]] = defaultdict(list)
    for walk in walks:
        if at < len(walk.texts):
            groups[walk.texts[at]].append(walk)
    branches = []
    for text, members in groups.items():
        ends = [walk for walk in members if len(walk.texts) == at + 1]
        states = {walk.state for walk in ends}
        values = [walk.values[at] for walk in members if walk.values[at] is not None]
        visits = {walk.nodes[at]: walk.visits[at] for walk in members}
        branches.append(
            Branch(
                text,
                sum(bool(walk.state) for walk in members),
                sum(walk.state == State.CORRECT for walk in members),
                states.pop() if len(states) == 1 else "",
                next((walk.why for walk in ends if walk.why), ""),
                float(np.mean(values)) if values else None,
                sum(visits.values()),
                merge(members, at + 1),
            )
        )
    return tuple(sorted(branches, key=lambda branch: (-branch.correct, -branch.answers, branch.text)))


def branch(nodes: pa.Table, end: str) -> Branch:
    """One tree (rows of TRACE, the root first)."""
    texts, states, whys = (nodes[name].to_pylist() for name in ("text", "state", "why"))
    visits, value = nodes["visits"].to_pylist(), nodes["value"].to_pylist()
    values, offsets = flat(nodes, "values")
    walks = []
    for route in paths(nodes, np.array(leaves(nodes), np.int64)):
        steps: list[tuple[str, tuple[int, int], float | None, int]] = []
        for i in route[1:]:
            cut = [piece for piece in re.split(f"(?<={re.escape(end)})", texts[i]) if piece] or [""]
            scores = values[offsets[i] : offsets[i + 1]].tolist()
            if len(scores) < len(cut):
                scores = [None] * (len(cut) - 1) + [value[i]]
            steps += [(piece, (i, j), scores[j], visits[i] or 0) for j, piece in enumerate(cut)]
        if len(steps) > DEEP:
            rest = steps[DEEP - 1 :]
            steps[DEEP - 1 :] = [("".join(piece for piece, *_ in rest), *rest[-1][1:])]
        columns = zip(*steps, strict=True) if steps else ((), (), (), ())
        walks.append(Walk(*map(tuple, columns), states[route[-1]] or "", whys[route[-1]] or ""))
    correct = sum(walk.state == State.CORRECT for walk in walks)
    return Branch(texts[0], sum(bool(walk.state) for walk in walks), correct, "", "", None, visits[0] or 0, merge(walks))


class Trees:
    """Collects the trees that the report shows while units are read.

    step_end: what ends a step; held_out: the ids of the held-out problems.
    """

    def __init__(self, step_end: str, held_out: Iterable[str]):
        self._step_end, self._held_out = step_end, set(islice(held_out, HELD_OUT))
        self._shown: dict[tuple[str, str], tuple[Problem, dict[str, Branch]]] = {}  # by kind and problem: trees by label
        self._count: Counter = Counter()

    def see(self, label: str, blind: bool, nodes: pa.Table, problems: Mapping[str, Problem]) -> None:
        """Take the trees of a unit that may be shown. label: of the round or the arm; blind: its problems are held out."""
        names = nodes["problem_id"].to_pylist()
        for start, stop in trees(nodes):
            problem = problems.get(names[start])
            if problem is None or not (problem.id in self._held_out if blind else self._count[label] < IN_TRAINING):
                continue
            self._count[label] += not blind
            _, shown = self._shown.setdefault(("held-out" if blind else "searched", problem.counted), (problem, {}))
            if label not in shown:  # of the variants of a question the first
                shown[label] = branch(nodes.slice(start, min(stop - start, NODES)), self._step_end)

    def chosen(self, first: Mapping[str, float], last: Mapping[str, float], room: int) -> list[Shown]:
        """Some problems of each round's own search, and the held-out ones that changed most; as many as there is room for.

        first, last: held-out solve rates of the first and of the last model, by problem; room: bytes.
        """
        change = {name: abs(last.get(name, 0) - first.get(name, 0)) for name in first}
        order = sorted(self._shown.items(), key=lambda each: (each[0][0] == "held-out", -change.get(each[0][1], 0), each[0][1]))
        shown, left = [], room
        for (kind, name), (problem, branches) in order:
            size = len(json.dumps([tree.plain() for tree in branches.values()])) + len(problem.prompt) + len(problem.answer)
            if left - size >= (room * 2 // 3 if kind == "searched" else 0):  # at most a third for what was searched
                left -= size
                shown.append(Shown(name, problem.level, problem.prompt, problem.answer, kind, branches))
        return sorted(shown, key=lambda each: each.kind != "held-out")
