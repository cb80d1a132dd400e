"""Hex: the moves are replayed by the rules; the seat that the problem names has to have won, or to win under perfect play.

A game that is over is decided by union-find, which no search uses. Of one that is not, as in a problem with a single move, the
winner is known on boards up to 4 x 4; on larger ones it cannot be graded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from iteration.games import hex as games
from iteration.games import solver
from iteration.games.hex import SEATS
from iteration.types import Problem, State, Verdict


@dataclass
class Hex:
    plays: ClassVar[bool] = True

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [self._one(problem, answer) for problem, answer in zip(problems, answers, strict=True)]

    def _one(self, problem: Problem, answer: str) -> Verdict:
        board, _, *given = problem.prompt.split()  # e.g. 4x4 game b2 c3
        game, moves = games.Hex(int(board.partition("x")[0])), answer.split()
        try:
            line = [game.cell(name) for name in [*given, *moves]]
            board, winner = game.played(line)
        except ValueError as error:
            return Verdict(State.UNPARSEABLE, why=str(error))
        if not moves:
            return Verdict(State.UNPARSEABLE, why="no move")
        if winner < 0 and game.size > solver.LARGEST:
            return Verdict(State.UNPARSEABLE, why=f"the game is not over after {len(line)} moves")
        if winner < 0:
            mover = len(line) % 2
            winner = mover if solver.of(game.size).wins(board) else 1 - mover
        won = SEATS[winner]
        right = won == problem.answer
        return Verdict(State.CORRECT if right else State.WRONG, won, float(right))
