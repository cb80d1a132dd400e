"""The first model of a game: an untrained net, and a tokenizer with a word for every cell, in one folder.

The words let a run folder show games as it shows answers: a move is a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iteration.games.hex import Hex
from iteration.parts import at_least
from iteration.tiny import words

GAME, MOVE, MATCH = "game", "move", "match"  # what a prompt asks for
OWN = 6  # words that are no cell: padding, end of text, the board (4x4), and the three above


@dataclass
class Size:
    """Of a net: 128 x 4 has about 72,000 weights on a board of 4 x 4."""

    width: int = 128
    depth: int = 4  # residual layers

    def __post_init__(self) -> None:
        at_least(self, width=1, depth=0)


def vocabulary(game: Hex) -> list[str]:
    """The words of its tokenizer, by token."""
    return ["<pad>", "<end>", f"{game.size}x{game.size}", GAME, MOVE, MATCH, *game.names]


def build(folder: Path, game: Hex, size: Size, seed: int) -> None:
    """Save the net and its tokenizer: the token of cell i is i + OWN."""
    import torch

    from iteration.games.net import Net

    torch.manual_seed(seed)
    Net(game.cells, size).save(folder)
    words(vocabulary(game)).save_pretrained(folder)
