"""New weights for engines, by vLLM's weight-transfer API.

Only committed weights are served, so a crash never loses a model that has answered. `host`: each engine reads the committed
folder itself. `nccl`: the trainer's ranks send the model that is still in their memory, gathered tensor by tensor, from their
GPUs to the engine's. `ipc`: rank 0 reads the folder and sends it to another process on the same GPU, where there is no room for
a second copy. The first is our own backend for that API; the other two are vLLM's, and have not been run on a GPU.
Source: vllm/distributed/weight_transfer (0.32).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors import safe_open
from vllm.distributed.weight_transfer import (
    ModuleSource,
    ParamMeta,
    RayVLLMWeightSyncClient,
    TrainerWeightTransferEngine,
    WeightSource,
    WeightTransferEngine,
    WeightTransferEngineFactory,
    WeightTransferTrainerFactory,
)
from vllm.distributed.weight_transfer.base import TrainerInitInfo, WeightTransferInitInfo, WeightTransferUpdateInfo


class Folder(WeightSource):
    """The weights of a Hugging Face folder, tensor by tensor on `device`."""

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.folder, self._device = Path(folder).absolute(), device
        self._files = sorted(self.folder.glob("*.safetensors"))
        if not self._files:
            raise FileNotFoundError(f"{self.folder}: no *.safetensors there")

    def metadata(self) -> list[ParamMeta]:
        with ExitStack() as stack:
            opened = [stack.enter_context(safe_open(file, "pt")) for file in self._files]
            slices = [(name, each.get_slice(name)) for each in opened for name in each.keys()]  # noqa: SIM118
            return [ParamMeta(name, TYPES[part.get_dtype()], tuple(part.get_shape())) for name, part in slices]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for file in self._files:
            with safe_open(file, "pt", device=self._device) as opened:
                for name in opened.keys():  # noqa: SIM118
                    yield name, opened.get_tensor(name)


PIECE_BYTES = 2**28  # of the buffer that both processes of `ipc` see, unless a tensor is larger
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass
class Nothing(WeightTransferInitInfo):
    """This transfer needs no handshake."""


@dataclass
class Place(WeightTransferUpdateInfo):
    folder: str


class Receiver(WeightTransferEngine[Nothing, Place]):
    """Inside vLLM's worker: loads a folder, layer by layer, in place."""

    init_info_cls = Nothing
    update_info_cls = Place

    def init_transfer_engine(self, init_info: Nothing) -> None:
        pass

    def start_weight_update(self) -> None:
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: Place) -> None:
        self.model.load_weights(iter(Folder(update_info.folder)))

    def finish_weight_update(self) -> None:
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)
        head = getattr(self.model, "lm_head", None)
        if hasattr(head, "cpu_linear"):
            # On CPU a tied head is not reloaded by its own name and would keep its old packed copy.
            dispatch_cpu_unquantized_gemm(head, remove_weight=False)

    def shutdown(self) -> None:
        pass


@dataclass
class Told(TrainerInitInfo):
    backend: ClassVar[str] = "host"


class Teller(TrainerWeightTransferEngine[Told]):
    """The trainer's side of `host`: it names the folder."""

    init_info_cls = Told

    @classmethod
    def trainer_init(cls, init_info: Told, *, client: Any, source: Folder | None = None) -> Teller:
        if init_info.is_sender:
            client.init_weight_transfer_engine({})
        return cls(client=client, source=source, is_sender=init_info.is_sender)

    def send_weights(self) -> None:
        if not self.is_sender:
            return
        self.client.start_weight_update()
        self.client.update_weights(asdict(Place(str(self.source.folder))))
        self.client.finish_weight_update()


WeightTransferEngineFactory.register_engine("host", Receiver)
WeightTransferTrainerFactory.register_engine("host", Teller)


class Worker:
    """The extension of vLLM's worker (`worker_extension_cls`): importing this module registers `host` there."""


def source(folder: Path, module: torch.nn.Module | None, device: str) -> WeightSource:
    """The weights of a committed folder: gathered from the ranks' memory (`module`) where names and shapes are the folder's
    (transformers splits the weights of some models when it saves them), else read from it."""
    read = Folder(folder, device)
    if module is None:
        return read
    resident = ModuleSource(module)
    shapes = lambda weights: {each.name: each.shape for each in weights.metadata()}  # noqa: E731
    return resident if shapes(resident) == shapes(read) else read


def send(weights: WeightSource, engine: Any, how: str, gpus: int, address: str, rank: int = 0) -> None:
    """In each of the trainer's ranks: send an engine weights. Returns when it has them; only rank 0 talks to it, the others
    take part in gathering.

    engine: handle of a Ray actor with the methods of vLLM's RayVLLMWeightSyncClient; gpus: of the engine; address: host:port,
    free on rank 0's node, where the two sides of nccl connect.
    """
    if rank and isinstance(weights, Folder):
        return
    client = RayVLLMWeightSyncClient(engine)
    if how == "nccl":
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        host, _, port = address.rpartition(":")
        info = NCCLTrainerInitInfo(master_address=host, master_port=int(port), world_size=1 + gpus, rank=rank)
    elif how == "ipc":
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

        # In pieces: whole, the second copy of the model would have to fit beside the engine.
        largest = max(math.prod(each.shape) * each.dtype.itemsize for each in weights.metadata())
        info = IPCTrainerInitInfo(rank=rank, packed=True, packed_buffer_size_bytes=max(PIECE_BYTES, largest))
    else:
        info = Told(rank=rank)
    sender = WeightTransferTrainerFactory.trainer_init(info, client=client, source=weights)
    try:
        sender.send_weights()
    finally:
        sender.shutdown()
        if not rank:
            client.shutdown_weight_transfer_engine()  # the two sides connect again for the next weights
