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


def minimax(game, board):
    """Does the player to move win? Without a table and without tricks."""
    for cell in np.flatnonzero(board == 0):
        (after,), (won,) = game.after(board[None], np.array([cell]))
        if won or not minimax(game, after):
            return True
    return False


def test_every_position_of_2x2_and_late_ones_of_3x3_are_as_by_minimax():
    for game, plies in ((Hex(2), range(4)), (Hex(3), (5,))):
        solver = Solver(game)
        boards = [game.played(line)[0] for ply in plies for line in game.openings(ply)]
        values = [solver.wins(board) for board in boards]
        assert values == [minimax(game, board) for board in boards]
        assert True in values and (False in values)


def test_half_a_turn_changes_no_value():
    game = Hex(3)
    solver = Solver(game)
    for line in game.openings(3):
        board = game.played(line)[0]
        assert (solver.moves(board)[::-1] == solver.moves(board[::-1])).all()


def test_larger_boards_are_refused():
    with pytest.raises(ValueError, match="boards up to 4"):
        Solver(Hex(5))
