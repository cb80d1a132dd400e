"""Hex: openings from which games are played, and positions in which the player to move has to keep a win.

train: openings by self-play; validation: the same openings, played by two models from both seats; test: positions with a known
winner, of each level those with so many stones (boards up to 4 x 4), or on larger boards openings played against the first
model. A prompt names what is asked and the moves so far; the expected answer is the seat that has to win.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import ClassVar

import numpy as np

from iteration.games import hex as games
from iteration.games import solver
from iteration.games.hex import SEATS
from iteration.games.model import GAME, MATCH, MOVE
from iteration.parts import at_least
from iteration.types import Problem


@dataclass
class Hex:
    plays: ClassVar[bool] = True
    size: int = 4  # rows and columns, up to 11
    opening: int = 2  # plies of every game that are drawn

    def __post_init__(self) -> None:
        at_least(self, opening=0)
        self.rules()

    def rules(self) -> games.Hex:
        return games.Hex(self.size)

    @property
    def solved(self) -> bool:
        """Is perfect play known?"""
        return self.size <= solver.LARGEST

    def levels(self) -> Sequence[int]:
        return [0]

    def splits(self) -> tuple[str, ...]:
        return "train", "validation", "test"

    def draw(self, split: str, level: int, n: int, rng: np.random.Generator) -> list[Problem]:
        if split == "train":  # games of one opening differ by their moves
            drawn = rng.integers(len(self._openings), size=n)
            return [self._problem(GAME, self._openings[i], 0, 0, f"-{k}") for k, i in enumerate(drawn.tolist())]
        if split == "test" and self.solved:
            return [self._problem(MOVE, line, level % 2, level) for line in islice(self._won(level, rng), n)]
        both = [(line, seat) for line in self._openings for seat in (0, 1)]
        word = MATCH if split == "validation" else MOVE
        return [self._problem(word, both[i][0], both[i][1], level) for i in rng.permutation(len(both))[:n]]

    def prompt(self, problem: Problem) -> str:
        return problem.prompt

    @cached_property
    def _openings(self) -> list[list[int]]:
        return self.rules().openings(self.opening)

    def _won(self, plies: int, rng: np.random.Generator) -> Iterator[list[int]]:
        """The positions with so many stones that the player to move wins, in random order."""
        game = self.rules()
        lines = game.openings(plies)
        return (lines[i] for i in rng.permutation(len(lines)) if solver.of(game.size).wins(game.played(lines[i])[0]))

    def _problem(self, word: str, line: list[int], seat: int, level: int, mark: str = "") -> Problem:
        moves = [self.rules().names[cell] for cell in line]
        name = "-".join([f"hex{self.size}", word, *moves, SEATS[seat]]) + mark
        return Problem(name, " ".join([f"{self.size}x{self.size}", word, *moves]), SEATS[seat], level)
