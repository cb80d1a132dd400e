"""The optimiser loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

from cluster.train import ranks
from cluster.train.checkpoint import Checkpoints
from cluster.train.options import Optimise
from cluster.train.ranks import ALONE, Group
from iteration.packing import Batch

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh


class Objective(Protocol):
    """A loss, and what it is divided by: two methods of iteration.protocols.Learn."""

    def objective(self, model: Any) -> Callable: ...

    def total(self, batch: Any) -> float: ...


def pace(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Share of the highest learning rate at a step: a linear warm-up, then the schedule down to a twentieth at the end."""
    down = {"cosine": 0.525 + 0.475 * math.cos(math.pi * step / steps), "linear": 1 - 0.95 * step / steps, "constant": 1.0}
    return min(1.0, (step + 1) / warmup) * down[schedule]


def fit(
    model: torch.nn.Module,
    plan: list[Batch],
    options: Optimise,
    learn: Objective,
    checkpoints: Checkpoints | None = None,
    group: Group = ALONE,
    mesh: DeviceMesh | None = None,
    norms: list[float] | None = None,
) -> Iterator[float]:
    """One optimiser step per batch; yields the loss of each step, for a policy in nats per target token.

    The loss is divided by the total of the whole batch, so accumulation over micro-batches does not change it. Sequences
    packed in one row do not see each other: transformers builds the block mask from positions that restart at 0. With
    checkpoints, steps of earlier attempts are not repeated; their losses are yielded as they were.

    In a group each rank works on its share of the rows, and the losses and the model are those of a single rank, up to
    rounding. norms: the gradient's norm before clipping is appended for each step that this attempt takes.
    """
    import torch

    loss_of = learn.objective(model)  # of the weights that the training starts from
    learnt = [p for p in model.parameters() if p.requires_grad]
    adam = optimiser(learnt, options)
    losses = checkpoints.restore(model, adam, len(plan)) if checkpoints else []
    yield from losses
    warmup = max(1, round(options.warmup * len(plan)))
    for step, batch in enumerate(plan[len(losses) :], len(losses)):
        for parameters in adam.param_groups:
            parameters["lr"] = options.lr * pace(options.schedule, step, len(plan), warmup)
        whole = max(learn.total(batch), 1e-9)
        total = torch.zeros((), dtype=torch.float64, device=model.device)
        for micro in micro_batches(batch, options.micro_rows, group, model.device):
            loss = loss_of(model, micro) / whole
            (loss * group.ranks).backward()  # the ranks' gradients are averaged
            total += loss.detach()  # on the device: reading it here would wait for the GPU
        loss = ranks.together(total.item(), mesh)
        norm = torch.nn.utils.clip_grad_norm_(learnt, options.clip)
        if norms is not None:
            norms.append(float(norm.full_tensor() if mesh is not None else norm))
        adam.step()
        adam.zero_grad(set_to_none=True)
        losses.append(loss)
        if checkpoints:
            checkpoints.save(model, adam, len(plan), losses)
        yield loss
    if checkpoints:
        checkpoints.close()


def optimiser(parameters: list[torch.nn.Parameter], options: Optimise) -> torch.optim.AdamW:
    """Weight decay is for matrices only."""
    import torch

    plain, matrices = [p for p in parameters if p.dim() < 2], [p for p in parameters if p.dim() >= 2]
    groups = [{"params": matrices}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=tuple(options.betas), weight_decay=options.weight_decay, fused=True)


def micro_batches(batch: Batch, rows: int, group: Group, device: torch.device) -> Iterator[SimpleNamespace]:
    """This rank's share of a batch as tensors, `rows` rows at a time (what losses take: iteration/losses.py).

    Every rank gets the same number of them, because all take part in each forward pass: one without rows left gets a row
    whose weights are all 0.
    """
    import torch

    for at in range(group.rank * rows, len(batch.token_ids) + group.rank * rows, rows * group.ranks):
        arrays = batch.rows(slice(at, at + rows))
        if not len(arrays["token_ids"]):
            arrays = batch.rows(slice(0, 1), counted=False)
        yield SimpleNamespace(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
