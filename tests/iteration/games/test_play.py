"""The tree over many games, self-play, matches and the net, on boards that are solved."""

import numpy as np
import pytest
import torch

from iteration.games.hex import Hex
from iteration.games.model import OWN, Size, build
from iteration.games.net import Net, fit, loss, turn
from iteration.games.play import asked, finish, match, play, positions, quiet
from iteration.games.solver import Solver
from iteration.search.puct import Puct, weight

torch.set_num_threads(1)


def uniform(boards):
    """No net: every legal move alike, every position even."""
    free = (boards == 0).astype(np.float32)
    return free / free.sum(1, keepdims=True), np.zeros(len(boards), np.float32)


def run(search, game, boards, evaluate=uniform, seed=0):
    """(what a search of the boards found, the sizes of its batches)"""
    simulated, sizes = asked(0, search.simulate(game, boards, np.random.default_rng(seed))), []
    _, wanted = next(simulated)
    while True:
        sizes.append(len(wanted))
        try:
            _, wanted = simulated.send(evaluate(wanted))
        except StopIteration as end:
            return end.value, sizes


def reference(game, board, simulations, c, evaluate):
    """PUCT of one position, in plain Python: visits of the moves."""

    def node(board, over):
        priors, value = (None, -1.0) if over else (each[0] for each in evaluate(board[None]))
        return {"board": board, "over": over, "p": priors, "n": {}, "w": {}, "below": {}, "count": 1, "sum": float(value)}

    root = node(board, False)
    for _ in range(simulations):
        at, path = root, []
        while True:
            mean = at["sum"] / at["count"]
            score = {
                a: (at["w"][a] / at["n"][a] if a in at["n"] else mean)
                + weight(c, at["count"]) * at["p"][a] / (1 + at["n"].get(a, 0))
                for a in np.flatnonzero(at["board"] == 0).tolist()
            }
            move = max(score, key=lambda a: (round(score[a], 5), -a))
            path.append((at, move))
            if move not in at["below"]:
                (after,), (won,) = game.after(at["board"][None], np.array([move]))
                at["below"][move] = node(after, bool(won))
                at = at["below"][move]
                break
            at = at["below"][move]
            if at["over"]:
                break
        value = -1.0 if at["over"] else at["sum"]  # a new node: its own evaluation
        for parent, move in reversed(path):
            value = -value
            parent["n"][move] = parent["n"].get(move, 0) + 1
            parent["w"][move] = parent["w"].get(move, 0.0) + value
            parent["count"] += 1
            parent["sum"] += value
    return [root["n"].get(a, 0) for a in range(game.cells)]


def test_the_tree_over_many_games_is_that_of_each_game_alone():
    game = Hex(3)
    torch.manual_seed(0)
    net = Net(9, Size(16, 1))
    boards = np.array([game.played(line)[0] for line in game.openings(2)[::5]])
    found, _ = run(Puct(40, noise=0), game, boards, net.evaluate)
    assert found.visits.tolist() == [reference(game, board, 40, 1.5, net.evaluate) for board in boards]
    assert (found.visits.sum(1) == 40).all() and (found.visits[boards != 0] == 0).all()


def test_one_call_evaluates_all_games_and_finished_positions_are_not_asked():
    game = Hex(2)
    boards = np.array([game.played(line)[0] for line in game.openings(2)])
    found, sizes = run(Puct(30, noise=0), game, boards)
    assert sizes[0] == len(boards) and max(sizes) <= len(boards) and len(sizes) < 31
    assert (np.abs(found.worth) <= 1).all() and (np.abs(found.value) <= 1).all()


@pytest.mark.parametrize(("size", "plies"), [(2, 1), (3, 3)])
def test_a_long_search_without_a_net_plays_perfectly(size, plies):
    game = Hex(size)
    solver, boards = Solver(game), np.array([game.played(line)[0] for line in game.openings(plies)])
    winning = np.array([solver.moves(board) for board in boards])
    found, _ = run(Puct(800, noise=0), game, boards)
    best = winning[np.arange(len(boards)), found.visits.argmax(1)]
    assert best[winning.any(1)].all()
    assert (found.value[winning.any(1)] > found.value[~winning.any(1)].max(initial=-1)).mean() > 0.9


def test_an_untried_move_counts_with_its_position_s_mean_and_not_as_the_worst():
    game, boards = Hex(3), Hex(3).start(1)
    lost = lambda boards: (uniform(boards)[0], np.full(len(boards), -0.9, np.float32) * (1 - 2 * ((boards != 0).sum(1) % 2)))  # noqa: E731
    found, _ = run(Puct(18, noise=0), game, boards, lost)
    assert found.visits.min() >= 1, "each move is as bad as the position says, so all are tried"


def test_noise_is_in_self_play_and_never_in_matches():
    game, boards = Hex(4), Hex(4).start(2)
    noisy, _ = run(Puct(32), game, boards, seed=1)
    assert (noisy.visits[0] != noisy.visits[1]).any() and (noisy.priors[0] == noisy.priors[1]).all()
    still, _ = run(quiet(Puct(32)), game, boards, seed=1)
    assert (still.visits[0] == still.visits[1]).all()
    assert quiet(Puct(32)).choose(still, np.zeros(2, int), np.random.default_rng(0)).tolist() == [still.visits[0].argmax()] * 2


