"""Self-play on Hex in one process: the net's positions a second, the tree's simulations a second, games a second by number of
simulations, and the time to perfect play, by a table, on 3x3 and 4x4.

    python -m tests.bench.bench_hex [--smoke] [--seeds 0 1 2] [--sizes 3 4] [--strength RUN/models/m00030]

The shares count every position that the player to move wins within three plies of the empty board: how often the move keeps
the win, of the net alone and with 64 simulations. One thread; seconds are those of playing and training, without measuring.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from iteration.games.hex import Hex
from iteration.games.model import Size
from iteration.games.net import Net, fit
from iteration.games.play import finish, match, play, positions, quiet
from iteration.games.solver import Solver
from iteration.search.puct import Puct
from iteration.statistics import bootstrap

GAMES, REUSE, ROWS, WINDOW, RATES = 512, 16, 256, 60_000, (2e-3, 1e-4)
ROLLS = np.random.default_rng(0)
NETS = {2: Size(16, 1), 3: Size(32, 2), 4: Size(128, 4), 5: Size(128, 4)}


def per_second(call, seconds: float) -> float:
    """Calls a second, over about so many seconds."""
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - began)


def speeds(game: Hex, seconds: float) -> None:
    net, rng, lines = Net(game.cells, NETS[game.size]), np.random.default_rng(0), game.openings(2)
    uniform = lambda boards: ((boards == 0) / np.float32(game.cells), np.zeros(len(boards), np.float32))  # noqa: E731
    for batch in (1, 64, 256, 512, 1024):
        boards = np.array([game.played(lines[i])[0] for i in rng.integers(len(lines), size=batch)])
        speed = batch * per_second(partial(net.evaluate, boards), seconds)
        print(f"net, batches of {batch:>4}: {speed:>9,.0f} positions/s")
    for simulations in (16, 64, 256):
        openings = [lines[i] for i in rng.integers(len(lines), size=GAMES)]
        for name, evaluate in (("net", net.evaluate), ("no net", uniform)):
            began = time.perf_counter()
            played = finish(play(game, openings, Puct(simulations), rng), evaluate)
            spent, moves = time.perf_counter() - began, sum(len(each.games) for each in played.moves)
            print(
                f"self-play, {simulations:>3} simulations, {name:>6}: {simulations * moves / spent:>9,.0f} simulations/s, "
                f"{GAMES / spent:>6,.0f} games/s"
            )


def won_positions(game: Hex, plies: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(boards that the player to move wins, which moves keep the win) within so many plies."""
    solver = Solver(game)
    boards = [game.played(line)[0] for ply in range(plies + 1) for line in game.openings(ply)]
    moves = [solver.moves(board) for board in boards]
    found = [(board, each) for board, each in zip(boards, moves, strict=True) if each.any()]
    return tuple(np.array(each) for each in zip(*found, strict=True))


def kept(game: Hex, net: Net, search: Puct, boards: np.ndarray, winning: np.ndarray) -> float:
    """Share of the positions in which the best move keeps the win."""
    return float(winning[np.arange(len(boards)), best(game, search, boards, net.evaluate)].mean())


def best(game: Hex, search: Puct, boards: np.ndarray, evaluate: Callable) -> np.ndarray:
    """The move that a search without noise prefers in each position: int64 [n]."""
    running = search.simulate(game, boards, np.random.default_rng(0))
    wanted = next(running)
    while True:
        try:
            wanted = running.send(evaluate(wanted))
        except StopIteration as end:
            return search.choose(end.value, np.zeros(len(boards), int), np.random.default_rng(0))


def duel(game: Hex, searches: tuple[Puct, Puct], openings: list, *evaluate: Callable) -> np.ndarray:
    """Every opening from both seats by two players with searches of their own. Returns which games the first has won: bool
    [2 * openings]."""
    won = []
    for seat in (0, 1):  # openings have an even number of plies: seat 0 is to move
        boards, left = np.array([game.played(line)[0] for line in openings]), np.arange(len(openings))
        result, mover = np.zeros(len(openings), bool), 0
        while len(left):
            who = int(mover != seat)
            boards[left], over = game.after(boards[left], best(game, searches[who], boards[left], evaluate[who]))
            result[left[over]] = who == 0
            left, mover = left[~over], 1 - mover
        won.append(result)
    return np.concatenate(won)


