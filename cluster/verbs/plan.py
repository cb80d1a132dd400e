"""`flywheel plan`: what goes where, and how much memory it takes, before anything starts. Arithmetic, not a measurement.

For each parameter a trainer holds a weight, a gradient and two moments in float32 (16 bytes, over all ranks), the largest block
gathered twice, the activations of its rows (Korthikanti et al. 2022, equation 1, with attention that keeps no scores: 34 s b h
bytes a layer in 16 bits, twice that in 32; with `recompute` one layer's and every layer's input) and the
logits (in float32, with their log-probabilities and gradients: 12 bytes each, 2 more for those in bfloat16).
An engine holds the weights in its own type and, for each token in its cache, 2 L h_kv d values (Kwon et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich import box
from rich.table import Table

from cluster.run import PACKAGES
from cluster.train.checkpoint import FILE_BYTES
from iteration import config as settings
from iteration.errors import UserError

GB = 1e9
ENGINE_SHARE = 0.9  # of a GPU that vLLM takes, activations included
OVERHEAD = 1.5 * GB  # of a process on a GPU: CUDA's context, NCCL's and the allocator's buffers
LIBRARIES = 0.9 * GB  # of a trainer on CPU: Python, torch and its buffers (tests/bench/bench_memory.py)


@dataclass(frozen=True)
class Shape:
    """What a model's memory depends on."""

    parameters: int
    block: int  # of the largest block
    layers: int
    width: int
    vocabulary: int
    cached: int  # values that one token has in the key-value cache
    sixteen: bool  # its own type has 16 bits


@dataclass(frozen=True)
class Holding:
    """What one process keeps on a device. `parts`: {what: bytes}; limit: bytes that it may take there."""

    actor: str
    gpus: float  # that it reserves; 0 on the CPU
    parts: dict[str, float]
    limit: float
    notes: list[str] = field(default_factory=list)

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
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    kv = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * head
    parameters = sum(p.numel() for p in model.parameters())
    own = getattr(config, "dtype", None) or torch.float32
    sixteen = own in (torch.bfloat16, torch.float16, "bfloat16", "float16")
    return Shape(
        parameters, max(blocks, default=0), config.num_hidden_layers, config.hidden_size, config.vocab_size, kv, sixteen
    )


def trainer(shape: Shape, options: Any, device: float, alone: bool = False) -> Holding:
    """A rank of the trainer. options: the section `train`; device: bytes of a GPU, or of the machine's memory; alone: the
    engine that it shares a GPU with gives up its memory meanwhile."""
    half = options.bf16 and options.gpus > 0
    own, shares = (2 if half else 4), options.ranks
    learnt = 0.02 * shape.parameters if options.lora else shape.parameters  # adapters are a few hundredths at most
    tokens = options.micro_rows * options.row_tokens
    layer = 34 * tokens * shape.width * (1 if half else 2)
    inputs = shape.layers * tokens * shape.width * own
    parts = {
        "weights (float32)": 4 * shape.parameters / shares,
        "gradients": 4 * learnt / shares,
        "moments": 8 * learnt / shares,
        "gathered blocks": (2 * shape.block * own) if shares > 1 or half else 0.0,
        "activations": inputs + layer if options.recompute else shape.layers * layer,
        "logits": (14.0 if half else 12.0) * tokens * shape.vocabulary,
    }
    if not options.gpus:  # on a GPU the copy that is written lies in the machine's memory
        parts |= {"a checkpoint being written": 12 * learnt / shares + FILE_BYTES, "libraries": LIBRARIES}
    share = device - OVERHEAD if alone else device * options.gpus  # an engine that sleeps keeps what CUDA itself takes
    limit = share - OVERHEAD if options.gpus else device
    notes = []
    if options.gpus and not options.recompute and parts["activations"] > 0.3 * limit:
        notes.append("train.recompute=true takes most of its activations away, for a third more time")
    return Holding(f"trainer x {shares}" if shares > 1 else "trainer", options.gpus, parts, limit, notes)


def engine(shape: Shape, options: Any, count: int, device: float, name: str = "generator") -> Holding:
    """An engine. options: the section `generate`; device: bytes of a GPU."""
    half = shape.sixteen if options.dtype == "auto" else options.dtype in ("bfloat16", "float16")
    own = (2 if half else 4) if options.gpus else 4
    gpus = max(1, int(options.gpus))  # tensor and pipeline parallel cut weights and cache alike
    token = shape.cached * own / gpus
    weights = shape.parameters * own / gpus
    actor = f"{name} x {count}" if count != 1 else name
    if not options.gpus:
        cache = options.cache_mb * 2**20
        return Holding(actor, 0, {"weights": weights, "key-value cache": cache}, float("inf"), room(cache, token, options))
    limit = device * (1.0 if options.sleep else min(1.0, options.gpus)) * ENGINE_SHARE
    work = 2 * shape.vocabulary * 4 * min(options.max_seqs, 1024) / gpus + OVERHEAD
    cache = max(0.0, limit - weights - work)
    parts = {
        "weights": weights,
        "activations and buffers": work,
        "key-value cache (the rest)": max(cache, options.context * token),
    }
    return Holding(actor, options.gpus, parts, limit, room(cache, token, options))


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
    found = [
        trainer(shape, config.train, device, config.generate.sleep),
        engine(shape, config.generate, where.generators or 1, gpu),
    ]
    if config.judge and settings.part_class("judge", PACKAGES["judge"], config.judge.name).learned:
        found.append(engine(shape, config.generate, where.judges, gpu, "judge"))
    return found