def test_moves_of_the_first_plies_are_drawn_by_visits_and_later_ones_are_the_best():
    search, rng = Puct(10, temperature=1.0, hot=3), np.random.default_rng(0)
    found, _ = run(Puct(10, noise=0), Hex(2), Hex(2).start(4000))
    found.visits[:] = [1, 0, 6, 3]
    drawn = search.choose(found, np.full(4000, 2), rng)
    assert np.abs(np.bincount(drawn, minlength=4) / 4000 - [0.1, 0, 0.6, 0.3]).max() < 0.03
    assert (search.choose(found, np.full(4000, 3), rng) == 2).all()


def test_self_play_ends_every_game_and_its_examples_say_who_won():
    game = Hex(3)
    openings = game.openings(2)[:20] + game.openings(1)[:3]
    played = finish(play(game, openings, Puct(8), np.random.default_rng(0)), uniform)
    assert [game.played(line)[1] for line in played.lines] == played.winners.tolist()
    assert all(line[: len(start)] == start for line, start in zip(played.lines, openings, strict=True))
    boards, policy, results = positions(played)
    assert len(boards) == sum(map(len, played.lines)) - sum(map(len, openings))
    assert np.allclose(policy.sum(1), 1) and (policy[boards != 0] == 0).all()
    last = played.moves[-1]
    assert (results[-len(last.games) :] == 1).all(), "who makes the last move has won"
    again = finish(play(game, openings, Puct(8), np.random.default_rng(0)), uniform)
    assert (
        again.lines == played.lines
        and again.lines != finish(play(game, openings, Puct(8), np.random.default_rng(1)), uniform).lines
    )


def test_games_stop_after_so_many_moves():
    played = finish(play(Hex(3), [[0], [1]], quiet(Puct(4), plies=1), np.random.default_rng(0)), uniform)
    assert [len(line) for line in played.lines] == [2, 2] and (played.winners == -1).all()


def test_a_match_gives_each_opening_to_both_seats_and_the_stronger_net_wins():
    game, search, solver = Hex(3), Puct(9), Solver(Hex(3))
    openings = game.openings(2)
    won, played = match(game, search, openings, uniform, uniform)
    assert len(won) == 2 * len(openings) and won[: len(openings)].tolist() == [not each for each in won[len(openings) :]]

    def perfect(boards):
        return uniform(boards)[0], np.array([1 if solver.wins(board) else -1 for board in boards], np.float32)

    strong, played = match(game, search, openings, perfect, uniform)
    first = np.array([solver.wins(game.played(opening)[0]) for opening in openings])
    assert strong[np.concatenate([first, ~first])].all(), "it wins what can be won"
    assert strong.mean() > 0.6 and match(game, search, openings, uniform, perfect)[0].mean() < 0.4


def test_the_net_masks_taken_cells_and_starts_as_the_identity(tmp_path):
    game = Hex(3)
    build(tmp_path, game, Size(32, 3), 5)
    net = Net.load(tmp_path)
    boards = np.array([game.played(line)[0] for line in game.openings(3)])
    priors, values = net.evaluate(boards)
    assert np.allclose(priors.sum(1), 1, atol=1e-5) and (priors[boards != 0] == 0).all() and (np.abs(values) < 1).all()
    for layer in net.layers:
        torch.nn.init.ones_(layer.weight)
    assert np.allclose(net.evaluate(boards)[1], values), "gates are 0 at first"
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("3x3 game b2 c1").input_ids[2:] == [game.cell("b2") + OWN, game.cell("c1") + OWN]


def test_the_loss_is_cross_entropy_and_squared_error_by_hand():
    net = Net(4, Size(8, 1))
    boards = np.array([[0, 0, 1, -1]], np.int8)
    priors, values = net.evaluate(boards)
    policy, results = np.array([[0.25, 0.75, 0, 0]], np.float32), np.array([-1.0], np.float32)
    wanted = -(0.25 * np.log(priors[0, 0]) + 0.75 * np.log(priors[0, 1])) + (values[0] + 1) ** 2
    got = loss(net, *map(torch.from_numpy, (boards, policy, results)))
    assert got.item() == pytest.approx(float(wanted), rel=1e-5) and got.requires_grad


def test_training_learns_what_the_search_found_the_same_by_the_same_seed():
    game, rng = Hex(2), np.random.default_rng(0)
    openings = [game.openings(1)[i % 4] for i in range(64)]
    data = positions(finish(play(game, openings, Puct(40), rng), uniform))
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(Net(4, Size(16, 1)))
        losses = list(fit(nets[-1], data, np.arange(6400) % len(data[0]), 64, np.full(100, 1e-2), 3))
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert all((a == b).all() for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_half_a_turn_moves_stones_and_policy_together():
    boards, policy = np.array([[1, 0, -1, 0]] * 2, np.int8), np.array([[0, 0.9, 0, 0.1]] * 2, np.float32)
    turned = turn(boards, policy, np.array([True, False]))
    assert turned[0].tolist() == [[0, -1, 0, 1], [1, 0, -1, 0]] and np.allclose(turned[1][0], [0.1, 0, 0.9, 0])


def test_options_are_checked():
    for options, said in (({"simulations": -1}, "simulations"), ({"noise": 2}, "noise"), ({"temperature": 0}, "temperature")):
        with pytest.raises(ValueError, match=said):
            Puct(**options)
    with pytest.raises(ValueError, match="width"):
        Size(0)
