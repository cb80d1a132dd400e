"""The Ray cluster of a run: start or join it, start actors on it, and notice when it is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import ray
from ray.exceptions import AuthenticationError
from ray.util.placement_group import placement_group, placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from cluster.crew import Member
from iteration.errors import UserError

LOST_SECONDS = 60  # a head that does not answer for this long counts as dead


def start_ray(address: str, dashboard: bool, say: Callable[[str], None] = print) -> None:
    """Join the cluster at `address`, or start a private one that ends with this process. Raises UserError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address:
        join(address, say)
        return
    ray.init(
        address="local",
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level="ERROR",
        namespace="flywheel",
    )
    if token_file().is_file():
        token_file().chmod(0o600)  # Ray writes 0644


def join(address: str, say: Callable[[str], None]) -> None:
    """Join a cluster. Raises UserError where none answers, or where it and this process disagree on tokens."""
    from ray._raylet import AuthenticationMode, get_authentication_mode

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", namespace=f"flywheel-{os.getpid()}")
    except ConnectionError as error:
        raise UserError(f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]})") from None
    except AuthenticationError:
        raise UserError(
            f"--address {address}: the cluster asks for a token; put it in ~/.ray/auth_token, type export RAY_AUTH_MODE=token"
        ) from None
    if ray.get(ray.remote(without_token).options(num_cpus=0).remote()):
        if get_authentication_mode() != AuthenticationMode.DISABLED:  # it would silently refuse the cluster's messages
            raise UserError(
                f"--address {address}: the cluster asks for no token, but this process does; start the cluster's nodes with "
                "RAY_AUTH_MODE=token, or type export RAY_AUTH_MODE=disabled"
            )
        say(
            f"WARNING: the Ray cluster at {address} asks for no token: anyone who reaches its ports can run code on it. "
            "Start its nodes with RAY_AUTH_MODE=token"
        )


def usable_gpus() -> int:
    """The GPUs of the cluster that this process has joined, else of this machine as far as torch can use them."""
    if ray.is_initialized():
        return int(ray.cluster_resources().get("GPU", 0))
    import torch

    return torch.cuda.device_count()


def without_token() -> bool:
    """Runs on the cluster: does it accept connections without a token?"""
    from ray._raylet import AuthenticationMode, get_authentication_mode

    return get_authentication_mode() == AuthenticationMode.DISABLED


def token_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def token() -> dict[str, str]:
    """The header with the user's token, for Ray's client for jobs: unlike ray.init, it does not look for it by itself."""
    if "RAY_AUTH_MODE" in os.environ or not token_file().is_file():
        return {}
    return {"Authorization": f"Bearer {token_file().read_text(encoding='utf-8').strip()}"}


def dashboard_url() -> str:
    """The address of Ray's dashboard; "" where it does not run."""
    node = ray._private.worker._global_node
    return f"http://{node.webui_url}" if node and node.webui_url else ""


async def check_alive() -> None:
    """Raises RuntimeError where this process has lost its cluster: no call would ever return."""
    own = ray.get_runtime_context().get_node_id()
    try:
        async with asyncio.timeout(LOST_SECONDS):
            nodes = await asyncio.to_thread(ray.nodes)
    except TimeoutError:
        raise RuntimeError(f"Ray's head has not answered for {LOST_SECONDS} s") from None
    if not any(node["Alive"] for node in nodes if node["NodeID"] == own):
        raise RuntimeError("Ray has lost the node of this process (its raylet died)")


def start_actor(
    kind: type,
    name: str,
    arguments: tuple,
    environment: dict[str, str] | None = None,
    gpus: float = 0,
    concurrency: int = 1,
    node: str = "",
) -> Member:
    """Start a named actor of `kind`; Ray restarts it when it dies. CPU cores are not reserved: the operating system
    schedules them better. node: the node to run on; "" spreads actors over all nodes."""
    options = {"name": name, "num_cpus": 0, "num_gpus": gpus, "max_concurrency": concurrency, "max_restarts": -1}
    options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node, soft=False) if node else "SPREAD"
    group = None
    if gpus > 1:  # reserved together on one node, whose GPUs have the fastest links
        where = [{"ray.io/node-id": node}] if node else None
        group = placement_group([{"GPU": gpus}], "STRICT_PACK", name, bundle_label_selector=where)
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(group, 0)
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    handle = ray.remote(kind).options(**options).remote(*arguments)
    return Member(name, handle, node, needs={"GPU": gpus} if gpus else {}, group=group)


def placed(each: Member) -> bool:
    """Has an actor got its resources, whether or not it is ready?"""
    if each.group and placement_group_table(each.group)["state"] == "CREATED":
        return True
    known = ray._private.state.actors(each.handle._actor_id.hex())
    return bool(known) and known["Address"]["Port"] > 0  # it has a process


def why_late(each: Member, free: dict[str, float], nodes: list[dict[str, float]]) -> str:
    """Why an actor has no place. free: unused resources of the cluster; nodes: total resources of each node."""
    for name, wanted in each.needs.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most < wanted:
            return f"{each.name} needs {wanted:g} {name} on one node, but the largest of {len(nodes)} nodes has {most:g}"
        if free.get(name, 0) < wanted:
            return f"{each.name} waits for {wanted:g} {name}; {free.get(name, 0):g} of the cluster's are free"
    return f"{each.name} is starting"
