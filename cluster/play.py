"""A run that learns a game by self-play: the same rounds, with games for answers.

What differs: the actors evaluate and train a net for boards; models are measured by the moves of the net alone and of net and
search; and a model is promoted by a match against the best one so far, over all openings from both seats.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from cluster.evaluation import Evaluation
from cluster.folder.arm import Arm
from cluster.folder.layout import model_key, model_number
from cluster.placement import Actors
from cluster.run import Run
from cluster.selfplay import SelfPlay
from cluster.train.nets import Coach, Player
from iteration.parts import SEARCH, Part
from iteration.statistics import Interval, elo_intervals, wilson
from iteration.types import Round, State

ALL = 100_000  # more openings than any board has


class Players(Actors):
    generator, searcher, trainer = Player, SelfPlay, Coach


class Games(Run):
    """What a run and an evaluation share."""

    plays: ClassVar[bool] = True
    staff: ClassVar[type] = Players

    def quiet(self, search: Part, **options: Any) -> Part:
        """A search without noise and with the best moves."""
        return Part(SEARCH, search.name, search.options | {"noise": 0.0, "hot": 0} | options)

    def measured(self) -> dict[str, Any]:
        """What models are measured by: a move; on boards without known perfect play, games against the first model."""
        return {"plies": 1} if self.task.solved else {"against": model_key(0)}

    def spent(self, arm: Arm, number: int) -> dict[str, int]:
        """The positions that an arm's nets evaluated in a round, at most: a walk that ends in a finished game asks for none."""
        nodes = self.book.nodes(arm, number, ["depth", "state"])
        moves = nodes["depth"].to_numpy()[nodes["state"].is_valid().to_numpy()]
        return {arm.title: int(moves.sum()) * (arm.search.options["simulations"] + 1)}


class PlayEvaluation(Games, Evaluation):
    """The moves of a net alone, and of each search with it."""

    def arms(self) -> list[Arm]:
        train, test, *others = super().arms()
        alone = self.quiet(self.searching, simulations=0, **self.measured())
        searched = [replace(each, search=self.quiet(each.search, **self.measured()), budgeted=False) for each in others]
        return [train, replace(test, search=alone), *searched]


class Play(Games):
    def arms(self) -> list[Arm]:
        """Training games; the net's own moves, which measure each model; the same with search; and matches."""
        train, test = super().arms()
        test = replace(test, search=self.quiet(self.searching, simulations=0, **self.measured()))
        searching = self.quiet(self.searching, **self.measured())
        self.searched = replace(test, name="with-search", title="net and search", search=searching)
        matches = {"name": "versus", "title": "match", "split": "validation", "plan": "versus"}
        self.versus = replace(test, search=self.quiet(self.searching), **matches)
        return [train, test, self.searched, self.versus]

    async def baseline(self) -> int:
        self.planning.check()
        self.planning.held_out(self.test)
        self.planning.fresh(self.versus, [0], ALL, self.test)
        return await super().baseline()

    async def graded(self, arm: Arm, number: int, model: str, judge: str = "") -> tuple[float | None, int]:
        """Also with search, where an arm is that of the net's own moves."""
        drift, broken = await super().graded(arm, number, model, judge)
        if arm is self.test:
            broken += (await super().graded(self.searched, number, model, judge))[1]
        return drift, broken

    async def promote(self, champion: int, candidate: int) -> tuple[int, str]:
        """The better of two models by a match: the new one, unless it wins significantly less than half of the games."""
        versus = replace(self.versus, search=self.quiet(self.searching, against=model_key(champion)))
        await self.graded(versus, candidate, model_key(candidate))
        won = self.share(versus, candidate)
        within = f"95 % {100 * won.low:.1f} to {100 * won.high:.1f}"
        said = f"{100 * won.mean:.1f} % of the games against {model_key(champion)} won ({within})"
        if won.high < 0.5:
            return champion, f"not promoted, worse beyond noise: {said}"
        return candidate, f"promoted: {said}"

    def share(self, arm: Arm, number: int) -> Interval:
        """Share of correct answers."""
        states = self.book.nodes(arm, number, ["state"])["state"].drop_null().to_pylist()
        return wilson(states.count(State.CORRECT), len(states))

    def finish(self, record: Round) -> None:
        """The record also holds the share of correct moves with search, and the Elo of the round's model: 0 is the first."""
        if record.trained or not record.number:
            searched, rating = self.share(self.searched, record.number), self.rating(record.number)
            numbers = {"with_search": searched.mean, "elo": rating.mean, "elo_low": rating.low, "elo_high": rating.high}
            record.verifier |= {name: round(value, 4) for name, value in numbers.items()}
        super().finish(record)

    def rating(self, number: int) -> Interval:
        """A model's Elo, by all matches up to its own."""
        games: list[tuple[int, int, bool]] = []  # (candidate, champion, the candidate has won)
        for candidate in [each for each in range(1, number + 1) if self.book.units(self.versus, each)]:
            champion = model_number(self.book.record(candidate - 1)["model_out"])
            states = self.book.nodes(self.versus, candidate, ["state"])["state"].drop_null().to_pylist()
            games += [(candidate, champion, state == State.CORRECT) for state in states]
        if not games:
            return Interval(0.0, 0.0, 0.0)
        one, other, won = (np.array(each) for each in zip(*games, strict=True))
        players, places = np.unique([one, other], return_inverse=True)
        return elo_intervals(*places.reshape(2, -1), won, len(players))[-1]
