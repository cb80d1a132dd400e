"""The memory of each process of a run, computed from its config, not measured.

For each parameter a trainer holds a weight, a gradient and two moments in float32 (16 bytes, over all ranks); on a GPU a copy
in bfloat16; of several ranks, the largest block gathered twice. Then the activations of its rows: per token and layer 27 bytes
for each value of the width and 8.5 for each of the MLP's inner width in bfloat16, 40 and 16 in float32 (fitted to peaks that
tests/bench/bench_gpu.py and bench_memory.py measure); with `recompute` one layer's and every layer's input. And the logits of
the tokens that are scored at once (in float32, with their log-probabilities and gradients: 12 bytes each, 2 more for those in
bfloat16).
An engine holds the weights in its own type and, for each token in its cache, 2 L h_kv d values (Kwon et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from cluster.engine import memory_share
from cluster.train.checkpoint import FILE_BYTES
from iteration import config as settings
from iteration import tiny
from iteration.errors import UserError
from iteration.losses import AT_ONCE
from iteration.parts import JUDGE, TASK
from iteration.protocols import Corpus, Plays

GB = 1e9
OVERHEAD = 1.5 * GB  # of a process on a GPU: CUDA's context, NCCL's and the allocator's buffers
LIBRARIES = 0.9 * GB  # of a trainer on CPU: Python, torch and its buffers (tests/bench/bench_memory.py)


@dataclass(frozen=True)
class Shape:
    """What a model's memory depends on."""

    parameters: int
    block: int  # of the largest block
    layers: int
    width: int
    inner: int  # of the MLP
    vocabulary: int
    cached: int  # values that one token has in the key-value cache


@dataclass(frozen=True)
class Holding:
    """The memory of one process on a device. `parts`: {what: bytes}; limit: bytes that it may take there."""

    actor: str  # trainer, generator or judge
    count: int  # processes of this kind
    gpus: float  # that each reserves; 0 on the CPU
    parts: dict[str, float]
    limit: float
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.actor if self.count == 1 else f"{self.actor} x {self.count}"

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        return self.total <= self.limit


def shape_of(config: Any) -> Shape:
    """From a transformers config; nothing is loaded."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    kinds = set(model._no_split_modules or ())
    blocks = [sum(p.numel() for p in m.parameters()) for m in model.modules() if type(m).__name__ in kinds]
    heads = config.num_attention_heads
    given = config.to_dict()  # models differ in what their configs have
    head = given.get("head_dim") or config.hidden_size // heads
    kv = 2 * config.num_hidden_layers * (given.get("num_key_value_heads") or heads) * head
    parameters = sum(p.numel() for p in model.parameters())
    widths = config.hidden_size, given.get("intermediate_size") or 4 * config.hidden_size
    return Shape(parameters, max(blocks, default=0), config.num_hidden_layers, *widths, config.vocab_size, kv)


def trainer(shape: Shape, options: Any, device: float, alone: bool = False) -> Holding:
    """A rank of the trainer. options: the section `train`; device: bytes of a GPU, or of the machine's memory; alone: the
    engine on the same GPU releases its memory during training."""
    half = options.bf16 and options.gpus > 0
    own, shares = (2 if half else 4), options.ranks
    learnt = 0.02 * shape.parameters if options.lora else shape.parameters  # adapters: at most a few percent
    tokens = options.micro_rows * options.row_tokens
    layer = tokens * ((27 * shape.width + 8.5 * shape.inner) if half else (40 * shape.width + 16 * shape.inner))
    inputs = shape.layers * tokens * shape.width * own
    parts = {
        "weights (float32)": 4 * shape.parameters / shares,
        "gradients": 4 * learnt / shares,
        "moments": 8 * learnt / shares,
        "gathered blocks": 2 * shape.block * own if shares > 1 else 0.0,
        "a bfloat16 copy": 2 * shape.parameters if half and shares == 1 else 0.0,
        "activations": inputs + layer if options.recompute else shape.layers * layer,
        "logits": (14.0 if half else 12.0) * min(tokens * shape.vocabulary, AT_ONCE),
    }
    if not options.gpus:  # with a GPU the copy that is written is in the machine's memory
        parts |= {"a checkpoint being written": 12 * learnt / shares + FILE_BYTES, "libraries": LIBRARIES}
    share = device - OVERHEAD if alone else device * options.gpus  # a sleeping engine keeps CUDA's own buffers
    limit = share - OVERHEAD if options.gpus else device
    notes = []
    if options.gpus and not options.recompute and parts["activations"] > 0.3 * limit:
        notes.append("train.recompute=true saves most of the activations' memory, at a third more time")
    return Holding("trainer", shares, options.gpus, parts, limit, notes)


def engine(shape: Shape, options: Any, count: int, device: float, name: str = "generator") -> Holding:
    """An engine. options: the section `generate`; device: bytes of a GPU."""
    own = 2 if options.dtype in ("bfloat16", "float16") else 4
    gpus = max(1, int(options.gpus))  # tensor and pipeline parallelism split weights and cache
    token = shape.cached * own / gpus
    weights = shape.parameters * own / gpus
    if not options.gpus:
        cache = options.cache_mb * 2**20
        return Holding(
            name, count, 0, {"weights": weights, "key-value cache": cache}, float("inf"), room(cache, token, options)
        )
    limit = device * memory_share(options)
    work = 2 * shape.vocabulary * 4 * min(options.max_seqs, 1024) / gpus + OVERHEAD
    cache = max(0.0, limit - weights - work)
    parts = {
        "weights": weights,
        "activations and buffers": work,
        "key-value cache (the rest)": max(cache, options.context * token),
    }
    return Holding(name, count, options.gpus, parts, limit, room(cache, token, options))


def room(cache: float, token: float, options: Any) -> list[str]:
    """How many whole answers the cache holds at once."""
    answers = int(cache / (token * options.context)) if token else 0
    said = f"the cache holds {answers:,} answers of {options.context:,} tokens"
    few = f", fewer than generate.max_seqs={options.max_seqs}: the rest wait" if answers < options.max_seqs else ""
    return [said + few]


def holdings(config: DictConfig, shape: Shape, gpu: float, memory: float) -> list[Holding]:
    """Every process that holds a model. gpu: bytes of a GPU; memory: bytes of a machine."""
    where = config.placement
    device = gpu if config.train.gpus else memory
    processes = [
        trainer(shape, config.train, device, config.generate.sleep),
        engine(shape, config.generate, where.generators or 1, gpu),
    ]
    if config.judge and JUDGE.part_class(config.judge.name).learned:
        processes.append(engine(shape, config.generate, where.judges, gpu, "judge"))
    return processes


def model_config(path: str, config: DictConfig) -> Any:
    """The transformers config of the run's first model. Raises UserError."""
    from transformers import AutoConfig

    if path:
        try:
            return AutoConfig.from_pretrained(path)
        except (OSError, ValueError) as error:
            what = str(error).splitlines()[0]
            raise UserError(f"model.path {path}: no Hugging Face model there ({what})") from None
    task = settings.part(config.task, TASK).make()
    if isinstance(task, Plays):
        raise UserError(f"task {config.task.name} is a game: its net takes a few megabytes, and nothing is planned")
    if not isinstance(task, Corpus):
        raise UserError(f"model.path is missing: task {config.task.name} makes no model of its own; type model.path=FOLDER")
    return tiny.config(config.model.shape, len(task.vocabulary))


def memory_of_this_machine() -> float:
    import psutil

    return float(psutil.virtual_memory().total)


def gpu_of_this_machine() -> float:
    """Bytes of the first GPU; 0 where there is none."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else 0.0
