"""The actor that runs all problems of a unit through `respond` concurrently, and commits the results."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.engine import Generate, lists
from cluster.folder.arm import Arm
from cluster.folder.layout import SCORE, TRACE, model_folder, model_key, node_id, tree_id, unit_key, unit_of
from cluster.folder.place import store_at
from cluster.remote import Batcher, RemoteJudge, RemotePolicy, RemoteVerifier, StepJudge, adopt, encode, shown
from cluster.verifier import here
from iteration.examples import flat, tree_of
from iteration.parts import Part
from iteration.protocols import Continues, Judge, uses_judge
from iteration.respond import Meeting, grade, respond, seed_of
from iteration.steps import begun, step_ends
from iteration.teacher import Given
from iteration.types import Begun, History, Node, Problem, State, Step, Tree, Verdict

FEW = 3  # problems of a stalled unit that are named; the rest are counted


@dataclass(frozen=True, slots=True)
class Unit:
    """A fixed block of problems of one round, searched, committed and retried as a whole."""

    arm: Arm  # how it is searched
    round: int
    number: int
    problems: list[Problem]
    prompts: list[str]
    model: str  # version of the weights that answer
    history: list[History]  # of each problem in earlier rounds
    judge: str = ""  # version of the value model that scores steps; "" for none
    given: list[list[Given]] = field(default_factory=list)  # answers made elsewhere, by problem; none where the model answers

    @property
    def key(self) -> str:
        return unit_key(self.round, self.arm.name, self.number)

    @property
    def logprobs(self) -> bool:
        """Are the logprobs of all its answers stored? Where learning reads them; else of one unit of a round's training
        problems, for the report's entropy."""
        return self.arm.logprobs or (self.number == 0 and not self.arm.blind)

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True, slots=True)
class Waiting:
    """The actors that the problems of a running unit wait for."""

    unit: str
    counts: dict[str, int]  # problems by the kind of actor that they wait for
    slowest: list[tuple[str, float]]  # the slowest few problems and their seconds


@dataclass(slots=True)
class Done:
    """The result that a searcher reports for a committed unit. Only a hint: the listing of the store decides."""

    key: str
    tokens: int = 0
    states: Counter = field(default_factory=Counter)
    won: bool = True  # False: another searcher committed the unit first
    waves: int = 0  # maximum over its problems: sequential calls to the policy


@dataclass(frozen=True, slots=True)
class Partners:
    """The actors that search a unit."""

    generator: Any
    verifier: Any
    judge: Any = None
    others: tuple = ()  # verifiers that retry what the first one failed at


