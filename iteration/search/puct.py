"""PUCT over the moves of a board game, for many games at once: every wave adds one node to the tree of every game.

The moves of a position are all known, so nothing is sampled and no node widens. It is a generator: it yields the boards to
evaluate, of all games in one array, and is sent the net's priors and values. A move that was not tried yet counts with the
mean value of its position.

Sources: Silver et al. 2018 (AlphaZero; c(s) is in its pseudocode); Jones 2021, Scaling Scaling Laws with Board Games.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from iteration.parts import above, at_least, share

_C_BASE = 19652
_NEVER = -1e9  # the prior of a move that is not legal
_VISITS, _TOTAL, _PRIOR = range(3)  # of an edge

Evaluated = tuple[np.ndarray, np.ndarray]  # priors, float32 [n, cells], 0 where not legal; values in [-1, 1], float32 [n]


def weight(c: float, visits: np.ndarray | float) -> np.ndarray | float:
    """c(s) sqrt(N): what P / (1 + n) of a child is multiplied by. visits: of the parent."""
    return (c + np.log((visits + _C_BASE + 1) / _C_BASE)) * np.sqrt(visits)


class Rules(Protocol):
    """A game of two players on cells (iteration/games/hex.py)."""

    cells: int

    def after(self, boards: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True, slots=True)
class Searched:
    """The trees of n positions, at their roots.

    visits: int32 [n, cells], zeros without a search; priors: float32 [n, cells], without noise; worth: float32 [n, cells], the
    mean value of each visited move for the player to move, in [-1, 1]; value: float32 [n], the same of the positions.
    """

    visits: np.ndarray
    priors: np.ndarray
    worth: np.ndarray
    value: np.ndarray


@dataclass
class Puct:
    plays: ClassVar[bool] = True
    judged: ClassVar[bool] = False
    simulations: int = 64  # nodes added to the tree of a move; 0: the net's priors choose it
    c: float = 1.5  # weight of the prior against the value
    noise: float = 0.25  # share of Dirichlet noise in the root's priors
    alpha: float = 10.0  # of that noise, divided by the number of legal moves
    temperature: float = 1.0  # of the moves of the first plies, drawn by visits ^ (1 / temperature); later ones are the best
    hot: int = 6  # plies, counted from the empty board, whose moves are drawn so
    plies: int = 0  # moves that are searched; 0: to the end of the game
    against: str = ""  # the version of the model that plays the other seat; "": the same model plays both

    def __post_init__(self) -> None:
        at_least(self, simulations=0, c=0, hot=0, plies=0)
        above(self, alpha=0, temperature=0)
        share(self, "noise")

    def simulate(self, game: Rules, boards: np.ndarray, rng: np.random.Generator) -> Generator[np.ndarray, Evaluated, Searched]:
        """Search positions that are not over, int8 [n, cells]."""
        priors, values = yield boards
        trees = _Trees(game, boards, self.simulations + 1)
        trees.expand(trees.roots, priors, values)
        if self.noise and self.simulations:
            free = boards == 0
            drawn = rng.standard_gamma(self.alpha / free.sum(1, keepdims=True), boards.shape) * free + 1e-12 * free
            noisy = (1 - self.noise) * priors + self.noise * drawn / drawn.sum(1, keepdims=True)
            trees.edges[trees.roots, _PRIOR] = np.where(free, noisy, _NEVER)
        for _ in range(self.simulations):
            asked = trees.descend(self.c)
            trees.back_up((yield asked) if len(asked) else None)
        visits, total, _ = trees.edges[trees.roots].transpose(1, 0, 2)
        worth = total / np.maximum(visits, 1)
        return Searched(visits.astype(np.int32), priors, worth, trees.sums[trees.roots] / trees.counts[trees.roots])

    def choose(self, found: Searched, plies: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The moves to play: int64 [n]. plies: of each position, int [n]."""
        weights = found.visits.astype(np.float64) if self.simulations else found.priors.astype(np.float64)
        best = weights.argmax(1)
        cold = weights / weights.max(1, keepdims=True)
        shares = np.cumsum(cold ** (1 / self.temperature), axis=1)
        drawn = (shares <= rng.random((len(shares), 1)) * shares[:, -1:]).sum(1)
        return np.where(plies < self.hot, np.minimum(drawn, weights.shape[1] - 1), best)


