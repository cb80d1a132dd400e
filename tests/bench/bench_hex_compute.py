"""Training against test-time compute on Hex (Jones 2021): nets of several sizes and ages, each with several numbers of
simulations, play each other; their Elo is fitted over operations of training and of one move.

    python -m tests.bench.bench_hex_compute train FOLDER --net 32x2 [--size 5] [--minutes 4]
    python -m tests.bench.bench_hex_compute play FOLDER [--openings 60] [--minutes 4]

`train` keeps nets at growing numbers of rounds. `play` lets every player meet others with other nets and other numbers of
simulations, as far as the time goes, and appends the games to FOLDER/games.jsonl, so it may be repeated; then it fits
Elo = a + b log10(training) + c log10(test) on the players below the top's reach. -b / c is the slope of the lines of equal Elo:
decades of test-time operations for one decade of training, -1.2 in Jones. One thread.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from iteration.games.hex import Hex
from iteration.games.model import Size
from iteration.games.net import Net, fit
from iteration.games.play import finish, play, positions, quiet
from iteration.search.puct import Puct
from iteration.statistics import elo
from tests.bench.bench_hex import duel

KEPT = (1, 2, 4, 7, 12, 20, 33, 54)  # rounds after which a net is kept
SIMULATIONS = (1, 4, 16, 64, 256)
GAMES, REUSE, ROWS, WINDOW, RATE = 512, 12, 256, 60_000, 1e-3
SATURATED = 150  # Elo below the best player, within which differences cannot be measured


def operations(net: Net) -> float:
    """Of one evaluation: 2 for each weight (multiply and add)."""
    return 2.0 * sum(parameter.numel() for parameter in net.parameters())


def train(folder: Path, game: Hex, net: Net, name: str, minutes: float, seed: int = 0) -> None:
    """Keep nets as FOLDER/NAME-rNN with the operations spent so far: searches forward, steps three times as much."""
    end, spent, pool = time.monotonic() + 60 * minutes, 0.0, []
    search, rng, lines = Puct(), np.random.default_rng(seed), game.openings(2)
    for number in range(1, max(KEPT) + 1):
        openings = [lines[i] for i in rng.integers(len(lines), size=GAMES)]
        pool.append(positions(finish(play(game, openings, search, rng), net.evaluate)))
        data = tuple(np.concatenate(each)[-WINDOW:] for each in zip(*pool, strict=True))
        order = rng.integers(len(data[0]), size=REUSE * len(pool[-1][0]))
        losses = list(fit(net, data, order, ROWS, np.full(-(-len(order) // ROWS), RATE), number))
        spent += operations(net) * (len(pool[-1][0]) * (search.simulations + 1) + 3 * len(order))
        if number in KEPT:
            to = folder / f"{name}-r{number:02d}"
            to.mkdir(parents=True, exist_ok=True)
            net.save(to)
            (to / "spent.json").write_text(json.dumps(spent))
            print(f"{to.name}: {spent:.2e} operations, loss {np.mean(losses[-20:]):.3f}", flush=True)
        if time.monotonic() > end:
            return


def meet(folder: Path, game: Hex, openings: int, minutes: float) -> None:
    """Play matches of random pairs of near strength (by their operations) until the time is over; append them."""
    nets = {each.name: Net.load(each) for each in sorted(folder.glob("*-r*"))}
    players = [(name, n) for name in nets for n in SIMULATIONS]
    cost = {each: np.log10(spent_on(folder, each[0])) + np.log10(operations(nets[each[0]]) * (each[1] + 1)) for each in players}
    ranked = sorted(players, key=cost.get)
    rng, end, lines = np.random.default_rng(time.time_ns()), time.monotonic() + 60 * minutes, game.openings(2)
    with (folder / "games.jsonl").open("a") as out:
        chain = [
            (i, next((j for j in range(i + 1, len(ranked)) if ranked[j][0] != ranked[i][0]), i)) for i in range(len(ranked))
        ]
        chain = [] if out.tell() else chain  # from the strongest down, so that players are linked
        while time.monotonic() < end:
            i = int(rng.integers(len(ranked)))
            j = int(np.clip(i + rng.choice([-1, 1]) * rng.integers(1, 9), 0, len(ranked) - 1))
            i, j = chain.pop() if chain else (i, j)
            if ranked[i][0] == ranked[j][0]:
                continue  # a net's own ages and numbers of simulations meet through others
            chosen = [lines[k] for k in rng.permutation(len(lines))[:openings]]
            one, other = (quiet(Puct(n)) for _, n in (ranked[i], ranked[j]))
            won = duel(game, (one, other), chosen, nets[ranked[i][0]].evaluate, nets[ranked[j][0]].evaluate)
            out.write(json.dumps({"one": ranked[i], "other": ranked[j], "won": int(won.sum()), "games": len(won)}) + "\n")
            out.flush()


def spent_on(folder: Path, name: str) -> float:
    return json.loads((folder / name / "spent.json").read_text())


def fitted(folder: Path) -> None:
    """Print the players' Elo, and the regression with its bootstrap over games."""
    games = [json.loads(line) for line in (folder / "games.jsonl").read_text().splitlines()]
    linked, before = {tuple(games[0]["one"])}, 0  # others have not met these yet
    while len(linked) != before:
        before, pairs = len(linked), [{tuple(each["one"]), tuple(each["other"])} for each in games]
        linked = linked.union(*(pair for pair in pairs if pair & linked))
    games = [each for each in games if tuple(each["one"]) in linked]
    players = sorted(linked)
    place = {each: i for i, each in enumerate(players)}
    training = np.log10([spent_on(folder, name) for name, _ in players])
    test = np.log10([operations(Net.load(folder / name)) * (n + 1) for name, n in players])

    def regress(chosen: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        wins = np.zeros((len(players), len(players)))
        for each in chosen:
            i, j = place[tuple(each["one"])], place[tuple(each["other"])]
            wins[i, j] += each["won"]
            wins[j, i] += each["games"] - each["won"]
        ratings = elo(wins)
        below = ratings < ratings.max() - SATURATED
        design = np.stack([np.ones(below.sum()), training[below], test[below]], 1)
        return np.linalg.lstsq(design, ratings[below], rcond=None)[0], ratings, below

    whole, ratings, below = regress(games)
    rng, slopes = np.random.default_rng(0), []
    for _ in range(200):  # resampled within each match, so that all players stay linked
        drawn, *_ = regress([each | {"won": int(rng.binomial(each["games"], each["won"] / each["games"]))} for each in games])
        slopes.append(-drawn[1] / drawn[2])
    low, high = np.percentile(slopes, (2.5, 97.5))
    for i in np.argsort(-ratings):
        print(
            f"{players[i][0]:>14} {players[i][1]:>4} simulations: {ratings[i]:7.0f} Elo, "
            f"10^{training[i]:.1f} operations of training, 10^{test[i]:.1f} a move"
        )
    print(
        f"{sum(each['games'] for each in games)} games, {len(players)} players, {below.sum()} below the top by {SATURATED} Elo"
    )
    print(f"Elo = {whole[0]:.0f} + {whole[1]:.0f} log10(training) + {whole[2]:.0f} log10(test)")
    print(f"iso-Elo slope d log10(test) / d log10(training) = {-whole[1] / whole[2]:.2f} [{low:.2f}, {high:.2f}]; Jones: -1.2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "play"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", default="32x2", help="WIDTHxDEPTH")
    parser.add_argument("--size", type=int, default=5)
    parser.add_argument("--openings", type=int, default=60)
    parser.add_argument("--minutes", type=float, default=4.0)
    known = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    game = Hex(known.size)
    if known.what == "train":
        width, depth = map(int, known.net.split("x"))
        train(known.folder, game, Net(game.cells, Size(width, depth)), known.net, known.minutes)
    else:
        meet(known.folder, game, known.openings, known.minutes)
        fitted(known.folder)


if __name__ == "__main__":
    main()
