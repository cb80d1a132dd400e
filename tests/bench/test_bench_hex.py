"""The benchmarks of Hex run, in tiny sizes."""

import numpy as np
import torch

from iteration.games.hex import Hex
from iteration.games.model import Size
from iteration.games.net import Net
from iteration.search.puct import Puct
from tests.bench import bench_hex, bench_hex_compute


def test_learning_is_measured_on_every_position_that_can_be_won(capsys):
    bench_hex.learn(Hex(2), 0, 2, 16)
    said = capsys.readouterr().out
    assert "of 19" in said and "against round 0 won" in said


def test_rollouts_know_a_decided_position_and_both_players_get_their_stones():
    game = Hex(3)
    won = game.played([1, 0, 4, 2, 8, 3, 5])[0]  # the second player moves, and the first is a move from winning twice over
    priors, values = bench_hex.rollouts(game, np.repeat(won[None], 200, 0))
    assert set(values.tolist()) <= {-1.0, 1.0} and np.allclose(priors.sum(1), 1) and (priors[:, won != 0] == 0).all()
    _, values = bench_hex.rollouts(game, game.start(2000))
    assert 0 < values.mean() < 0.6, "who begins has the better of it"


def test_a_longer_search_wins_a_duel(capsys, tmp_path):
    game, uniform = Hex(3), lambda boards: bench_hex.rollouts(Hex(3), boards)
    won = bench_hex.duel(game, (Puct(200, noise=0, hot=0), Puct(2, noise=0, hot=0)), game.openings(2)[::4], uniform, uniform)
    assert len(won) == 36 and won.mean() > 0.55
    torch.manual_seed(0)
    Net(4, Size(8, 1)).save(tmp_path)
    bench_hex.strength(tmp_path)
    assert capsys.readouterr().out.count("of 24 games") == 2


def test_iso_elo_is_fitted_over_training_and_test(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_hex_compute, "GAMES", 8)
    monkeypatch.setattr(bench_hex_compute, "SIMULATIONS", (1, 4))
    for name in ("4x1", "8x1"):
        torch.manual_seed(0)
        bench_hex_compute.train(tmp_path, Hex(2), Net(4, Size(int(name[0]), 1)), name, 0)
    bench_hex_compute.train(tmp_path, Hex(2), Net(4, Size(16, 1)), "16x1", 0)
    bench_hex_compute.meet(tmp_path, Hex(2), 4, 0.01)
    monkeypatch.setattr(bench_hex_compute, "SATURATED", -1e9)
    bench_hex_compute.fitted(tmp_path)
    assert "iso-Elo slope" in capsys.readouterr().out
