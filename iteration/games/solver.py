"""Perfect play on small boards of Hex: which player wins a position, by depth-first search with a table of transpositions."""

from __future__ import annotations

from functools import cache

import numpy as np

from iteration.games.hex import Hex

LARGEST = 4  # boards up to this size are solved in seconds


@cache
def of(size: int) -> Solver:
    """The solver of a board, one for this process: what it has found stays."""
    return Solver(Hex(size))


class Solver:
    """Positions are pairs of bit masks (own stones, the other's) of a board as the player to move sees it."""

    def __init__(self, game: Hex):
        if game.size > LARGEST:
            raise ValueError(f"size is {game.size}; boards up to {LARGEST} can be solved")
        masks = np.arange(1 << game.cells, dtype=np.int64)
        stones = (masks[:, None] >> np.arange(game.cells) & 1).astype(bool)
        self._game = game
        self._connects = game.connected(stones).tobytes()  # by mask
        self._turned = (stones[:, game.turned] @ (1 << np.arange(game.cells))).tolist()  # each mask transposed
        middle = (game.size - 1) / 2
        row, column = np.divmod(np.arange(game.cells), game.size)
        central = np.argsort(np.abs(row + column - 2 * middle) + np.abs(row - column) / 2, kind="stable")
        self._bits = [1 << cell for cell in central.tolist()]  # the short diagonal first
        self._known: dict[int, bool] = {}

    def wins(self, board: np.ndarray) -> bool:
        """Does the player to move win a board, int8 [cells], on which nobody has won yet?"""
        bits = 1 << np.arange(self._game.cells)
        return self._wins(int((board == 1) @ bits), int((board == -1) @ bits))

    def moves(self, board: np.ndarray) -> np.ndarray:
        """Which moves win: bool [cells]."""
        return np.array([self.good(board, cell) for cell in range(self._game.cells)])

    def good(self, board: np.ndarray, cell: int) -> bool:
        """Does a move win? False for a cell that is taken."""
        if board[cell]:
            return False
        (after,), (won,) = self._game.after(board[None], np.array([cell]))
        return bool(won) or not self.wins(after)

    def _wins(self, own: int, other: int) -> bool:
        key = own << self._game.cells | other
        known = self._known.get(key)
        if known is not None:
            return known
        free = [own | bit for bit in self._bits if not (own | other) & bit]
        turned = self._turned[other]
        won = any(self._connects[mine] for mine in free)
        won = won or any(not self._wins(turned, self._turned[mine]) for mine in free)
        self._known[key] = won
        return won
