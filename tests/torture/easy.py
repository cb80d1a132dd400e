"""A verifier for a storm: what it accepts does not matter, only that there is something to train on, and always the same."""

import zlib
from dataclasses import dataclass

from iteration.types import State, Verdict


@dataclass
class Easy:
    """Accepts every other answer, by its checksum."""

    def verify(self, problems, answers):
        return [self.one(f"{problem.id}{answer}", answer) for problem, answer in zip(problems, answers, strict=True)]

    def one(self, text, answer):
        good = zlib.crc32(text.encode()) % 2
        return Verdict(State.CORRECT, answer, 1.0) if good else Verdict(State.WRONG, answer, why="odd")