def rollouts(game: Hex, boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An evaluation without a net: even priors, and the result of one random game (the rest of the board filled at random)."""
    free = boards == 0
    order = np.where(free, ROLLS.random(boards.shape), 2).argsort(1).argsort(1)  # of the free cells first
    own = (boards == 1) | (free & (order % 2 == 0))  # the player to move takes every second one
    return free / free.sum(1, keepdims=True, dtype=np.float32), np.where(game.connected(own), 1, -1).astype(np.float32)


def strength(folder: Path) -> None:
    """The net in a folder with 64 simulations, against itself without and against plain MCTS with 1,000 rollouts."""
    net = Net.load(folder)
    game, search = Hex(math.isqrt(net.cells)), quiet(Puct(64))
    lines = game.openings(2)
    plain = quiet(Puct(1000, c=1.4)), partial(rollouts, game)
    for name, (other, evaluate) in {"itself alone": (quiet(Puct(0)), net.evaluate), "1,000 rollouts": plain}.items():
        won = duel(game, (search, other), lines, net.evaluate, evaluate)
        share = bootstrap(won.reshape(2, -1).mean(0))
        ratings = [400 * math.log10((p + 1e-3) / (1 - p + 1e-3)) for p in (share.mean, share.low, share.high)]
        shown = "{:.0f} Elo [{:.0f}, {:.0f}]".format(*ratings)
        print(
            f"{folder.name} with 64 simulations against {name}: {100 * won.mean():.1f} % of {len(won)} games, {shown}",
            flush=True,
        )


def learn(game: Hex, seed: int, rounds: int, games: int = GAMES) -> None:
    boards, winning = won_positions(game)
    torch.manual_seed(seed)
    search, rng, lines = Puct(), np.random.default_rng(seed), game.openings(2)
    net, first, spent, pool = Net(game.cells, NETS[game.size]), Net(game.cells, NETS[game.size]), 0.0, []
    first.load_state_dict(net.state_dict())
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        openings = [lines[i] for i in rng.integers(len(lines), size=games)]
        pool.append(positions(finish(play(game, openings, search, rng), net.evaluate)))
        data = tuple(np.concatenate(each)[-WINDOW:] for each in zip(*pool, strict=True))
        order = rng.integers(len(data[0]), size=REUSE * len(pool[-1][0]))
        rate = RATES[0] * (RATES[1] / RATES[0]) ** (number / rounds)
        losses = list(fit(net, data, order, ROWS, np.full(-(-len(order) // ROWS), rate), number))
        spent += time.perf_counter() - began
        alone, searched = (kept(game, net, quiet(search, simulations=n), boards, winning) for n in (0, search.simulations))
        if number % 5 == 0 or number == rounds:
            print(
                f"{game.size}x{game.size} seed {seed} round {number:>2}: {spent:6.1f} s, loss {np.mean(losses[-9:]):.3f}, wins "
                f"kept {100 * alone:6.2f} % by the net, {100 * searched:6.2f} % with search, of {len(boards)}",
                flush=True,
            )
    won, _ = match(game, search, lines, net.evaluate, first.evaluate)
    print(f"{game.size}x{game.size} seed {seed}: {100 * won.mean():.1f} % of {len(won)} games against round 0 won", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few seconds: 2x2, two rounds")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--strength", type=Path, nargs="+", default=[], metavar="MODEL", help="measure these nets instead")
    known = parser.parse_args()
    torch.set_num_threads(1)
    for folder in known.strength:
        strength(folder)
    if known.strength:
        return
    if known.smoke:
        learn(Hex(2), 0, 2, 16)
        return
    for size in known.sizes:
        speeds(Hex(size), 1.0)
        for seed in known.seeds:
            learn(Hex(size), seed, known.rounds if size > 3 else 15)


if __name__ == "__main__":
    main()
