"""The options of a training: how it is optimised, the first model, the rounds, and the value models."""

from __future__ import annotations

from dataclasses import dataclass, field

from cluster.engine import AUTO, number_of
from iteration import tiny
from iteration.games.model import Size
from iteration.parts import above, at_least, one_of


@dataclass
class Optimise:
    """AdamW with a short warm-up."""

    lr: float = 1e-3  # highest learning rate
    schedule: str = "cosine"  # after the warm-up: cosine or linear down to a twentieth, or constant
    rows: int = 8  # packed rows in one optimiser step
    row_tokens: int = 128  # slots of one row; no example may be longer
    micro_rows: int = 8  # rows in one forward pass (gradients are accumulated over `rows`)
    warmup: float = 0.02  # share of the steps
    betas: tuple[float, float] = (0.9, 0.98)  # AdamW's
    weight_decay: float = 0.05  # of matrices; not of norms and biases
    clip: float = 1.0  # largest norm of the gradient
    recompute: bool = False  # activations are recomputed in the backward pass: less memory, a third more time
    compile: bool = False  # torch.compile of each layer: the first step then takes longer

    def __post_init__(self) -> None:
        at_least(self, rows=1, row_tokens=1, micro_rows=1, warmup=0, weight_decay=0)
        above(self, lr=0, clip=0)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas is {self.betas}; expected two numbers from 0 up to, but not including, 1")
        one_of(self, schedule=("cosine", "linear", "constant"))


@dataclass
class WarmStart(Optimise):
    """How the first model is trained on the task's own flawed corpus if no `model.path` is given."""

    lr: float = 2e-3
    tokens: int = 2_000_000  # of the corpus, each seen once

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, tokens=1)


@dataclass
class Model:
    path: str = ""  # a Hugging Face folder or id to start from; without one, a small model warm-started on the task's corpus
    shape: tiny.Shape = field(default_factory=tiny.Shape)
    warm_start: WarmStart = field(default_factory=WarmStart)
    net: Size = field(default_factory=Size)  # of a game, in place of the language model


@dataclass
class Train(Optimise):
    tokens: int = 160_000  # trained on in each round
    start: str = "previous"  # each round's initial model: the best so far (previous) or the first one (base)
    pool: str = "all"  # training data: the kept answers of all rounds (all), or of the last one only (last)
    window: int = 0  # newest rounds that the pool holds; 0: as `pool` says
    checkpoint: float = 60.0  # seconds between two checkpoints during a training
    threads: int = 0  # CPU threads of each rank; 0: all cores. Another number may round otherwise
    gpus: float | int | str = AUTO  # of each rank: 0 is the CPU, 1 a GPU, 0.5 one that an engine shares; auto: what there is
    ranks: int = 1  # processes that share the model (FSDP2); with gpus=1, one GPU each
    bf16: bool = True  # on GPUs: compute in bfloat16, with weights and moments in float32
    save_dtype: str = "float32"  # of the weights in the run folder: float32, bfloat16, or the same as the model trained
    lora: int = 0  # rank of low-rank adapters that are trained instead of the weights, and merged into them; 0: all weights

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, tokens=1, window=0, checkpoint=0, threads=0, ranks=1, lora=0)
        one_of(self, start=("previous", "base"), pool=("all", "last"), save_dtype=("float32", "bfloat16", "same"))
        number_of(self.gpus, 1)

    @property
    def device(self) -> str:
        return "cuda" if number_of(self.gpus, 1) else "cpu"


@dataclass
class TrainJudge(Optimise):
    """How a value model is trained, each round from a copy of the policy's weights."""

    tokens: int = 400_000  # trained on in each round, from the answers of the newest rounds

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, tokens=1)
