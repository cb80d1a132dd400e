"""vLLM behind plain functions: batches of prompts in, Arrow tables of answers or arrays of scores out; weights are updated
without a restart. Policy and value model share the same code."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import math
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from iteration.parts import at_least, one_of
from iteration.steps import StepEnds, step_ends

AUTO = "auto"  # decided when a run begins (cluster/config.py, settle)
MOST_STOPS = 256  # vLLM searches the list of stop tokens for every token

# One row is one wish: continue `token_ids` n times, by one step or (whole) to the end, up to `max_tokens` tokens; `temperature`
# multiplies the engine's own. What costs time is asked for by itself: `logprobs`, and a `seed` (null: none).
WISH = pa.schema(
    [
        ("token_ids", pa.list_(pa.int32())),
        ("n", pa.int32()),
        ("whole", pa.bool_()),
        ("temperature", pa.float32()),
        ("max_tokens", pa.int32()),
        ("logprobs", pa.bool_()),
        ("seed", pa.int64()),
    ]
)
# One row is one continuation; `wish` is the row of the wish in its batch. Its text is the reader's to decode.
STEP = pa.schema(
    [
        ("wish", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),  # null where the wish did not ask for them
        ("final", pa.bool_()),
        ("cut", pa.bool_()),
        ("model", pa.string()),
    ]
)


@dataclass
class Generate:
    """How answers are sampled, and the resources of an engine."""

    temperature: float = 1.0  # of sampling
    max_tokens: int = 96  # of one answer; a longer answer is truncated and counts as unparseable
    context: int = 128  # tokens of prompt and answer together
    step_end: str = "\n"  # the delimiter of steps, for searches over steps and judges that score steps
    dtype: str = "auto"  # auto: bfloat16 on GPUs where model.path names a model, else float32
    max_seqs: int = 256  # sequences that the engine batches
    cache_mb: int = 256  # MiB of key-value cache on CPU; on GPU vLLM takes the free memory
    gpus: float | int | str = AUTO  # per engine: 0.5 shares a GPU, 2 and more are tensor parallel; auto: what there is
    pipeline: int = 1  # pipeline stages, each on gpus/pipeline GPUs
    transfer: str = "host"  # of new weights: host (from the folder), nccl (from the trainer's GPU), ipc (on a shared GPU)
    sleep: bool = False  # on a shared GPU: the engine frees its memory while the trainer works, and has all of it otherwise

    def __post_init__(self) -> None:
        at_least(self, temperature=0, max_tokens=1, context=2, max_seqs=1, cache_mb=1, pipeline=1)
        one_of(self, transfer=("host", "nccl", "ipc"), dtype=(AUTO, "float32", "bfloat16", "float16"))
        gpus = number_of(self.gpus, 1024)
        if self.pipeline > 1 and (gpus < self.pipeline or gpus % self.pipeline):
            raise ValueError(f"pipeline is {self.pipeline}, but gpus is {self.gpus}; expected a multiple of pipeline")
        if not self.step_end:
            raise ValueError("step_end is empty; expected the delimiter of steps, e.g. a newline")

    @property
    def on_gpu(self) -> bool:
        return number_of(self.gpus, 1024) > 0

    @property
    def seeded(self) -> bool:
        """Has every wish a seed of its own, so that a run can be reproduced bit by bit? On GPUs sums depend on the batch."""
        return not self.on_gpu


def number_of(gpus: float | str, most: int) -> float:
    """`gpus`; 0 where `auto` is not decided yet. Raises ValueError unless it is a share of a GPU or a whole number."""
    if gpus == AUTO:
        return 0
    if isinstance(gpus, str) or not 0 <= gpus <= most or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(f"gpus is {gpus}; expected auto, a share of a GPU or a whole number up to {most}")
    return gpus


def shares(gpus: int, engines: int, ranks: int) -> tuple[float, float]:
    """(GPUs of each engine, GPUs of each of the trainer's ranks) on so many GPUs: a GPU each where there are enough, else the
    engines share those that the trainer leaves, or all of them with it."""
    if not gpus:
        return 0, 0
    left, trainer = (gpus - ranks, 1) if ranks < gpus else (gpus, 0.5)
    share = trainer / math.ceil(engines / left)
    return math.floor(10_000 * share) / 10_000, trainer  # Ray counts in ten-thousandths


def environment(gpus: float, transfer: str = "host") -> dict[str, str]:
    """The environment variables of an engine's process; vLLM reads them on import."""
    quiet = {
        "HF_HUB_OFFLINE": os.environ.get("HF_HUB_OFFLINE", "0"),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
    }
    if gpus:
        gpu = {
            "VLLM_LOGGING_LEVEL": "INFO",  # in the actor's log: what takes its time while it starts
            "VLLM_CACHE_ROOT": os.environ.get("VLLM_CACHE_ROOT", "~/.cache/vllm"),  # what the first start compiled
            "VLLM_USE_FLASHINFER_SAMPLER": "0",  # compiles for 80 s, for top-k and top-p that no wish asks for
        }
        # vLLM's processes pickle handles of GPU memory.
        return quiet | gpu | ({"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"} if transfer == "ipc" else {})
    return quiet | {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the worker runs inside the engine's process: half the memory
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the default pins two engines to one core
        "TORCHDYNAMO_DISABLE": "1",  # otherwise the first call compiles for 20 s
    }


@dataclass(slots=True)
class Ledger:
    """Counters of an engine since it started."""

    tokens: int = 0  # generated
    prompt_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens that were in the prefix cache
    busy: float = 0.0  # seconds with at least one request in flight
    running: int = 0  # answers being generated, if the cache has room for them
    waiting: int = 0  # answers in the queue: all of a request's, until its last one is done


class Served:
    """One vLLM engine whose weights can be updated. Creating it takes long: in a thread, while the event loop answers."""

    def __init__(self, folder: str, version: str, options: Generate, **extra):
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self.options = options
        self.version = version
        self.ledger = Ledger()
        self._ids = itertools.count()
        self._inside, self._since = 0, 0.0
        self._asleep, self._turning = False, asyncio.Lock()
        self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_arguments(folder, options), **extra))

    @contextlib.contextmanager
    def _request(self, answers: int = 1):
        """Yields the id of a new request of `answers` answers, and counts the busy time."""
        if not self._inside:
            self._since = time.monotonic()
        self._count(answers)
        try:
            yield f"{next(self._ids)}"
        finally:
            self._count(-answers)
            if not self._inside:
                self.ledger.busy += time.monotonic() - self._since

    def _count(self, answers: int) -> None:
        self._inside += answers
        self.ledger.running = min(self._inside, self.options.max_seqs)
        self.ledger.waiting = self._inside - self.ledger.running

    def _read(self, output) -> None:
        self.ledger.prompt_tokens += len(output.prompt_token_ids)
        self.ledger.cached_tokens += output.num_cached_tokens or 0

    async def update(self, folder: str, version: str, push: Callable[[], Awaitable] | None = None) -> None:
        """Update to the weights in another folder, or to those that `push` sends; same shapes. Requests in flight continue."""
        await self._engine.pause_generation(mode="keep", clear_cache=True)
        try:
            await (push() if push else self._read_folder(folder))
            self.version = version
        finally:
            await self._engine.resume_generation()

    async def _read_folder(self, folder: str) -> None:
        from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

        await self._engine.start_weight_update()
        await self._engine.update_weights(WeightTransferUpdateRequest({"folder": str(Path(folder).absolute())}))
        await self._engine.finish_weight_update()

    async def transferring(self, step: str, *arguments: object) -> None:
        """Call a step of vLLM's weight-transfer API for a sender."""
        await getattr(self._engine, step)(*arguments)

    async def sleep(self) -> None:
        """Free the GPU's memory: the weights move to host memory, the caches are dropped."""
        async with self._turning:
            if not self._asleep:
                await self._engine.sleep(level=1)
                self._asleep = True

    async def wake(self) -> None:
        async with self._turning:
            if self._asleep:
                await self._engine.wake_up()
                self._asleep = False

    def close(self) -> None:
        self._engine.shutdown()
        del self._engine
        gc.collect()


