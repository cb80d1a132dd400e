"""The searcher of a game: it has all games of a unit played at once, grades and commits them, each game as a tree."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter

import numpy as np
import pyarrow as pa

from cluster.engine import Generate, lists
from cluster.folder.layout import TRACE, node_id, tree_id
from cluster.folder.place import store_at
from cluster.remote import RemoteVerifier
from cluster.searcher import Done, Partners, Searcher, Unit
from iteration.games.hex import SEATS, Hex
from iteration.games.model import vocabulary
from iteration.games.play import Games, nodes_of
from iteration.respond import seed_of
from iteration.types import Verdict


class SelfPlay(Searcher):
    """Async Ray actor, as a searcher. A unit's games depend on the seed and the models alone."""

    def __init__(self, number: int, root: str, seed: int, generate: Generate, verifier: str = ""):
        self._number, self._store, self._seed, self._verifier = number, store_at(root), seed, verifier
        self._asking = {}

    async def search(self, unit: Unit, partners: Partners) -> Done:
        """Play the unit's games as its arm says, and commit them. Raises errors of the actors; then nothing is committed."""
        search = unit.arm.search.make()
        game = Hex(int(unit.prompts[0].partition("x")[0]))
        openings = [[game.cell(name) for name in prompt.split()[2:]] for prompt in unit.prompts]
        seats = np.array([SEATS.index(each.answer) for each in unit.problems]) if search.against else None
        seed = seed_of(self._seed, unit.key)
        played = await partners.generator.play.remote(openings, search, seed, seats, unit.model)
        verifier = RemoteVerifier([each.verify.remote for each in (partners.verifier, *partners.others)])
        moves = [line[len(opening) :] for line, opening in zip(played.lines, openings, strict=True)]
        texts = [" ".join(game.names[cell] for cell in each) for each in moves]
        graded = (verifier.verify(problem, [text]) for problem, text in zip(unit.problems, texts, strict=True))
        verdicts = [verdict for (verdict,) in await asyncio.gather(*graded)]
        rows = await asyncio.to_thread(table, unit, game, played, seats, verdicts, self._verifier, seed)
        won = self._store.put_table(unit.key, rows)
        states = Counter(str(verdict.state) for verdict in verdicts)
        evaluated = sum(len(each.games) for each in played.moves) * (search.simulations + 1)
        return Done(unit.key, evaluated, states, won)


def table(
    unit: Unit, game: Hex, played: Games, seats: np.ndarray | None, verdicts: list[Verdict], verifier: str, seed: int
) -> pa.Table:
    """A unit's games as rows, schema TRACE (iteration.games.play.nodes_of). An opening has no tokens: no net reads it."""
    nodes = nodes_of(game, played)
    tree, node, root = nodes["tree"].tolist(), nodes["node"].tolist(), nodes["node"] == 0
    ids = [tree_id(unit.round, unit.arm.name, unit.number, t) for t in range(len(verdicts))]
    words = {word: token for token, word in enumerate(vocabulary(game))}
    texts = [unit.prompts[t] if not n else game.names[c] for t, n, c in zip(tree, node, nodes["cell"].tolist(), strict=True)]
    told = [verdicts[t] if end else None for t, end in zip(tree, nodes["end"].tolist(), strict=True)]
    net = np.zeros(len(tree), int) if seats is None else (nodes["ply"] % 2 != seats[nodes["tree"]]) & ~root
    versions = [unit.model, unit.arm.search.options.get("against", "")]
    columns = {
        "id": [node_id(ids[t], n) for t, n in zip(tree, node, strict=True)],
        "round": np.full(len(tree), unit.round),
        "unit": np.full(len(tree), unit.number),
        "problem_id": [unit.problems[t].id for t in tree],
        "level": [unit.problems[t].level for t in tree],
        "token_ids": lists(
            [np.array([words[text]] if n else [], np.int32) for text, n in zip(texts, node, strict=True)], pa.int32()
        ),
        "text": [text if not n else f" {text}" for text, n in zip(texts, node, strict=True)],
        "final": nodes["end"],
        "values": lists([np.zeros(0, np.float32)] * len(tree), pa.float32()),
        "state": [verdict and str(verdict.state) for verdict in told],
        "answer": [verdict and verdict.answer for verdict in told],
        "reward": [verdict and verdict.reward for verdict in told],
        "why": [verdict and verdict.why for verdict in told],
        "verifier": [verdict and verifier for verdict in told],
        "model_version": [versions[i] for i in net.astype(int).tolist()],
        "judge_tokens": [None if n else 0 for n in node],
        "seed": np.full(len(tree), seed),
        "created_at": [datetime.datetime.now(datetime.UTC)] * len(tree),
    }
    columns |= {name: nodes[name] for name in ("tree", "node", "parent", "depth", "visits")}
    columns |= {name: pa.array(nodes[name], pa.float32(), from_pandas=True) for name in ("prior", "value")}
    arrays = []
    for field in TRACE:
        column = columns.get(field.name)
        whole = isinstance(column, pa.Array)
        arrays.append(pa.nulls(len(tree), field.type) if column is None else column if whole else pa.array(column, field.type))
    return pa.table(arrays, schema=TRACE)
