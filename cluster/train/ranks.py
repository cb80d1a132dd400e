"""Several processes that train one model together: torch FSDP2 over gloo on CPU, over NCCL on GPUs.

Each rank holds a share of every weight, gradient and moment, in float32; on GPUs it computes in bfloat16. Only rank 0 reads a
model from disk and writes one. Sources: torch.distributed.fsdp.fully_shard, torch.distributed.checkpoint.state_dict.
"""

from __future__ import annotations

import contextlib
import datetime
import gc
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iteration.cost import Size

if TYPE_CHECKING:
    import torch
    from torch.distributed.device_mesh import DeviceMesh

PATIENCE = datetime.timedelta(minutes=30)  # for a slow rank; if one dies, the driver stops the others
# Sequences of a packed row do not see each other: transformers builds the mask from positions that restart at 0. A dense mask
# (sdpa) has the square of a row's tokens, too many in a long row; flex attention has no backward pass on CPU.
ATTENTION = {"cpu": "sdpa", "cuda": "flex_attention"}


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


def meeting_point(host: str = "127.0.0.1") -> str:
    """An address of this process, on a port that is free now, at which the other ranks find it."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"


@contextlib.contextmanager
def joined(group: Group, device: str) -> Iterator[DeviceMesh | None]:
    """The mesh of all ranks while they train; None for one process on a CPU, which needs none."""
    if group.ranks == 1 and device == "cpu":
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


def load(head: Head, source: Path, group: Group, mesh: DeviceMesh | None, half: bool, lora: int) -> torch.nn.Module:
    """The model of a Hugging Face folder in float32, a share of it on each rank.

    half: compute in bfloat16; lora: rank of the adapters, 0 for none.
    """
    import torch
    from transformers import AutoConfig

    attention = ATTENTION["cpu" if mesh is None else mesh.device_type]
    if mesh is None or group.first:
        model = head.model_class.from_pretrained(source, dtype=torch.float32, attn_implementation=attention, **head.options)
    else:  # its weights come from rank 0
        config = AutoConfig.from_pretrained(source, attn_implementation=attention, **head.options)
        with torch.device("meta"):
            model = head.model_class.from_config(config, dtype=torch.float32)
    blocks = set(model._no_split_modules or ())
    model = adapted(model, lora)
    return model if mesh is None else shard(model, blocks, group, mesh, half)


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


def together(value: float, mesh: DeviceMesh | None) -> float:
    """The sum over all ranks."""
    if mesh is None:
        return value
    import torch
    from torch import distributed

    total = torch.tensor(value, dtype=torch.float64)
    distributed.all_reduce(total)
    return float(total)


def agreed(value: Any, mesh: DeviceMesh | None) -> Any:
    """The value of rank 0, on every rank."""
    if mesh is None:
        return value
    from torch import distributed

    shared = [value]
    distributed.broadcast_object_list(shared, 0, device="cpu")
    return shared[0]