def wanted_gpus(config: DictConfig, found: list[Holding]) -> float:
    counts = {"trainer": config.train.ranks, "generator": config.placement.generators or 1, "judge": config.placement.judges}
    return sum(each.gpus * counts[each.actor.partition(" ")[0]] for each in found)


def tables(config: DictConfig, shape: Shape, found: list[Holding], memory: float) -> tuple[Table, list[str]]:
    """(a row for each kind of process, what is wrong or worth knowing)."""
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), title="memory expected on each device, GB", title_justify="left")
    for name in ("process", "GPUs each", "what", "GB", "limit", ""):
        table.add_column(name, justify="right" if name in ("GPUs each", "GB", "limit") else "left")
    said = []
    for each in found:
        limit = "" if each.limit == float("inf") else f"{each.limit / GB:.1f}"
        mark = "fits" if each.fits else "does not fit"
        table.add_row(each.actor, f"{each.gpus:g}", "in all", f"{each.total / GB:.2f}", limit, mark, style="bold")
        for what, size in each.parts.items():
            if size:
                table.add_row("", "", what, f"{size / GB:.2f}", "", "")
        if not each.fits:
            said.append(f"{each.actor} needs {each.total / GB:.1f} GB, but may take {each.limit / GB:.1f}; {advice(each)}")
        said += [f"{each.actor}: {note}" for note in each.notes]
    on_cpu = sum(each.total for each in found if not each.gpus)
    if on_cpu > memory:
        said.append(f"what runs on the CPU needs {on_cpu / GB:.1f} GB, but the machine has {memory / GB:.1f}")
    return table, said


def advice(each: Holding) -> str:
    if each.actor.startswith("trainer"):
        return "type train.ranks=N for more devices, train.recompute=true, train.lora=16, or fewer train.micro_rows"
    return "type generate.gpus=N to cut it over more GPUs (tensor parallel), or take a smaller model"


def model_config(path: str, config: DictConfig) -> Any:
    """The transformers config of the run's first model. Raises UserError."""
    from transformers import AutoConfig, Qwen3Config

    if path:
        try:
            return AutoConfig.from_pretrained(path)
        except (OSError, ValueError) as error:
            what = str(error).splitlines()[0]
            raise UserError(f"model.path {path}: no Hugging Face model there ({what})") from None
    tiny = config.model.shape
    task = settings.make(config.task, "task", PACKAGES["task"])
    if not hasattr(task, "vocabulary"):
        raise UserError(f"model.path is missing: task {config.task.name} makes no model of its own; type model.path=FOLDER")
    names = {"hidden_size": "hidden_size", "num_hidden_layers": "layers", "num_attention_heads": "heads"}
    names |= {"num_key_value_heads": "kv_heads", "head_dim": "head_dim", "intermediate_size": "intermediate_size"}
    sizes = {key: tiny[name] for key, name in names.items()}
    return Qwen3Config(vocab_size=len(task.vocabulary), tie_word_embeddings=True, **sizes)


def memory_of_this_machine() -> float:
    import psutil

    return float(psutil.virtual_memory().total)


def gpu_of_this_machine() -> float:
    """Bytes of the first GPU; 0 where there is none."""
    import torch

    return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else 0.0


def show(file: str, config: DictConfig, gpu_gb: float, console: Any) -> int:
    """Print the plan of a config. Returns 0 where all of it fits, else 1."""
    shape = shape_of(model_config(config.model.path, config))
    gpu, memory = gpu_gb * GB or gpu_of_this_machine(), memory_of_this_machine()
    if not gpu and (config.train.gpus or config.generate.gpus):
        raise UserError(f"{file}: it runs on GPUs, and there is none here; type --gpu-gb 80, what each of them has")
    found = holdings(config, shape, gpu, memory)
    table, said = tables(config, shape, found, memory)
    name = Path(config.model.path).name or "a small model of its own"
    console.print(
        f"{name}: {shape.parameters / 1e6:,.2f} million parameters, {shape.layers} layers; {wanted_gpus(config, found):g} GPUs"
        + (f" of {gpu / GB:.0f} GB" if gpu else "")
        + f"; lag={config.lag}",
        highlight=False,
    )
    console.print(table)
    for line in said:
        console.print(line, highlight=False, soft_wrap=True)
    return 0 if all(each.fits for each in found) else 1