class Scorer(Served):
    """A value model: one score per prefix of an answer."""

    def __init__(self, folder: str, version: str, options: Generate):
        super().__init__(folder, version, options, runner="pooling")

    async def score(self, prefixes: pa.Table) -> np.ndarray:
        """prefixes: one column token_ids, list<int32>. Returns float32 [prefixes], probabilities.

        Shared prefixes are computed once, in blocks of vLLM's prefix cache.
        """
        jobs = [self._one(prompt.values.to_numpy()) for prompt in prefixes["token_ids"].combine_chunks()]
        logits = np.array(await asyncio.gather(*jobs), np.float32)
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    async def _one(self, prompt: np.ndarray) -> float:
        from vllm import PoolingParams

        params = PoolingParams(task="classify", use_activation=False)
        with self._request() as name:
            async for output in self._engine.encode({"prompt_token_ids": prompt.tolist()}, params, name):
                self._read(output)
        return float(output.outputs.data[0])


class Engine(Served):
    """A policy: continues prompts."""

    def __init__(self, folder: str, version: str, options: Generate):
        from transformers import AutoTokenizer

        self._ends = end_tokens(folder)
        self._stops = stops(step_ends(AutoTokenizer.from_pretrained(folder), options.step_end), options.step_end)
        super().__init__(folder, version, options)

    def _sampling(self, wish: dict):
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        ids, text = ([], None) if wish["whole"] else self._stops
        return SamplingParams(
            n=wish["n"],
            seed=wish["seed"],
            temperature=wish["temperature"] * self.options.temperature,
            max_tokens=wish["max_tokens"],
            logprobs=0 if wish["logprobs"] else None,
            flat_logprobs=True,
            stop=text,
            detokenize=text is not None,  # vLLM looks for a text in the text; nothing else needs it
            stop_token_ids=[*sorted(self._ends), *ids],
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    async def _one(self, prompt: np.ndarray, sampling):
        room = self.options.context
        if len(prompt) >= room:
            raise ValueError(f"a prompt has {len(prompt)} tokens but generate.context is {room}; raise generate.context")
        with self._request(sampling.n) as name:
            async for output in self._engine.generate({"prompt_token_ids": prompt.tolist()}, sampling, name):
                self.ledger.tokens += sum(len(each.token_ids) for each in output.outputs)
                self._read(output)
        return output.outputs

    async def generate(self, wishes: pa.Table) -> pa.Table:
        """wishes: schema WISH. Returns schema STEP, ordered by wish. Raises vLLM's EngineDeadError if the engine died."""
        version = self.version
        prompts, rows = wishes["token_ids"].combine_chunks(), wishes.drop_columns("token_ids").to_pylist()
        jobs = [self._one(prompt.values.to_numpy(), self._sampling(row)) for prompt, row in zip(prompts, rows, strict=True)]
        outputs = await asyncio.gather(*jobs)
        answers = [each for wish in outputs for each in wish]
        finals = [len(each.token_ids) > 0 and each.token_ids[-1] in self._ends for each in answers]
        lengths = np.array([len(each.token_ids) for each in answers], np.int32)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        tokens = np.fromiter(itertools.chain.from_iterable(each.token_ids for each in answers), np.int32)
        logprobs = [each.logprobs and np.array(each.logprobs.logprobs, np.float32) for each in answers]
        return pa.table(
            [
                pa.array(np.repeat(np.arange(len(outputs), dtype=np.int32), [len(wish) for wish in outputs])),
                pa.ListArray.from_arrays(offsets, pa.array(tokens)),
                lists(logprobs, pa.float32()),
                pa.array(finals),
                pa.array([each.finish_reason == "length" and not final for each, final in zip(answers, finals, strict=True)]),
                pa.array([version] * len(answers)),
            ],
            schema=STEP,
        )

    async def greedy(self, prompt: np.ndarray, max_tokens: int = 32) -> tuple[np.ndarray, np.ndarray]:
        """One greedy answer: token_ids int32 [t], prompt excluded, and their logprobs float32 [t]."""
        limit = min(max_tokens, self.options.context - len(prompt))
        wish = {"n": 1, "seed": None, "temperature": 0.0, "max_tokens": limit, "logprobs": True, "whole": True}
        (answer,) = await self._one(prompt, self._sampling(wish))
        return np.array(answer.token_ids, np.int32), np.array(answer.logprobs.logprobs, np.float32)


def stops(ends: StepEnds, step_end: str) -> tuple[list[int], list[str] | None]:
    """What ends a step: (token ids, None), which is fast, or ([], texts) where no token or too many tokens show it."""
    ids = ends.tokens()
    return (ids, None) if ids and len(ids) <= MOST_STOPS else ([], [step_end])


def lists(arrays: list[np.ndarray | None], kind: pa.DataType) -> pa.ListArray:
    """Arrays as one Arrow list column, without a Python object per element; None becomes null."""
    known = [array for array in arrays if array is not None]
    lengths = [0 if array is None else len(array) for array in arrays]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    values = pa.array(np.concatenate(known) if known else np.zeros(0), kind)
    absent = pa.array([array is None for array in arrays]) if len(known) < len(arrays) else None
    return pa.ListArray.from_arrays(offsets, values, mask=absent)


def end_tokens(folder: str | Path) -> set[int]:
    """Every token id that ends an answer: the tokenizer's, and those of generation_config.json, if it exists."""
    from transformers import AutoTokenizer, GenerationConfig

    tokens = {AutoTokenizer.from_pretrained(folder).eos_token_id}
    with contextlib.suppress(OSError):
        ends = GenerationConfig.from_pretrained(folder).eos_token_id
        tokens |= set(ends if isinstance(ends, list) else [ends])
    return tokens - {None}


def memory_share(options: Generate) -> float:
    """The share of a GPU's memory that vLLM may take. With `sleep` the trainer's half belongs to the engines, too."""
    return 0.9 * min(1.0, options.gpus * (2 if options.sleep else 1))


def batches(most: int) -> list[int]:
    """The batch sizes whose CUDA graphs are captured: powers of two up to `most`, and `most`. vLLM runs a larger batch without
    a graph, and a smaller one in the next larger graph."""
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]


