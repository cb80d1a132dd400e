"""A policy-and-value net for boards: fully connected residual layers that start as the identity (ReZero).

A folder holds config.json and model.safetensors, as of every other model here.
Sources: Bachlechner et al. 2020 (ReZero); Jones 2021 for its sizes on Hex; Silver et al. 2017 for the loss.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from iteration.games.model import Size


class Net(nn.Module):
    def __init__(self, cells: int, size: Size):
        super().__init__()
        self.cells, self.size = cells, size
        self.first = nn.Linear(2 * cells, size.width)
        self.layers = nn.ModuleList(nn.Linear(size.width, size.width) for _ in range(size.depth))
        self.gates = nn.Parameter(torch.zeros(size.depth))
        self.policy, self.value = nn.Linear(size.width, cells), nn.Linear(size.width, 1)

    def forward(self, boards: Tensor) -> tuple[Tensor, Tensor]:
        """boards: int8 [n, cells], as the player to move sees them. Returns (log-probabilities of the moves, float32
        [n, cells], -inf where a cell is taken; the expected result for the player to move, in [-1, 1], float32 [n])."""
        x = torch.relu(self.first(torch.cat([boards == 1, boards == -1], 1).float()))
        for layer, gate in zip(self.layers, self.gates, strict=True):
            x = x + gate * torch.relu(layer(x))
        logits = self.policy(x).masked_fill(boards != 0, -torch.inf)
        return logits.log_softmax(1), torch.tanh(self.value(x))[:, 0]

    def evaluate(self, boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(priors, float32 [n, cells], values, float32 [n]) of boards, int8 [n, cells]."""
        with torch.inference_mode():
            logs, values = self(torch.from_numpy(np.ascontiguousarray(boards)))
            return logs.exp().numpy(), values.numpy()

    def save(self, folder: Path) -> None:
        config = {"cells": self.cells} | asdict(self.size)
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Net:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        net = cls(config["cells"], Size(config["width"], config["depth"]))
        net.load_state_dict(load_file(folder / "model.safetensors"))
        return net.eval()


def loss(net: Net, boards: Tensor, policy: Tensor, results: Tensor) -> Tensor:
    """Cross-entropy to the search's visits plus the squared error to the results, mean over n positions.

    policy: float32 [n, cells], shares of the visits; results: float32 [n], 1 where the player to move has won, else -1.
    """
    logs, values = net(boards)
    return -(policy * logs.clamp(min=-1e9)).sum(1).mean() + (values - results).square().mean()


def turn(boards: np.ndarray, policy: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions with their policies, half a turn round where `which` (bool [n]) says so: it changes no value in Hex."""
    return tuple(np.where(which[:, None], each[:, ::-1], each) for each in (boards, policy))


def fit(
    net: Net, positions: tuple[np.ndarray, np.ndarray, np.ndarray], order: np.ndarray, rows: int, rates: np.ndarray, seed: int
) -> Iterator[float]:
    """One step of Adam for every `rows` positions; yields its loss. Half of the positions are turned round, by the seed.

    positions: (boards, policy, results) as in `loss`; order: indices of positions, int64 [m]; rates: the learning rate of each
    step, float [ceil(m / rows)].
    """
    rng, adam = np.random.default_rng(seed), torch.optim.Adam(net.parameters(), fused=True)
    boards, policy, results = positions
    net.train()
    for step, start in enumerate(range(0, len(order), rows)):
        chosen = order[start : start + rows]
        turned = turn(boards[chosen], policy[chosen], rng.random(len(chosen)) < 0.5)
        adam.param_groups[0]["lr"] = float(rates[step])
        got = loss(net, *map(torch.from_numpy, (*turned, results[chosen])))
        got.backward()
        adam.step()
        adam.zero_grad(set_to_none=True)
        yield got.item()
    net.eval()
