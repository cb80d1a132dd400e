"""Several processes that train one model together: torch FSDP2 over gloo on CPU, over NCCL on GPUs.

Each rank holds a share of every weight, gradient and moment, in float32; on GPUs it computes in bfloat16. Only rank 0 reads a
model from disk and writes one. A single rank needs none of this: it computes with a bfloat16 copy of its float32 weights.
Sources: torch.distributed.fsdp.fully_shard, torch.distributed.checkpoint.state_dict.
"""

from __future__ import annotations

import contextlib
import copy
import datetime
import gc
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any

from iteration.cost import Size

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch.distributed.device_mesh import DeviceMesh

PATIENCE = datetime.timedelta(minutes=30)  # for a slow rank; if one dies, the driver stops the others


@dataclass(frozen=True, slots=True)
class Group:
    """One rank among those that train together. `address`: tcp://HOST:PORT of rank 0."""

    rank: int = 0
    ranks: int = 1
    address: str = ""

    @property
    def first(self) -> bool:
        return self.rank == 0


ALONE = Group()


@dataclass(frozen=True, slots=True)
class Head:
    """What a model computes from its last hidden states: an Auto class of transformers and its options."""

    auto: str
    options: dict[str, Any]

    @property
    def model_class(self) -> Any:
        import transformers

        return getattr(transformers, self.auto)


POLICY = Head("AutoModelForCausalLM", {})
VALUE = Head("AutoModelForSequenceClassification", {"num_labels": 1})


def environment() -> dict[str, str]:
    """The environment variables of a rank's process. A thread that waits for others soon sleeps: by default it spins for a
    millisecond, and beside other processes on the same cores that makes a step many times as long (docs/experiments.md)."""
    return {"GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}


def meeting_point(host: str = "127.0.0.1") -> str:
    """An address of this process, on a port that is free now, at which the other ranks find it."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


@contextlib.contextmanager
def joined(group: Group, device: str) -> Iterator[DeviceMesh | None]:
    """The mesh of all ranks while they train; None for a single one, which needs none."""
    if group.ranks == 1:
        yield None
        return
    import torch
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(0)  # Ray shows each rank its own GPU only
    where = {"init_method": group.address or meeting_point(), "rank": group.rank, "world_size": group.ranks}
    distributed.init_process_group(backend, timeout=PATIENCE, **where)
    try:
        yield init_device_mesh(device, (group.ranks,))
    finally:
        distributed.destroy_process_group()


def release(device: str) -> None:
    """Free the GPU memory of a training: an engine may share the GPU."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def load(
    head: Head, source: Path, group: Group, mesh: DeviceMesh | None, half: bool, lora: int, device: str = "cpu"
) -> torch.nn.Module:
    """The model of a Hugging Face folder in float32, a share of it on each rank.

    half: it will compute in bfloat16 (`working`); lora: rank of the adapters, 0 for none.
    """
    import torch
    from transformers import AutoConfig

    from cluster.train.attention import VARLEN

    options = {"attn_implementation": VARLEN if half else "sdpa"} | head.options
    if mesh is None or group.first:
        model = head.model_class.from_pretrained(source, dtype=torch.float32, **options)
    else:  # its weights come from rank 0
        config = AutoConfig.from_pretrained(source, **options)
        with torch.device("meta"):
            model = head.model_class.from_config(config, dtype=torch.float32)
    blocks = set(model._no_split_modules or ())
    model = adapted(model, lora)
    return model.to(device) if mesh is None else shard(model, blocks, group, mesh, half)


def adapted(model: torch.nn.Module, lora: int) -> torch.nn.Module:
    """The model with low-rank adapters on all its linear layers but the head; only they are trained. alpha is twice the rank.
    Source: Hu et al. 2021."""
    if not lora:
        return model
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=lora, lora_alpha=2 * lora, target_modules="all-linear", task_type="CAUSAL_LM"))


