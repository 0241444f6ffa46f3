"""Attaches to Ray or starts it, and decides what one step may take of a machine."""

import contextlib
import gc
import logging
import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ledger import Ledger
from orchestrator.models import num_parameters
from orchestrator.plan import Step
from orchestrator.services import service_of
from orchestrator.settings import BYTES_PER_PARAMETER
from orchestrator.steps import ON_CPU
from tasks.errors import InputError
from tasks.specs import EditFilesSpec, EditSpec, FilterSpec, FitSpec, SampleSpec, TrialSpec

CONTEXT_BYTES = 1.5e9
"""Of GPU memory that any process takes for CUDA and its libraries."""

OBJECT_STORE_BYTES = 256 * 1024**2
"""Images travel as files; Ray's own store holds only descriptions."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What there is to run on."""

    slots: int
    """Steps that can run at once now; an autoscaled cluster may grow beyond it."""
    num_gpus: float
    gpu_memory_bytes: int
    """Of the smallest GPU in sight; 0 without one."""
    local: bool
    may_grow: bool
    """More steps may be handed over than fit now, so that an autoscaler sees what is wanted."""


@contextlib.contextmanager
def attached(
    address: str | None, num_workers: int | None, gpus: bool | None, ledger: Ledger
) -> Iterator[Cluster]:
    """Connect to a Ray cluster, or start Ray on this machine for as long as the block lasts.

    Args:
        gpus: use them or not; None uses those that are there. True waits for an autoscaler.

    Raises InputError where there is no cluster at `address`, or where it cannot see the store.
    """
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # A step holds one thread; without this Ray's workers would take one pool per core each.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if address is not None:
        _check_answers(address)
    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=num_workers or os.cpu_count(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                configure_logging=True,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "on this machine" if address is None else f"at {address}"
        raise InputError(f"--address: Ray cannot be had {where} ({error})") from error
    try:
        if address is not None:
            _check_store_is_shared(ledger)
        yield _measure(address is None, num_workers, gpus)
    finally:
        with no_garbage():
            ray.shutdown()


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """Collect what is left of Tune's cycles before Ray shuts down, and nothing meanwhile.

    Garbage is collected by whichever thread comes first. Where a reference to an object or to an
    actor dies while Ray shuts down, Ray ends the whole process, with exit code 1 and no table.
    """
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error}); give the address that "
            f"`ray start --head` printed, or leave it out to run on this machine"
        ) from error


def _measure(local: bool, num_workers: int | None, gpus: bool | None) -> Cluster:
    import ray

    resources = ray.cluster_resources()
    cpus, num_gpus = int(resources.get("CPU", 0)), float(resources.get("GPU", 0))
    slots = num_workers or max(1, cpus)
    memory = 0
    if gpus is False:
        num_gpus = 0.0
    elif num_gpus or gpus:
        # Where no node with a GPU is up yet, this call is what makes an autoscaler start one.
        memory = int(ray.get(ray.remote(num_gpus=0.01, num_cpus=0)(_gpu_memory).remote()))
        num_gpus = float(ray.cluster_resources().get("GPU", 0))
    return Cluster(
        slots=slots,
        num_gpus=num_gpus,
        gpu_memory_bytes=memory,
        local=local,
        may_grow=not local and num_workers is None,
    )


def _gpu_memory() -> int:
    import torch

    if not torch.cuda.is_available():
        return 0
    devices = range(torch.cuda.device_count())
    return min(torch.cuda.get_device_properties(d).total_memory for d in devices)


def _check_store_is_shared(ledger: Ledger) -> None:
    """Refuse a local store that some node of a cluster does not see."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if ledger.local is None:
        return
    probe = ledger.local / f".probe-{uuid.uuid4().hex}"
    probe.touch()
    try:
        exists = ray.remote(num_cpus=0)(os.path.exists)
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        seen = ray.get(
            [
                exists.options(
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False)
                ).remote(str(probe))
                for node in nodes
            ]
        )
    finally:
        probe.unlink(missing_ok=True)
    if not all(seen):
        raise InputError(
            f"--store {ledger.local}: {seen.count(False)} of {len(seen)} nodes do not see this "
            f"folder; use shared storage or an address such as s3://bucket/prefix"
        )


def resources(step: Step, cluster: Cluster) -> dict[str, float]:
    """What Ray sets aside for a step: one CPU, and a share of a GPU where there are any."""
    if not cluster.num_gpus or step.kind in ON_CPU or service_of(step):
        return {"CPU": 1.0}
    return {"CPU": 1.0, "GPU": gpu_share(step, cluster.gpu_memory_bytes)}


def gpu_share(step: Step, memory_bytes: int) -> float:
    """The smallest of 1/8, 1/4, 1/2 and 1 GPU that should hold a step, estimated with care.

    Optimizer state is counted exactly. Activations are estimated from the batch's pixels: about
    1.5 KB each for a ResNet-50, and 7 KB for a ViT-H, which has 600 M parameters more.
    """
    if isinstance(step.spec, SampleSpec | FilterSpec):
        return 0.5
    # An editor takes what it finds: batches, tiling and offload go by free memory.
    if isinstance(step.spec, FitSpec | EditSpec | EditFilesSpec) or not memory_bytes:
        return 1.0
    if not isinstance(step.spec, TrialSpec):
        return 0.25
    cell = step.spec.cell
    parameters = num_parameters(cell.model) or 2_000_000
    side = cell.recipe.input_size or (224 if cell.model.name == "timm" else 64)
    pixels = cell.recipe.batch_size * side * side
    activations = pixels * (1500 + 9e-6 * parameters)
    wanted = CONTEXT_BYTES + BYTES_PER_PARAMETER * parameters + activations
    for share in (0.125, 0.25, 0.5):
        if wanted <= share * memory_bytes:
            return share
    return 1.0


def tune_storage(ledger: Ledger, cluster: Cluster) -> str:
    """Where Tune keeps its own state: every node must see it, nobody needs it later."""
    if cluster.local:
        return str(Path(tempfile.gettempdir()) / f"augury-tune-{os.getuid()}-{os.getpid()}")
    return str(ledger.local / "tune") if ledger.local is not None else ledger.path("tune")
