"""Self-play and matches: many games at once, each move by a search. A generator, as the search: it yields what to evaluate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from iteration.games.hex import Hex
from iteration.search.puct import Evaluated, Puct, Searched

Ask = tuple[int, np.ndarray]  # (0 or 1: whose net is asked; boards, int8 [n, cells])


@dataclass(frozen=True, slots=True)
class Moves:
    """One move in each of n games: games: int64 [n]; boards: int8 [n, cells], before the move; moves: int64 [n], on these."""

    games: np.ndarray
    boards: np.ndarray
    found: Searched
    moves: np.ndarray


@dataclass(slots=True)
class Games:
    """lines: of each game, its cells as the first player sees them, the opening included; winners: int64 [games], the seat
    (0, 1) that has won, -1 where the game was not played to its end; moves: in the order in which they were made."""

    lines: list[list[int]]
    winners: np.ndarray
    moves: list[Moves] = field(default_factory=list)


def play(
    game: Hex, openings: Sequence[Sequence[int]], search: Puct, rng: np.random.Generator, seats: np.ndarray | None = None
) -> Generator[Ask, Evaluated, Games]:
    """Play games from openings that are not over. seats: the seat of net 0 in each game, int [games], net 1 has the other;
    None: net 0 plays both. With `search.plies` games stop after so many moves."""
    lines = [list(opening) for opening in openings]
    boards = np.array([game.played(line)[0] for line in lines], np.int8).reshape(-1, game.cells)
    played = Games(lines, np.full(len(lines), -1))
    left = np.arange(len(lines))
    for _ in range(search.plies or game.cells):
        plies = np.array([len(lines[i]) for i in left])
        net = np.zeros(len(left), int) if seats is None else (plies % 2 != seats[left]).astype(int)
        over = np.zeros(len(left), bool)
        for each in np.unique(net).tolist():
            mine = net == each
            games, seen = left[mine], boards[left[mine]]
            found = yield from asked(each, search.simulate(game, seen, rng))
            moves = search.choose(found, plies[mine], rng)
            played.moves.append(Moves(games, seen, found, moves))
            boards[games], over[mine] = game.after(seen, moves)
            cells = np.where(plies[mine] % 2 == 1, game.turned[moves], moves)
            for i, cell in zip(games.tolist(), cells.tolist(), strict=True):
                lines[i].append(cell)
        played.winners[left[over]] = plies[over] % 2
        left = left[~over]
        if not len(left):
            break
    return played


def asked(net: int, search: Generator[np.ndarray, Evaluated, Searched]) -> Generator[Ask, Evaluated, Searched]:
    """A search whose boards go to one of the nets."""
    boards = next(search)
    while True:
        evaluated = yield net, boards
        try:
            boards = search.send(evaluated)
        except StopIteration as end:
            return end.value


def finish(games: Generator[Ask, Evaluated, Games], *nets: Callable[[np.ndarray], Evaluated]) -> Games:
    """Play to the end with nets of this process."""
    net, boards = next(games)
    while True:
        try:
            net, boards = games.send(nets[net](boards))
        except StopIteration as end:
            return end.value


def positions(played: Games) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a net learns from finished games: (boards int8 [n, cells], shares of the visits float32 [n, cells], results float32
    [n], 1 where the player to move wins, else -1)."""
    boards = np.concatenate([each.boards for each in played.moves])
    visits = np.concatenate([each.found.visits for each in played.moves]).astype(np.float32)
    games = np.concatenate([each.games for each in played.moves])
    stones = (boards != 0).sum(1)  # the seat to move is their parity
    results = np.where(played.winners[games] == stones % 2, 1.0, -1.0).astype(np.float32)
    return boards, visits / visits.sum(1, keepdims=True), results


def straight(game: Hex, opening: Sequence[int], net: Callable[[np.ndarray], Evaluated]) -> list[int]:
    """The net's most likely moves after an opening, to the end of the game: cells as the first player sees them."""
    alone = Puct(simulations=0, noise=0, hot=0)
    played = finish(play(game, [opening], alone, np.random.default_rng(0)), net)
    return played.lines[0][len(opening) :]


def logprobs(game: Hex, opening: Sequence[int], moves: Sequence[int], net: Callable[[np.ndarray], Evaluated]) -> np.ndarray:
    """Log-probabilities of the moves of one game after its opening: float32 [moves]."""
    line = [*opening, *moves]
    places = range(len(opening), len(line))
    priors, _ = net(np.array([game.played(line[:ply])[0] for ply in places], np.int8).reshape(-1, game.cells))
    seen = [game.turned[line[ply]] if ply % 2 else line[ply] for ply in places]
    return np.log(priors[np.arange(len(seen)), seen])


def match(
    game: Hex, search: Puct, openings: Sequence[Sequence[int]], one: Callable, other: Callable
) -> tuple[np.ndarray, Games]:
    """Play every opening from both seats, without noise and with the best moves. Returns (which games net `one` has won: bool
    [2 * openings], the first half from the first seat; the games)."""
    both, seats = [*openings, *openings], np.repeat([0, 1], len(openings))
    played = finish(play(game, both, quiet(search), np.random.default_rng(0), seats), one, other)
    return played.winners == seats, played


def quiet(search: Puct, **options) -> Puct:
    """The same search without noise and with the best moves, as it is measured."""
    return replace(search, noise=0.0, hot=0, **options)


def nodes_of(game: Hex, played: Games) -> dict[str, np.ndarray]:
    """Games as trees: a node is a move that the search visited, and the line that was played leads to the node `end`.

    Columns of all nodes, tree by tree, each from its root, the opening: tree, node (in its tree), parent, depth, ply (moves
    before the node's own), cell (as the first player sees it), visits, prior and value (in [0, 1], for the player who moves; at
    roots for the player to move), NaN where there is none, and end (bool).
    """
    n = len(played.lines)
    size, at, depth = np.ones(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)  # nodes; the newest position
    value = np.full(n, np.nan, np.float32)
    parts = []
    for each in played.moves:
        found, own = each.found, np.arange(len(each.games))
        seen = found.visits > 0
        seen[own, each.moves] = True
        row, cell = np.nonzero(seen)
        tree, rank, visits = each.games[row], np.cumsum(seen, axis=1) - 1, found.visits[row, cell]
        ply = (each.boards != 0).sum(1)[row]
        worth = np.where(visits > 0, (found.worth[row, cell] + 1) / 2, np.nan)
        cells = np.where(ply % 2 == 1, game.turned[cell], cell)
        place = tree, size[tree] + rank[row, cell], at[tree], depth[tree] + 1
        parts.append((*place, ply, cells, visits, found.priors[row, cell], worth))
        first = depth[each.games] == 0
        value[each.games[first]] = (found.value[first] + 1) / 2
        at[each.games] = size[each.games] + rank[own, each.moves]
        size[each.games] += seen.sum(1)
        depth[each.games] += 1
    zeros = np.zeros(n, np.int64)
    opening = np.array([len(line) for line in played.lines]) - depth
    parts.append((np.arange(n), zeros, zeros - 1, zeros, opening - 1, zeros, zeros, np.full(n, np.nan), value))
    names = "tree", "node", "parent", "depth", "ply", "cell", "visits", "prior", "value"
    columns = {name: np.concatenate(each) for name, each in zip(names, zip(*parts, strict=True), strict=True)}
    order = np.lexsort((columns["node"], columns["tree"]))
    columns = {name: column[order] for name, column in columns.items()}
    return columns | {"end": (columns["node"] == at[columns["tree"]]) & (columns["node"] > 0)}