def shard(model: torch.nn.Module, blocks: set[str], group: Group, mesh: DeviceMesh, half: bool) -> torch.nn.Module:
    """Give every rank its share of rank 0's model. blocks: names of classes whose weights are gathered as a whole."""
    import torch
    from torch import distributed
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    whole = {name: value.clone() for name, value in model.state_dict().items()} if group.first else {}
    types = {"param_dtype": torch.bfloat16, "reduce_dtype": torch.float32} if half else {}
    options = {"mesh": mesh, "mp_policy": MixedPrecisionPolicy(**types)}
    for module in model.modules():
        if type(module).__name__ in blocks:
            fully_shard(module, **options)
    fully_shard(model, **options)
    if group.first:
        model.to(mesh.device_type)
    else:
        model.to_empty(device=mesh.device_type)
    set_model_state_dict(model, whole, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
    for buffer in model.buffers():  # also those that no state dict holds
        distributed.broadcast(buffer, 0)
    return model


def working(model: torch.nn.Module, half: bool) -> torch.nn.Module:
    """What computes for a model on a single rank: the model itself, or a bfloat16 copy whose gradients `Gradients`
    brings to the model. `refresh` brings it the new weights after a step."""
    if not half:
        return model
    copied = copy.deepcopy(model)
    for mine in copied.parameters():
        mine.data = mine.data.bfloat16()  # only parameters: buffers, such as the frequencies of positions, stay exact
    return copied


LOT = 2**27  # gradients that are brought over at once: 768 MB of them, and of their copy in float32


class Gradients:
    """Brings a working copy's gradients to its model, in float32 and summed over micro-batches: during the backward pass, so
    that they do not add up in memory, and many at once, because a small model's step is as long as its kernels are many."""

    def __init__(self, copied: torch.nn.Module, model: torch.nn.Module):
        self._waiting: list[tuple[torch.nn.Parameter, torch.nn.Parameter]] = []
        self._size = 0
        for master, mine in zip(model.parameters(), copied.parameters(), strict=True):
            if mine is not master and mine.requires_grad:
                mine.register_post_accumulate_grad_hook(partial(self._arrived, master))

    def _arrived(self, master: torch.nn.Parameter, mine: torch.nn.Parameter) -> None:
        self._waiting.append((master, mine))
        self._size += mine.numel()
        if self._size >= LOT:
            self.deliver()

    def deliver(self) -> None:
        """Those that are still waiting; after a backward pass."""
        import torch

        if not self._waiting:
            return
        with torch.no_grad():
            brought = [torch.empty_like(master) for master, _ in self._waiting]
            torch._foreach_copy_(brought, [mine.grad for _, mine in self._waiting])
            both = [(master, new) for (master, _), new in zip(self._waiting, brought, strict=True)]
            summed = [(master.grad, new) for master, new in both if master.grad is not None]
            if summed:
                torch._foreach_add_(*map(list, zip(*summed, strict=True)))
            for master, new in both:
                if master.grad is None:
                    master.grad = new
        for _, mine in self._waiting:
            mine.grad = None
        self._waiting, self._size = [], 0


def refresh(copied: torch.nn.Module, model: torch.nn.Module) -> None:
    """Bring a working copy its model's new weights."""
    import torch

    if copied is not model:
        with torch.no_grad():
            torch._foreach_copy_([*copied.parameters()], [*model.parameters()])


def gathering(model: torch.nn.Module, loss: Callable, mesh: DeviceMesh | None) -> Callable:
    """A loss of (model, batch) as a function of a batch. It calls parts of the model, for which FSDP has to gather the weights
    too: as a method of the model it can be declared to be a forward pass."""
    if mesh is None:
        return partial(loss, model)
    from torch.distributed.fsdp import register_fsdp_forward_method

    model.loss_of = MethodType(loss, model)
    register_fsdp_forward_method(model, "loss_of")
    return model.loss_of


class Sent:
    """Numbers on their way from the device. `read` waits for them, but not for work that was queued later."""

    def __init__(self, numbers: torch.Tensor):
        import torch

        self._numbers = numbers.to("cpu", non_blocking=True)  # to pinned memory, if from a GPU
        self._event = torch.cuda.Event() if numbers.is_cuda else None
        if self._event:
            self._event.record()

    def read(self) -> list[float]:
        if self._event:
            self._event.synchronize()
        return self._numbers.tolist()


def moved(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """To a GPU from pinned memory: the copy is queued behind the work that the GPU has, and nobody waits for it."""
    import torch

    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def whole_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights on rank 0's CPU, nothing on the others. Every rank has to call it."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def dtype_of(folder: Path) -> str:
    """The dtype of the weights in a Hugging Face folder, as its config names it: float32 where it does not."""
    from transformers import AutoConfig

    return str(AutoConfig.from_pretrained(folder).dtype or "float32").removeprefix("torch.")


def save(
    model: torch.nn.Module,
    head: Head,
    source: Path,
    target: Path | None,
    mesh: DeviceMesh | None,
    lora: int,
    dtype: str = "float32",
) -> None:
    """Write a Hugging Face folder, on the rank that is given a target; adapters are merged. Every rank has to call it.

    Without adapters the model itself then has that dtype, so what stays in memory is what was written.
    """
    import torch

    kind = getattr(torch, dtype)
    if not lora and dtype != "float32":
        model.to(kind)
    if mesh is None and not lora:
        model.save_pretrained(target)
        return
    state = whole_state(model) if mesh is not None else model.state_dict()
    if target is None:
        return
    if lora:
        model = adapted(head.model_class.from_pretrained(source, dtype=torch.float32), lora)
        model.load_state_dict(state)
        model.merge_and_unload().to(kind).save_pretrained(target)
    else:
        with torch.device("meta"):
            shell = head.model_class.from_config(model.config, dtype=kind)
        tied = getattr(shell, "all_tied_weights_keys", None) or {}
        shell.save_pretrained(target, state_dict={name: value for name, value in state.items() if name not in tied})


# Dense bfloat16 operations a second, from the makers' data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}


def used(model: torch.nn.Module, speed: float, context: float, group: Group) -> dict[str, float]:
    """Peak memory of this rank (MB) and, on a known GPU, the model FLOPs utilisation (MFU).

    speed: tokens a second of all ranks; context: mean tokens that a token attends to.
    Source: Chowdhery et al. 2022, appendix B.
    """
    import resource

    import torch

    if next(model.parameters()).device.type != "cuda":
        return {"memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
    name = torch.cuda.get_device_name()
    numbers = {"memory_mb": round(torch.cuda.max_memory_allocated() / 2**20)}
    peak = next((flops for part, flops in PEAKS.items() if part in name), 0.0)
    if peak:
        size = Size.of(model.config.to_dict(), sum(parameter.numel() for parameter in model.parameters()))
        numbers["mfu"] = round(size.training_flops(speed, context) / (peak * group.ranks), 4)
    return numbers


def together(value: torch.Tensor, mesh: DeviceMesh | None) -> torch.Tensor:
    """The sum over all ranks, on the device."""
    if mesh is not None:
        from torch import distributed

        distributed.all_reduce(value)
    return value


def agreed(value: Any, mesh: DeviceMesh | None) -> Any:
    """The value of rank 0, on every rank."""
    if mesh is None:
        return value
    from torch import distributed

    shared = [value]
    distributed.broadcast_object_list(shared, 0, device="cpu")
    return shared[0]
