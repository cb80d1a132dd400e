"""Rules of Hex: the flood fill over rows of bits and union-find find the same winners, and known positions have known ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iteration.games.hex import Hex


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 11), st.integers(0, 2**32))
def test_flood_fill_and_union_find_agree_on_whole_games(size, seed):
    game, rng = Hex(size), np.random.default_rng(seed)
    boards, lines = game.start(1), [[]]
    for ply in range(game.cells):
        move = int(rng.choice(np.flatnonzero(boards[0] == 0)))
        lines[0].append(int(game.turned[move]) if ply % 2 else move)
        boards, won = game.after(boards, np.array([move]))
        board, winner = game.played(lines[0])
        assert (board == boards[0]).all() and winner == (ply % 2 if won[0] else -1)
        if won[0]:
            break
    assert won[0], "a full board has a winner"


def test_a_batch_is_judged_as_each_game_alone():
    game, rng = Hex(5), np.random.default_rng(0)
    stones = rng.random((500, game.cells)) < 0.55
    assert game.connected(stones).tolist() == [bool(game.connected(each[None])[0]) for each in stones]
    assert 0.2 < game.connected(stones).mean() < 0.9


@pytest.mark.parametrize(
    ("line", "winner"),
    [
        ("b1 a1 a2 c1 a3", 0),  # b1-a2 touch over the short diagonal
        ("a1 b1 b2 c1 b3", -1),  # a1 and b2 do not touch
        ("a1 a2 a3 b2 c3 c2", 1),  # a row from left to right
        ("", -1),
    ],
)
def test_known_winners(line, winner):
    game = Hex(3)
    assert game.played([game.cell(name) for name in line.split()])[1] == winner


def test_moves_that_are_not_legal_are_refused():
    game = Hex(3)
    for line in ([0, 0], [9], [-1], [1, 0, 3, 2, 6, 8]):  # the last one follows the end
        with pytest.raises(ValueError, match="not legal"):
            game.played(line)
    boards, _ = game.after(game.start(1), np.array([0]))
    with pytest.raises(ValueError, match="taken"):
        game.after(boards, np.array([0]))
    with pytest.raises(ValueError, match="no cell 'd1'"):
        game.cell("d1")
    for size in (1, 12):
        with pytest.raises(ValueError, match="size is"):
            Hex(size)


def test_openings_are_all_and_distinct():
    assert len(Hex(4).openings(2)) == 240 and len(Hex(5).openings(2)) == 600
    assert len(Hex(4).openings(3)) == 16 * 15 * 14 / 2, "two orders of the first player's stones are one position"
    assert Hex(4).openings(0) == [[]]
    assert not [line for line in Hex(2).openings(3) if Hex(2).played(line)[1] >= 0], "finished games are no openings"
