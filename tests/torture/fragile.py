"""A verifier that one problem kills, as an endless recursion in C or a full memory would."""

import os
import signal
from dataclasses import dataclass

from tests.torture.easy import Easy


@dataclass
class Fragile(Easy):
    poison: str = ""  # id of the problem

    def verify(self, problems, answers):
        if self.poison in [problem.id for problem in problems]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().verify(problems, answers)