class _Trees:
    """The trees of n games as arrays: node k of game i is row i * nodes + k."""

    def __init__(self, game: Rules, boards: np.ndarray, nodes: int):
        n, cells = boards.shape
        self._game, self._cells, self._wave = game, cells, 0
        self.roots = np.arange(n) * nodes
        self.edges = np.zeros((n * nodes, 3, cells), np.float32)
        self.children = np.full(n * nodes * cells, -1, np.int32)
        self.boards = np.zeros((n * nodes, cells), np.int8)
        self.boards[self.roots] = boards
        self.over = np.zeros(n * nodes, bool)  # the move that led here has won
        self.counts = np.ones(n * nodes, np.float32)  # visits of each node, with its own evaluation
        self.sums = np.zeros(n * nodes, np.float32)  # summed values for the player to move there

    def expand(self, rows: np.ndarray, priors: np.ndarray, values: np.ndarray) -> None:
        self.edges[rows, _PRIOR] = np.where(self.boards[rows] == 0, priors, _NEVER)
        self.sums[rows] = values

    def descend(self, c: float) -> np.ndarray:
        """Walk from every root to a new node. Returns the boards of those that are not over, to be evaluated."""
        self._wave += 1
        games, rows = np.arange(len(self.roots)), self.roots
        self._path: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # of each depth: games, rows, edges
        self._length = np.zeros(len(games), np.int64)
        leaves = np.zeros(len(games), np.int64)
        fresh: list[np.ndarray] = []
        while len(games):
            edges, counts = self.edges[rows], self.counts[rows]
            visits = edges[:, _VISITS]
            mean = (self.sums[rows] / counts)[:, None]
            worth = np.where(visits > 0, edges[:, _TOTAL] / np.maximum(visits, 1), mean)
            score = worth + weight(c, counts)[:, None] * edges[:, _PRIOR] / (1 + visits)
            taken = rows * self._cells + score.argmax(1)
            self._path.append((games, rows, taken))
            self._length[games] += 1
            below = self.children[taken]
            new = below < 0
            fresh.append(np.flatnonzero(new))
            leaves[games] = below
            onward = ~new & ~self.over[below]
            games, rows = games[onward], below[onward].astype(np.int64)
        born = np.concatenate([games[new] for (games, _, _), new in zip(self._path, fresh, strict=True)])
        edges = np.concatenate([taken[new] for (_, _, taken), new in zip(self._path, fresh, strict=True)])
        rows = self.roots[born] + self._wave
        self.children[edges], leaves[born] = rows, rows
        parents, moves = np.divmod(edges, self._cells)
        self.boards[rows], self.over[rows] = self._game.after(self.boards[parents], moves)
        self.sums[rows[self.over[rows]]] = -1.0  # the player to move has lost
        self._leaves, self._asked = leaves, rows[~self.over[rows]]
        return self.boards[self._asked]

    def back_up(self, evaluated: Evaluated | None) -> None:
        """Add the value of each walk's last node to all of its edges."""
        if evaluated is not None:
            self.expand(self._asked, *evaluated)
        values = np.where(self.over[self._leaves], -1.0, self.sums[self._leaves]).astype(np.float32)
        edges = self.edges.reshape(-1)
        for depth, (games, rows, taken) in enumerate(self._path):
            signs = 1 - 2 * ((self._length[games] - depth) % 2)  # the player to move alternates
            gained = (values[games] * signs).astype(np.float32)
            at = taken + rows * (2 * self._cells)  # edge (row, visits, cell)
            edges[at] += 1
            edges[at + self._cells] += gained
            self.counts[rows] += 1
            self.sums[rows] += gained
