"""Measurements of a round's answers: accuracy on held-out problems, promotion, solve rates, diversity. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from iteration.errors import UserError
from iteration.examples import flat, generated, tally
from iteration.filters.distinct import fingerprints
from iteration.statistics import Interval, bootstrap, paired_bootstrap, pass_at_k, wilson
from iteration.types import Audit, Diversity, Problem, Score, State


@dataclass(frozen=True, slots=True)
class Results:
    """A model's answers to held-out problems: {problem: (its level, graded answers, correct ones)}.

    Problems without a graded answer are excluded. Variants of a question count as one problem.
    """

    counts: dict[str, tuple[int, int, int]]

    @classmethod
    def of(cls, nodes: pa.Table, problems: Mapping[str, Problem]) -> Results:
        """nodes: the columns problem_id and state; problems: by id."""
        ended = nodes.drop_null()
        names = [problems[problem].counted for problem in ended["problem_id"].to_pylist()]
        levels = {problem.counted: problem.level for problem in problems.values()}
        counts = sorted(tally(names, ended["state"].to_pylist()).items())
        return cls({name: (levels[name], graded, correct) for name, (graded, correct) in counts if graded})

    def rates(self) -> dict[str, float]:
        """Share of correct answers by problem."""
        return {name: correct / graded for name, (_, graded, correct) in self.counts.items()}

    def scores(self, levels: Sequence[int]) -> list[Score]:
        """pass@1 and pass@k by level, with 95 % intervals."""
        by_level = []
        for level in levels:
            here = np.array([counted for of, *counted in self.counts.values() if of == level], np.int64)
            if not len(here):
                continue
            graded, correct = here.T
            k = int(graded.min())
            one, many = bootstrap(correct / graded), float(pass_at_k(graded, correct, k).mean())
            by_level.append(Score(level, len(here), int(graded.max()), one.mean, one.low, one.high, k, many))
        return by_level


def paired(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[Interval | None, list[str]]:
    """(mean of after - before with its 95 % interval, the problems that both have); None where they share none."""
    shared = sorted(before.keys() & after.keys())
    if not shared:
        return None, shared
    return paired_bootstrap(np.array([before[p] for p in shared]), np.array([after[p] for p in shared])), shared


def failed(answers: pa.Table, most: float, which: str) -> int:
    """The number of failed verdicts (columns state and why). Raises UserError where their share is more than `most`."""
    broken = answers.filter(pc.equal(answers["state"], State.FAILED))
    share = len(broken) / max(1, len(answers) - answers["state"].null_count)
    if share > most:
        reasons = Counter(" ".join((why or "no reason given").split())[:160] for why in broken["why"].to_pylist())
        said = "; ".join(f"{why} ({n} times)" for why, n in reasons.most_common(2))
        raise UserError(
            f"the verifier failed on {len(broken)} {which} answers, {share:.1%}: {said}. Nothing is lost: mend the verifier "
            f"and type another run.dir, or failed_share={math.ceil(100 * share) / 100:g} to resume without them"
        )
    return len(broken)


def promotion(before: Results, after: Results, champion: str) -> tuple[bool, str]:
    """Whether a new model is promoted, and why: it is, unless it is significantly worse than the best model so far.

    before: results of the best model; after: of the new one. Raises ValueError where they share no graded problem.
    """
    gain, _ = paired(before.rates(), after.rates())
    if gain is None:
        raise ValueError("no held-out answer could be graded")
    change = f"held-out pass@1 {100 * gain.mean:+.1f} points (95 % {100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
    if gain.high < 0:
        return False, f"not promoted, worse beyond noise: {change}; the next round starts from {champion}"
    return True, f"promoted: {change}"


def solve_rates(nodes: pa.Table) -> dict[int, float]:
    """Share of correct answers by level; without failed verdicts. nodes: the columns level and state."""
    ended = nodes.drop_null()
    counts = tally(ended["level"].to_pylist(), ended["state"].to_pylist())
    return {level: correct / graded for level, (graded, correct) in sorted(counts.items()) if graded}


def diversity(nodes: pa.Table, decisions: pa.Table, problems: int) -> Diversity:
    """Diversity of the answers of a round's search.

    nodes: the columns node, token_ids, logprobs (null where nothing asked for them: the entropy is of the others) and origin;
    decisions: of its answers; problems: how many were searched.
    """
    right = decisions.filter(pc.equal(decisions["state"], State.CORRECT))
    counts = tally(decisions["problem_id"].to_pylist(), decisions["state"].to_pylist())
    graded = np.array([each for each in counts.values() if each[0]]).reshape(-1, 2)
    k = int(graded[:, 0].min()) if len(graded) else 0
    logprobs, offsets = flat(nodes, "logprobs")
    sampled = np.repeat(generated(nodes) > 0, np.diff(offsets))
    return Diversity(
        len(set(fingerprints(right))) / max(1, problems),
        k,
        float(pass_at_k(graded[:, 0], graded[:, 1], k).mean()) if k else 0.0,
        float(-logprobs[sampled].mean()) if sampled.any() else 0.0,
    )


def audited(first: Sequence[str], second: Sequence[str]) -> Audit:
    """Summarise the states that two verifiers give the same answers."""
    graded = [pair for pair in zip(first, second, strict=True) if State.FAILED not in pair]
    counts = Counter((one == State.CORRECT, two == State.CORRECT) for one, two in graded)
    checked, refused = (counts[one, True] + counts[one, False] for one in (True, False))
    rate, missed = wilson(counts[True, False], checked), wilson(counts[False, True], refused)
    of_accepted = checked, counts[True, False], rate.mean, rate.low, rate.high
    return Audit(*of_accepted, refused, counts[False, True], missed.mean, missed.low, missed.high)
