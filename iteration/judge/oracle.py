"""The verifier's own check of each step as a judge: an upper bound for what a process reward model could do, never a product.

It needs a verifier that can check steps (iteration.protocols.GradesSteps). 1 where every step so far is correct, else 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Oracle:
    learned: ClassVar[bool] = False
