"""The optimiser loop."""

from __future__ import annotations

import math
from collections import deque
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
    half: bool = False,
) -> Iterator[float]:
    """One optimiser step per batch; yields the loss of each step, for a policy in nats per target token.

    The loss is divided by the total of the whole batch, so accumulation over micro-batches does not change it. Sequences
    packed in one row do not see each other (cluster/train/attention.py). With checkpoints, steps of earlier attempts are not
    repeated; their losses are yielded as they were.

    In a group each rank works on its share of the rows, and the losses and the model are those of a single rank, up to
    rounding. norms: the gradient's norm before clipping is appended for each step that this attempt takes. half: compute in
    bfloat16. Nothing within a step waits for a GPU: a step's loss is read when the next one is on its way.
    """
    import torch

    worker = ranks.working(model, half and mesh is None)
    gradients = ranks.Gradients(worker, model)
    if options.compile:
        for module in worker.modules():
            if type(module).__name__ in (worker._no_split_modules or ()):
                module.compile()
    loss_of = ranks.gathering(worker, learn.objective(worker), mesh)  # of the weights that the training starts from
    learnt = [p for p in model.parameters() if p.requires_grad]
    adam = optimiser(learnt, options)
    losses = checkpoints.restore(model, adam, len(plan)) if checkpoints else []
    ranks.refresh(worker, model)
    yield from losses
    warmup = max(1, round(options.warmup * len(plan)))
    on_the_way: deque[ranks.Sent] = deque()

    def read(but: int) -> Iterator[float]:
        while len(on_the_way) > but:
            loss, norm = on_the_way.popleft().read()
            losses.append(loss)
            if norms is not None:
                norms.append(norm)
            yield loss

    for step, batch in enumerate(plan[len(losses) :], len(losses)):
        for parameters in adam.param_groups:
            parameters["lr"] = options.lr * pace(options.schedule, step, len(plan), warmup)
        whole = max(learn.total(batch), 1e-9)
        total = torch.zeros((), dtype=torch.float64, device=model.device)
        for micro in micro_batches(batch, options.micro_rows, group, worker):
            loss = loss_of(micro) / whole
            (loss * group.ranks).backward()  # the ranks' gradients are averaged
            gradients.deliver()
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(learnt, options.clip)
        norm = norm.full_tensor() if mesh is not None else norm
        adam.step()
        adam.zero_grad(set_to_none=True)
        ranks.refresh(worker, model)
        on_the_way.append(ranks.Sent(torch.stack([ranks.together(total, mesh), norm.double()])))
        due = checkpoints is not None and checkpoints.due()
        yield from read(0 if due or model.device.type == "cpu" else 1)
        if due:
            checkpoints.save(model, adam, len(plan), losses)
    yield from read(0)
    if checkpoints:
        checkpoints.close()


def optimiser(parameters: list[torch.nn.Parameter], options: Optimise) -> torch.optim.AdamW:
    """Weight decay is for matrices only."""
    import torch

    plain, matrices = [p for p in parameters if p.dim() < 2], [p for p in parameters if p.dim() >= 2]
    groups = [{"params": matrices}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=tuple(options.betas), weight_decay=options.weight_decay, fused=True)


def micro_batches(batch: Batch, rows: int, group: Group, model: torch.nn.Module) -> Iterator[SimpleNamespace]:
    """This rank's share of a batch as tensors, `rows` rows at a time (what losses take: iteration/losses.py).

    Every rank gets the same number of them, because all take part in each forward pass: one without rows left gets a row in
    which nothing counts.
    """
    from cluster.train.attention import arguments

    for at in range(group.rank * rows, len(batch.token_ids) + group.rank * rows, rows * group.ranks):
        mine = slice(at, at + rows)
        arrays = batch.rows(mine) if at < len(batch.token_ids) else batch.rows(slice(0, 1), counted=False)
        micro = SimpleNamespace(**{name: ranks.moved(array, model.device) for name, array in arrays.items()}, count=batch.count)
        micro.attention = arguments(model.config, micro.positions, micro.offsets)
        yield micro
