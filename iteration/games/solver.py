"""Perfect play on small boards of Hex: which player wins a position, by depth-first search with a table of transpositions.

A proof names its carrier: the empty cells that it depends on. Where a move loses, only moves inside the carrier of the reply
can do better, and a position is lost when no such move is left.
Source: Hayward, Bjornsson, Johanson, Kan, Po and van Rijswijck 2003, Solving 7x7 Hex (must-play regions).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from iteration.games.hex import NEIGHBOURS, Hex

AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 0), (1, -1), (0, -1))  # neighbours, one after the other around a cell
LARGEST = 4  # boards up to this size are solved in seconds; on 5 x 5 an early position takes seconds to minutes


@cache
def of(size: int) -> Solver:
    """The solver of a board, one for this process: what it has found stays."""
    return Solver(Hex(size))


class Solver:
    """Positions are pairs of bit masks: the stones of the seat to move, and of the other. Seat 0 connects top and bottom."""

    def __init__(self, game: Hex):
        n, cells = game.size, np.arange(game.cells)
        row, column = np.divmod(cells, n)
        central = np.argsort(np.abs(row + column - n + 1) + np.abs(row - column) / 2, kind="stable")
        self._game, self._order = game, [1 << cell for cell in central.tolist()]  # the short diagonal first
        self._bits = 1 << cells
        self._links = [[self._linked(cell, seat) for cell in range(game.cells)] for seat in (0, 1)]
        self._known: dict[tuple[int, int, int], tuple[bool, int]] = {}

    def _linked(self, cell: int, seat: int) -> list[tuple[int, int]]:
        """(what a stone is linked to, the empty cells that the link needs): neighbours, bridges over two cells, and the sides
        of the seat as bits beyond the board, also by bridge."""
        n, (r, c) = self._game.size, divmod(cell, self._game.size)
        bit = lambda row, column: 1 << row * n + column if 0 <= row < n and 0 <= column < n else 0  # noqa: E731
        links = [(bit(r + dr, c + dc), 0) for dr, dc in NEIGHBOURS]
        for (ar, ac), (br, bc) in zip(AROUND, AROUND[1:] + AROUND[:1], strict=True):
            over = bit(r + ar, c + ac), bit(r + br, c + bc)
            links += [(bit(r + ar + br, c + ac + bc), sum(over))] * all(over)
        place, across = (r, c) if seat == 0 else (c, r)
        for side, edge, step in ((0, 0, -1), (1, n - 1, 1)):
            cells = [(edge, across), (edge, across - step)]
            near = [bit(*each) if seat == 0 else bit(*each[::-1]) for each in cells]
            links += [(1 << n * n + side, 0)] * (place == edge)
            links += [(1 << n * n + side, sum(near))] * (place == edge - step and all(near))
        return [(to, over) for to, over in links if to]

    def _joined(self, stones: int, taken: int, seat: int) -> int:
        """The carrier of a chain of stones and bridges between the seat's sides, no two of which need the same cell; -1 where
        none is found. The other seat, to move, cannot cut it."""
        low, cells = 1 << self._game.cells, self._game.cells
        reached, high, carrier, grown = low, 2 << cells, 0, True
        while grown:
            grown = False
            for cell in range(cells):
                if not stones >> cell & 1:
                    continue
                here = reached >> cell & 1
                for to, over in self._links[seat][cell]:
                    if over & (taken | carrier):
                        continue
                    if here and not reached & to and (to & stones or to == high):
                        reached, carrier, grown = reached | to, carrier | over, True
                    elif not here and reached & to and to != high:
                        reached, carrier, grown, here = reached | 1 << cell, carrier | over, True, 1
                if reached & high:
                    return carrier
        return -1

    def wins(self, board: np.ndarray) -> bool:
        """Does the player to move win a board, int8 [cells], on which nobody has won yet?"""
        return self._solve(int((board == 1) @ self._bits), int((board == -1) @ self._bits), 0)[0]

    def moves(self, board: np.ndarray) -> np.ndarray:
        """Which moves win: bool [cells]."""
        return np.array([self.good(board, cell) for cell in range(self._game.cells)])

    def good(self, board: np.ndarray, cell: int) -> bool:
        """Does a move win? False for a cell that is taken."""
        own, other, move = int((board == 1) @ self._bits), int((board == -1) @ self._bits), 1 << cell
        if (own | other) & move:
            return False
        return not self._solve(other, own | move, 1)[0]

    def _solve(self, own: int, other: int, seat: int) -> tuple[bool, int]:
        """(whether the seat to move wins, the carrier of the winner's proof)"""
        key = own, other, seat
        known = self._known.get(key)
        if known is not None:
            return known
        taken, must = own | other, -1
        carrier = self._joined(other, taken, 1 - seat)
        found = (False, carrier) if carrier >= 0 else None
        free, carrier = [move for move in self._order if not taken & move] if found is None else [], 0
        for move in free:  # a move that joins both sides wins
            cells = self._joined(own | move, taken | move, seat)
            if cells >= 0:
                found, free = (True, move | cells), []
                break
        for move in free:  # what the other seat would win by has to be answered there
            cells = self._joined(other | move, taken | move, 1 - seat)
            if cells >= 0:
                must, carrier = must & (move | cells), carrier | move | cells
        for move in free:
            if not must & move:
                continue
            lost, cells = self._solve(other, own | move, 1 - seat)
            if not lost:
                found = True, move | cells
                break
            carrier |= cells
            must &= cells
        self._known[key] = found = found or (False, carrier)
        return found
