"""`flywheel plan`: the placement and memory of each process, before anything starts (arithmetic: cluster/memory.py)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.verbs.driving import config_arguments, kind_of, quiet
from iteration.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

    from cluster.memory import Holding

HELP = "where each process runs and whether it fits, before anything starts"
DESCRIPTION = (
    "Print which process holds what on which device, and the memory expected there. Exit status 1 where something does not "
    "fit. It reads only the model's config, not its weights."
)
EXAMPLES = ("flywheel plan configs/gpu.yaml --gpu-gb 24  whether a run fits on a GPU, before it starts",)


def arguments(parser: argparse.ArgumentParser) -> None:
    config_arguments(parser)
    meaning = "memory of a GPU (default: that of this machine's GPU)"
    parser.add_argument("--gpu-gb", type=float, default=0.0, metavar="N", help=meaning)


def act(known: argparse.Namespace) -> int:
    from cluster.console import console

    quiet()
    _, config = kind_of(known.config, known.options)
    return show(known.config, config, known.gpu_gb, console(120))


def show(file: str, config: DictConfig, gpu_gb: float, console: Any) -> int:
    """Print what each process holds. Returns 0 where all of it fits, else 1."""
    from cluster.memory import GB, gpu_of_this_machine, holdings, memory_of_this_machine, model_config, shape_of

    shape = shape_of(model_config(config.model.path, config))
    gpu, memory = gpu_gb * GB or gpu_of_this_machine(), memory_of_this_machine()
    if not gpu and (config.train.gpus or config.generate.gpus):
        raise UserError(f"{file}: it needs GPUs, and this machine has none; type --gpu-gb 80, the memory of each")
    processes = holdings(config, shape, gpu, memory)
    table, said = tables(processes, memory)
    name = Path(config.model.path).name or "a small model of its own"
    console.print(
        f"{name}: {shape.parameters / 1e6:,.2f} million parameters, {shape.layers} layers; "
        + f"{sum(each.gpus * each.count for each in processes):g} GPUs"
        + (f" of {gpu / GB:.0f} GB" if gpu else "")
        + f"; engines in {config.generate.dtype}; lag={config.lag}",
        highlight=False,
    )
    console.print(table)
    for line in said:
        console.print(line, highlight=False, soft_wrap=True)
    return 0 if all(each.fits for each in processes) else 1


def tables(processes: list[Holding], memory: float) -> tuple[Table, list[str]]:
    """(a row for each kind of process, notes and what does not fit). memory: bytes of the machine."""
    from cluster.console import new_table
    from cluster.memory import GB

    columns = ("process", "GPUs each", "what", "GB", "limit", "")
    table = new_table("memory expected on each device, GB", columns, left=("process", "what", ""))
    said = []
    for each in processes:
        limit = "" if each.limit == float("inf") else f"{each.limit / GB:.1f}"
        mark = "fits" if each.fits else "does not fit"
        table.add_row(each.name, f"{each.gpus:g}", "in all", f"{each.total / GB:.2f}", limit, mark, style="bold")
        for what, size in each.parts.items():
            if size:
                table.add_row("", "", what, f"{size / GB:.2f}", "", "")
        if not each.fits:
            said.append(f"{each.name} needs {each.total / GB:.1f} GB, but may take {each.limit / GB:.1f}; {advice(each)}")
        said += [f"{each.name}: {note}" for note in each.notes]
    on_cpu = sum(each.total for each in processes if not each.gpus)
    if on_cpu > memory:
        said.append(f"what runs on the CPU needs {on_cpu / GB:.1f} GB, but the machine has {memory / GB:.1f}")
    return table, said


def advice(each: Holding) -> str:
    if each.actor == "trainer":
        return "type train.ranks=N for more devices, train.recompute=true, train.lora=16, or fewer train.micro_rows"
    return "type generate.gpus=N to split it over more GPUs (tensor parallel), or take a smaller model"
