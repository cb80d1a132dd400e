"""The verifier's own check of each step as a judge: an upper bound for process reward models, not a usable judge.

It needs a verifier that can check steps (iteration.protocols.GradesSteps). 1 where every step so far is correct, else 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Oracle:
    learned: ClassVar[bool] = False