def engine_arguments(folder: str, options: Generate) -> dict:
    """vLLM's own options. CPU and GPU differ only here and in `environment`."""
    from vllm.config import WeightTransferConfig

    arguments = {
        "model": folder,
        "max_model_len": options.context,
        "max_num_seqs": options.max_seqs,
        "block_size": 32,  # the unit of prefix caching; the default is 128 on CPU
        "generation_config": "vllm",
        "load_format": "safetensors",  # no code from a model's folder is executed
        "disable_log_stats": True,
        "logprobs_mode": "processed_logprobs",  # of the sampling distribution, temperature included
        "worker_extension_cls": "cluster.train.transfer.Worker",
        "weight_transfer_config": WeightTransferConfig(backend=options.transfer),
        "dtype": "float32" if options.dtype == AUTO else options.dtype,
    }
    if options.on_gpu:  # the actor reserves all GPUs of the engine for vLLM's worker processes
        cut = {"tensor_parallel_size": int(options.gpus) // options.pipeline, "pipeline_parallel_size": options.pipeline}
        several = cut | {"distributed_executor_backend": "mp"} if options.gpus > 1 else {}
        gpu = {
            "gpu_memory_utilization": memory_share(options),
            "max_num_batched_tokens": max(8192, options.context),
            "enable_sleep_mode": options.sleep,
            "cudagraph_capture_sizes": batches(options.max_seqs),
            "enable_flashinfer_autotune": False,  # seconds of each first start, for kernels that are not used
            "seed": secrets.randbits(31),  # requests have none, and two engines must not draw the same numbers
        }
        return arguments | several | gpu
    return arguments | {
        "enforce_eager": True,
        "kv_cache_memory_bytes": options.cache_mb << 20,
        # On CPU, a seeded request whose prompt is split by chunked prefill kills the engine.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(2048, options.context),
    }
