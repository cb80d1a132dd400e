"""The rules of Hex over many games at once, and the winner of one game by union-find.

The first player connects top and bottom, the second left and right; there is no swap rule: openings are drawn. A
*board* is what the player to move sees: int8 [cells], 1 for own stones, -1 for the other's, 0 for empty cells, transposed for
the second player, so that the player to move always connects top and bottom. Cells are numbered row by row; in the names of a
game (b3: column b, row 3) they are those of the first player.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from iteration.parts import at_least

SEATS = "first", "second"
NEIGHBOURS = ((-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0))  # (row, column)


@dataclass(frozen=True)
class Hex:
    size: int = 4

    def __post_init__(self) -> None:
        at_least(self, size=2)
        if self.size > 11:
            raise ValueError(f"size is {self.size}; expected at most 11")

    @property
    def cells(self) -> int:
        return self.size * self.size

    @cached_property
    def turned(self) -> np.ndarray:
        """The cell that each cell becomes on the other player's board, int64 [cells]: its own inverse."""
        return np.arange(self.cells).reshape(self.size, self.size).T.ravel()

    @cached_property
    def names(self) -> list[str]:
        return [f"{string.ascii_lowercase[c]}{r + 1}" for r in range(self.size) for c in range(self.size)]

    def start(self, games: int) -> np.ndarray:
        """Empty boards: int8 [games, cells]."""
        return np.zeros((games, self.cells), np.int8)

    def after(self, boards: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(the boards that the other player sees after the moves, whether the move has won: bool [n]).

        boards: int8 [n, cells]; moves: int [n], cells of these boards. Raises ValueError for a move on a stone.
        """
        if boards[np.arange(len(boards)), moves].any():
            raise ValueError("a move on a cell that is taken")
        boards = boards.copy()
        boards[np.arange(len(boards)), moves] = 1
        return -boards[:, self.turned], self.connected(boards == 1)

    def connected(self, stones: np.ndarray) -> np.ndarray:
        """Whether stones, bool [n, cells], connect the top with the bottom row: bool [n]. A flood fill over rows of bits."""
        own = stones.reshape(-1, self.size, self.size) @ (1 << np.arange(self.size, dtype=np.int32))
        own = np.ascontiguousarray(own.T)  # [rows, n]
        filled = np.zeros_like(own)
        filled[0] = own[0]
        while True:
            before = filled.copy()
            filled[1:] |= (filled[:-1] | filled[:-1] >> 1) & own[1:]  # below (r, c) are (r + 1, c - 1) and (r + 1, c)
            filled[:-1] |= (filled[1:] | filled[1:] << 1) & own[:-1]
            filled |= (filled << 1 | filled >> 1) & own
            if (filled == before).all():
                return filled[-1] != 0

    def played(self, line: list[int]) -> tuple[np.ndarray, int]:
        """(the board int8 [cells] after the moves of one game, its winner). line: cells as the first player sees them.

        The winner is 0 or 1, the seat that has connected its sides, or -1. Raises ValueError for a cell that is taken or off
        the board, and for moves after the end.
        """
        links = list(range(self.cells + 4))  # a forest over the cells and the sides: top, bottom, left, right
        top, bottom, left, right = range(self.cells, self.cells + 4)
        owner = [-1] * self.cells

        def root(i: int) -> int:
            while links[i] != i:
                links[i] = i = links[links[i]]
            return i

        winner = -1
        for ply, cell in enumerate(line):
            if winner >= 0 or not 0 <= cell < self.cells or owner[cell] >= 0:
                raise ValueError(f"move {ply + 1} is not legal")
            seat, (row, column) = ply % 2, divmod(cell, self.size)
            owner[cell] = seat
            near = [(row + r, column + c) for r, c in NEIGHBOURS]
            inside = [r * self.size + c for r, c in near if 0 <= r < self.size and 0 <= c < self.size]
            place, (low, high) = (row, column)[seat], ((top, bottom), (left, right))[seat]
            sides = [low] * (place == 0) + [high] * (place == self.size - 1)
            for other in [each for each in inside if owner[each] == seat] + sides:
                links[root(other)] = root(cell)
            winner = seat if root(low) == root(high) else -1
        mover = len(line) % 2
        seen = np.array([0 if seat < 0 else 1 if seat == mover else -1 for seat in owner], np.int8)
        return seen[self.turned] if mover else seen, winner

    def cell(self, name: str) -> int:
        """The cell of a name. Raises ValueError where there is none."""
        if name not in self.names:
            raise ValueError(f"no cell {name!r} on a board of size {self.size}")
        return self.names.index(name)

    def openings(self, plies: int) -> list[list[int]]:
        """Every line of so many moves, without lines that are over or that another order of moves gives. On boards so small
        that a line may win earlier, shorter lines are left out."""
        lines: dict[bytes, list[int]] = {b"": []}
        for _ in range(plies):
            grown: dict[bytes, list[int]] = {}
            for line in lines.values():
                for cell in sorted(set(range(self.cells)) - set(line)):
                    board, winner = self.played([*line, cell])
                    if winner < 0:
                        grown.setdefault(board.tobytes(), [*line, cell])
            lines = grown
        return list(lines.values())