class Searcher:
    """Async Ray actor. It is stateless: a restarted one works the same."""

    def __init__(self, number: int, root: str, seed: int, generate: Generate, verifier: str = ""):
        from transformers import AutoTokenizer

        self._number, self._store, self._seed, self._generate = number, store_at(root), seed, generate
        self._verifier = verifier  # its name, version and options, stored with verdicts
        self._tokenizer = AutoTokenizer.from_pretrained(self._store.folder(model_folder(model_key(0))))
        self._ends = step_ends(self._tokenizer, generate.step_end)
        self._asking: dict[str, dict[str, Batcher]] = {}  # batchers of each running unit, by kind of actor

    def __repr__(self) -> str:
        return f"Searcher {self._number}"

    async def ready(self) -> str:
        return here()

    async def waiting(self) -> list[Waiting]:
        """The pending requests of the running units."""
        units = []
        for unit, asked in self._asking.items():
            each = {kind: batcher.waiting() for kind, batcher in asked.items()}
            slowest = sorted((one for several in each.values() for one in several), key=lambda one: -one[1])[:FEW]
            units.append(Waiting(unit, {kind: len(several) for kind, several in each.items() if several}, slowest))
        return units

    def _judge(self, partners: Partners, judge: Part, version: str) -> RemoteJudge | StepJudge | None:
        """What scores steps: the verifier, or value model `version`; None where no such model exists yet."""
        part = judge.make()
        if not part.learned:
            return StepJudge(partners.verifier.steps.remote)
        if not version:
            return None
        return RemoteJudge(part, self._ends, lambda prefixes: partners.judge.score.remote(prefixes, version))

    async def search(self, unit: Unit, partners: Partners) -> Done:
        """Search a unit as its arm says, and commit it.

        Raises errors of the engine; then nothing is committed: a unit exists whole or not at all.
        """
        explorer = unit.arm.search.make()
        prompts = {problem.id: prompt for problem, prompt in zip(unit.problems, unit.prompts, strict=True)}
        generate = lambda wishes: partners.generator.generate.remote(wishes, unit.model)  # noqa: E731
        policy = RemotePolicy(self._tokenizer, prompts, self._generate, generate, unit.logprobs)
        ends = RemoteVerifier([each.verify.remote for each in (partners.verifier, *partners.others)])
        led = unit.arm.judge if uses_judge(explorer) else None
        scorer = self._judge(partners, led, unit.judge) if led else None
        asked = {"generator": policy, "verifier": ends, "judge": scorer}
        self._asking[unit.key] = {kind: each.batch for kind, each in asked.items() if each}
        try:
            return await self._search(unit, explorer, policy, ends, scorer)
        finally:
            self._asking.pop(unit.key, None)

    async def _search(self, unit: Unit, explorer, policy: RemotePolicy, ends: RemoteVerifier, scorer: Judge | None) -> Done:
        seeds = [seed_of(self._seed, unit.key, problem.id) for problem in unit.problems]
        meeting, budget, seen = Meeting(len(unit.problems)), unit.arm.budget, None if unit.arm.blind else ends
        continues = isinstance(explorer, Continues) and explorer.continues
        old = await asyncio.to_thread(self._begun, unit.history) if continues else {}
        jobs = [
            respond(problem, explorer, policy, seen, scorer, budget, seed, history, meeting, old.get(history.tree, ()))
            for problem, seed, history in zip(unit.problems, seeds, unit.history, strict=True)
        ]
        trees = await asyncio.gather(*jobs)
        await asyncio.gather(*(grade(tree, tree.nodes[1:], ends) for tree in trees))
        sampled = [node for tree in trees for node in tree.nodes[1:] if not node.origin]
        stale = {node.step.model for node in sampled if node.step.model} - {unit.model}
        if stale:
            raise RuntimeError(f"{unit.key} needs answers of {unit.model}, but got answers of {', '.join(sorted(stale))}")
        return self._commit(unit, trees)

    async def adopt(self, unit: Unit, partners: Partners) -> Done:
        """Grade the answers made elsewhere that a unit brings, as if the model had written them, and commit them."""
        ends = RemoteVerifier([each.verify.remote for each in (partners.verifier, *partners.others)])
        self._asking[unit.key] = {"verifier": ends.batch}
        try:
            trees = await asyncio.to_thread(self._adopted, unit)
            await asyncio.gather(*(grade(tree, tree.nodes[1:], ends) for tree in trees))
            return self._commit(unit, trees)
        finally:
            self._asking.pop(unit.key, None)

    def _adopted(self, unit: Unit) -> list[Tree]:
        """A tree for each problem of a unit, with the answers that it brings."""
        trees = []
        for problem, prompt, given in zip(unit.problems, unit.prompts, unit.given, strict=True):
            token_ids, text = encode(self._tokenizer, prompt), shown(self._tokenizer, prompt)
            root = Step(token_ids, np.zeros(len(token_ids), np.float32), text, False)
            trees.append(Tree.root(problem, root, seed_of(self._seed, unit.key, problem.id)))
            adopt(trees[-1], given, self._tokenizer, self._generate)
        return trees

    def _commit(self, unit: Unit, trees: list[Tree]) -> Done:
        won = self._store.put_table(unit.key, table(unit, trees, self._verifier))
        states = Counter(str(node.verdict.state) for tree in trees for node in tree.nodes if node.verdict)
        waves = max(tree.cost.waves for tree in trees)
        return Done(unit.key, sum(tree.cost.tokens for tree in trees), states, won, waves)

    def _begun(self, histories: list[History]) -> dict[str, list[Begun]]:
        """The answers in the newest earlier tree of each problem, by tree id."""
        units: dict[str, set[str]] = {}
        for history in histories:
            if history.tree:
                units.setdefault(unit_key(*unit_of(history.tree)), set()).add(history.tree)
        by_tree: dict[str, list[Begun]] = {}
        columns = ["id", "node", "parent", "token_ids", "logprobs", "text", "final", "model_version", "state"]
        decode = partial(self._tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for key, trees in units.items():
            by_tree |= begun(self._store.table(key, columns), trees, self._ends, decode)
        return by_tree

    async def score(self, key: str, target: str, partners: Partners, judge: Part, version: str) -> Done:
        """Score the answers of a committed unit with a value model; commits a side file (SCORE) as `target`."""
        nodes = self._store.table(key, ["id", "node", "parent", "token_ids", "final", "text", "problem_id", "state"])
        scorer = self._judge(partners, judge, version)
        trees = trees_of(nodes)
        leaves = [[node for node in tree.nodes[1:] if node.verdict is not None] for tree in trees]
        values = await asyncio.gather(*(scorer.score(tree, each) for tree, each in zip(trees, leaves, strict=True)))
        names = [tree.problem.id for tree in trees]  # the roots' trace ids
        rows = [
            (node_id(tree_of(name), node.index), scores)
            for name, each, scored in zip(names, leaves, values, strict=True)
            for node, scores in zip(each, scored, strict=True)
        ]
        columns = [
            pa.array([name for name, _ in rows], pa.string()),
            lists([np.array(v, np.float32) for _, v in rows], pa.float32()),
        ]
        won = self._store.put_table(target, pa.table(columns, schema=SCORE))
        return Done(target, won=won)


def trees_of(nodes: pa.Table) -> list[Tree]:
    """A unit's rows as trees, with what a judge needs; the id of each problem is its root's trace id."""
    values, offsets = flat(nodes, "token_ids")
    trees: list[Tree] = []
    for i, row in enumerate(nodes.drop_columns("token_ids").to_pylist()):
        step = Step(values[offsets[i] : offsets[i + 1]], np.zeros(0, np.float32), row["text"], row["final"])
        if row["node"] == 0:
            trees.append(Tree.root(Problem(row["id"], row["text"], ""), step, 0))
            continue
        tree = trees[-1]
        node = Node(row["node"], row["parent"], tree.nodes[row["parent"]].depth + 1, step)
        node.verdict = Verdict(State(row["state"])) if row["state"] else None
        tree.nodes.append(node)
    return trees


def table(unit: Unit, trees: list[Tree], verifier: str = "") -> pa.Table:
    """A unit's trees as rows, schema TRACE, each tree from its root. verifier: name, version and options, for the verdicts."""
    rows = [(number, tree, node) for number, tree in enumerate(trees) for node in tree.nodes]
    verdicts = [node.verdict for _, _, node in rows]
    now = datetime.datetime.now(datetime.UTC)
    columns = {
        "id": [node_id(tree_id(unit.round, unit.arm.name, unit.number, t), node.index) for t, _, node in rows],
        "round": [unit.round] * len(rows),
        "unit": [unit.number] * len(rows),
        "problem_id": [tree.problem.id for _, tree, _ in rows],
        "level": [tree.problem.level for _, tree, _ in rows],
        "tree": [number for number, _, _ in rows],
        "node": [node.index for _, _, node in rows],
        "parent": [node.parent for _, _, node in rows],
        "depth": [node.depth for _, _, node in rows],
        "token_ids": lists([node.step.token_ids for _, _, node in rows], pa.int32()),
        "logprobs": lists([node.step.logprobs for _, _, node in rows], pa.float32()),
        "text": [node.step.text for _, _, node in rows],
        "final": [node.step.final for _, _, node in rows],
        "value": [node.value for _, _, node in rows],
        "values": lists([np.array(node.values or [], np.float32) for _, _, node in rows], pa.float32()),
        "visits": [node.visits for _, _, node in rows],
        "prior": [node.prior for _, _, node in rows],
        "state": [verdict and str(verdict.state) for verdict in verdicts],
        "answer": [verdict and verdict.answer for verdict in verdicts],
        "reward": [verdict and verdict.reward for verdict in verdicts],
        "why": [verdict and verdict.why for verdict in verdicts],
        "verifier": [verdict and verifier for verdict in verdicts],
        "model_version": [node.step.model or unit.model for _, _, node in rows],
        "judge_version": [unit.judge if node.values else None for _, _, node in rows],
        "judge_tokens": [None if node.index else tree.cost.judge_tokens for _, tree, node in rows],
        "seed": [tree.seed for _, tree, _ in rows],
        "created_at": [now] * len(rows),
        "origin": [node.origin or None for _, _, node in rows],
    }
    arrays = [
        column if isinstance(column, pa.Array) else pa.array(column, field.type)
        for column, field in ((columns[field.name], field) for field in TRACE)
    ]
    return pa.table(arrays, schema=TRACE)
