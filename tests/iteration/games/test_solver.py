"""Perfect play: known first moves, plain minimax on every position of 2x2, and symmetry."""

import numpy as np
import pytest

from iteration.games.hex import Hex
from iteration.games.solver import Solver


@pytest.mark.parametrize(
    ("size", "winning"), [(2, "b1 a2"), (3, "c1 a2 b2 c2 a3"), (4, "d1 c2 b3 a4")], ids=["2x2", "3x3", "4x4"]
)
def test_winning_first_moves(size, winning):
    """Of 2x2 by hand; the first player wins every size (Nash), 3x3 and 4x4 as on HexWiki, Small boards."""
    game = Hex(size)
    moves = Solver(game).moves(game.start(1)[0])
    assert {game.names[cell] for cell in np.flatnonzero(moves)} == set(winning.split())


def minimax(game, board, known):
    """Does the player to move win? Every move is tried; known: positions met before."""
    key = board.tobytes()
    if key not in known:
        free = np.flatnonzero(board == 0)
        after, won = game.after(np.repeat(board[None], len(free), 0), free)
        known[key] = bool(won.any()) or not all(minimax(game, each, known) for each in after)
    return known[key]


@pytest.mark.parametrize(("size", "plies"), [(2, 1), (2, 2), (3, 3), (4, 7), (4, 8)])
def test_winners_and_winning_moves_are_as_by_minimax(size, plies):
    game, rng, known, values = Hex(size), np.random.default_rng(plies), {}, []
    solver = Solver(game)
    while len(values) < 40:
        boards, over = game.start(1), False
        for _ in range(plies):
            boards, (won,) = game.after(boards, rng.choice(np.flatnonzero(boards[0] == 0), 1))
            over = over or bool(won)
        if over:
            continue
        (board,) = boards
        values.append(minimax(game, board, known))
        assert solver.wins(board) == values[-1] == bool(solver.moves(board).any())
        for cell in np.flatnonzero(board == 0).tolist():
            (after,), (won,) = game.after(board[None], np.array([cell]))
            assert solver.good(board, cell) == (won or not minimax(game, after, known))
    assert (True in values) and (size == 2 or False in values)


def test_half_a_turn_changes_no_value():
    game = Hex(3)
    solver = Solver(game)
    for line in game.openings(3):
        board = game.played(line)[0]
        assert (solver.moves(board)[::-1] == solver.moves(board[::-1])).all()


def test_larger_boards_are_refused():
    with pytest.raises(ValueError, match="boards up to 4"):
        Solver(Hex(5))
