"""Self-play: every searched position of a game is an example, with its visits and the game's result.

Source: Silver et al. 2017, equation 1 and "self-play"; the loss is in iteration/games/net.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from iteration.examples import flat, item_table, tree_of
from iteration.games.hex import SEATS, Hex
from iteration.games.model import OWN

COLUMNS = ["id", "node", "parent", "depth", "token_ids", "text", "visits", "answer"]  # of a trace, that `positions` reads


@dataclass
class Selfplay:
    plays: ClassVar[bool] = True
    sequences: ClassVar[int] = 1

    def items(self, kept: pa.Table, nodes: Callable[[], pa.Table]) -> pa.Table:
        """One item for each searched position; it counts as one token."""
        rows = nodes()
        trees = {tree_of(name) for name in kept["id"].to_pylist()}
        searched = rows["id"].take(pa.array(np.unique(above(rows)[visited(rows)]), pa.int64())).to_pylist()
        names = [name for name in searched if tree_of(name) in trees]
        return item_table(names, [1] * len(names))

    def positions(self, nodes: pa.Table, ids: list[str], game: Hex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(boards, policy, results) as `iteration.games.net.loss` takes them, of the positions `ids` of a unit's nodes."""
        up, seen, (tokens, _) = above(nodes), visited(nodes), flat(nodes, "token_ids")
        depth, answers = nodes["depth"].to_numpy(), nodes["answer"].to_pylist()
        roots = np.flatnonzero(depth == 0)
        tree = np.searchsorted(roots, np.arange(len(nodes)), "right") - 1  # of each row
        prompts = nodes["text"].take(pa.array(roots)).to_pylist()
        lines = [[game.cell(name) for name in prompt.split()[2:]] for prompt in prompts]
        plies = np.array([len(line) for line in lines])[tree] + depth  # moves before the position
        winner = np.zeros(len(roots), int)
        for i in [i for i, answer in enumerate(answers) if answer]:
            winner[tree[i]] = SEATS.index(answers[i])
        boards = np.zeros((len(nodes), game.cells), np.int8)
        boards[roots] = [game.played(line)[0] for line in lines]
        cells = np.zeros(len(nodes), np.int64)  # as the player who moves sees them
        below = depth > 0
        cells[below] = tokens - OWN  # one of each move, none of the openings
        cells = np.where(plies % 2 == 0, game.turned[cells], cells)  # the move before an even ply is the second player's
        onward = np.zeros(len(nodes), bool)
        onward[up[below]] = True
        for level in range(1, int(depth.max(initial=0)) + 1):
            here = np.flatnonzero(onward & (depth == level))
            boards[here], _ = game.after(boards[up[here]], cells[here])
        policy = np.zeros((len(nodes), game.cells), np.float32)
        policy[up[seen], cells[seen]] = nodes["visits"].to_numpy()[seen]
        places = {name: i for i, name in enumerate(nodes["id"].to_pylist())}
        rows = np.array([places[name] for name in ids], np.int64)
        shares = policy[rows] / policy[rows].sum(1, keepdims=True)
        return boards[rows], shares, np.where(winner[tree[rows]] == plies[rows] % 2, 1.0, -1.0).astype(np.float32)


def above(nodes: pa.Table) -> np.ndarray:
    """The row of each node's parent: int64 [rows]; meaningless at roots."""
    return np.arange(len(nodes)) - nodes["node"].to_numpy() + nodes["parent"].to_numpy()


def visited(nodes: pa.Table) -> np.ndarray:
    """Which nodes the search has visited: bool [rows], roots left out."""
    return (nodes["visits"].to_numpy() > 0) & (nodes["parent"].to_numpy() >= 0)
