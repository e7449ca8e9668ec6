"""Which service runs where: a pure function of what there is, what is asked for and how much memory is
needed.

separate   two or more GPUs: the trainer has one to itself, every editor has one
shared     one GPU that holds trainer and editor together: fractions of it
turns      one GPU that holds only one of them: weights move to the host while the other works
cpu        no GPU: compute threads
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from i4d.config import ClusterConfig
from i4d.errors import ClusterError
from i4d.exec.protocol import Resources, ServiceSpec

_USABLE = 0.92  # of a card's memory: the rest is taken by contexts and fragmentation
_MANY_CORES = (
    8  # from here on cores are divided among the services, so that a refit can overlap with the windows
)
_PER_CORE = 4  # editors that a core may be shared by when someone asks for them


@dataclass(frozen=True)
class Peaks:
    """Predicted peaks of device memory, in bytes; 0 where nothing is known."""

    trainer_bytes: int = 0
    editor_bytes: int = 0


@dataclass(frozen=True)
class Share:
    """What one service gets. `gpu` numbers the card where services are threads of one process; None on
    CPUs.
    """

    num_cpus: float
    num_gpus: float
    threads: int
    gpu: int | None = None


@dataclass(frozen=True)
class Placement:
    """Shares of trainer and editors. `overlap`: refit and windows can go on side by side. `joining`: editors
    that there is no room for yet. `trainers`: GPUs, `trainer` each, that fit the field together."""

    mode: Literal["separate", "shared", "turns", "cpu"]
    device: Literal["cuda", "cpu"]
    trainer: Share
    editors: tuple[Share, ...]
    overlap: bool
    sentence: str
    joining: tuple[Share, ...] = ()
    trainers: int = 1

    @property
    def turns(self) -> bool:
        return self.mode == "turns"


def place(resources: Resources, cluster: ClusterConfig, peaks: Peaks, useful_editors: int) -> Placement:
    """Return the placement; ClusterError prints asked beside available.

    `useful_editors` bounds how many editors are started when none are asked for (one per window chain).
    """
    available = int(resources.gpus)
    if cluster.device == "cuda" and not available:
        raise ClusterError("cluster.device = cuda: 1 GPU asked, 0 available", "use --set cluster.device=cpu")
    if cluster.gpus > available:
        raise ClusterError(f"cluster.gpus = {cluster.gpus}: {cluster.gpus} GPUs asked, {available} available")
    if cluster.trainer_gpus > 1:
        there = 0 if cluster.device == "cpu" else cluster.gpus or available
        if cluster.executor == "local" or cluster.trainer_gpus >= there:
            asked = (
                f"cluster.trainer_gpus = {cluster.trainer_gpus}: {cluster.trainer_gpus} GPUs asked "
                "beside at least one editor's"
            )
            raise ClusterError(
                f"{asked}, {there} available", "each has a process of its own: cluster.executor must be ray"
            )
    if cluster.device == "cpu" or not available:
        return _on_cpus(resources, cluster, useful_editors)
    gpus = cluster.gpus or available
    if gpus == 1:
        return _on_one_gpu(resources, cluster, peaks)
    return _on_gpus(resources, cluster, gpus, useful_editors)


def service_specs(
    placement: Placement,
    trainer: tuple[str, Mapping[str, Any]],
    editor: tuple[str, Mapping[str, Any]],
    in_process: bool = False,
) -> list[ServiceSpec]:
    """Return the specs of the trainer, of the editors and of those that join later, from (import path,
    kwargs) of each.

    Every service also gets the kwargs `name`, `device` and `num_threads`. `in_process`: services are threads
    that see all cards, so each is told its own; else a process sees only the card it was given.
    """

    def spec(name: str, what: tuple[str, Mapping[str, Any]], share: Share) -> ServiceSpec:
        device: str = placement.device
        if in_process and share.gpu is not None:
            device = f"cuda:{share.gpu}"
        kwargs = {**what[1], "name": name, "device": device, "num_threads": share.threads}
        return ServiceSpec(name, what[0], kwargs, share.num_cpus, share.num_gpus, share.threads)

    editors = [
        spec(f"editor-{i}", editor, share) for i, share in enumerate(placement.editors + placement.joining)
    ]
    return [spec("trainer", trainer, placement.trainer), *editors]


def _on_cpus(resources: Resources, cluster: ClusterConfig, useful_editors: int) -> Placement:
    cores = max(1, int(resources.cpus))
    # Few cores: one thread per editor. Threads that work together wait for the slowest at every small
    # operation, and where
    # anything else runs on the machine one of them is always the slowest.
    wanted = cores // 4 if cores >= _MANY_CORES else cores
    editors, later = cluster.editors or max(1, min(useful_editors, wanted)), 0
    if cluster.elastic and editors > max(1, cores - 1):
        editors, later = max(1, cores - 1), editors - max(1, cores - 1)
    if editors > cores * _PER_CORE:
        raise ClusterError(f"cluster.editors = {editors}: {editors} editors asked, {cores} cores available")
    services = editors + 1
    share = int(10_000 * resources.cpus / services) / 10_000
    if cluster.threads:
        threads = (cluster.threads, cluster.threads)
        overlap = services * cluster.threads <= cores
    elif cores >= _MANY_CORES:
        threads = (max(1, cores // services),) * 2
        overlap = True
    else:
        threads = (cores, max(1, cores // editors))
        overlap = False
    how = "side by side" if overlap else "one after the other"
    sentence = (
        f"no GPU is used: trainer ({_count(threads[0], 'thread')}) and {_count(editors, 'editor')} "
        f"({_count(threads[1], 'thread')} each) share {_count(cores, 'core')}, refit and windows {how}"
    )
    one = Share(share, 0.0, threads[1])
    return Placement(
        "cpu",
        "cpu",
        Share(share, 0.0, threads[0]),
        (one,) * editors,
        overlap,
        sentence + _later(later),
        (one,) * later,
    )


def _on_one_gpu(resources: Resources, cluster: ClusterConfig, peaks: Peaks) -> Placement:
    later = cluster.editors - 1 if cluster.elastic and cluster.editors > 1 else 0
    if cluster.editors > 1 and not later:
        raise ClusterError(
            f"cluster.editors = {cluster.editors}: {cluster.editors} editors asked, 1 GPU available"
        )
    memory = max((n.gpu_memory_bytes for n in resources.nodes if n.gpus), default=0)
    needed = peaks.trainer_bytes + peaks.editor_bytes
    cpus, threads = _host_share(resources, cluster, 2)
    share = Share(cpus, 0.5, threads, 0)
    joining = (Share(cpus, 1.0, threads),) * later
    gib = 1 << 30
    if memory and needed <= _USABLE * memory:
        sentence = (
            f"trainer and editor share one GPU: predicted peaks of {peaks.trainer_bytes / gib:.1f} and "
            f"{peaks.editor_bytes / gib:.1f} GiB fit its {memory / gib:.1f} GiB together"
        )
        return Placement("shared", "cuda", share, (share,), True, sentence + _later(later), joining)
    reason = f"predicted peaks of {needed / gib:.1f} GiB do not fit its {memory / gib:.1f} GiB together"
    if not memory:
        reason = "its memory is not known"
    sentence = (
        f"trainer and editor take turns on one GPU ({reason}): weights move to the host, the refit waits"
    )
    sentence += "; others cannot join a card that is shared in turns" if later else ""
    return Placement("turns", "cuda", share, (share,), False, sentence)


def _on_gpus(resources: Resources, cluster: ClusterConfig, gpus: int, useful_editors: int) -> Placement:
    trainers = cluster.trainer_gpus
    editors = cluster.editors or max(1, min(useful_editors, gpus - trainers))
    later = max(0, editors + trainers - gpus) if cluster.elastic else 0
    editors -= later
    if editors + trainers > gpus:
        asked = f"{editors} editors and a trainer asked for {editors + trainers} GPUs"
        raise ClusterError(f"cluster.editors = {cluster.editors}: {asked}, {gpus} available")
    cpus, threads = _host_share(resources, cluster, editors + trainers)
    shares = tuple(Share(cpus, 1.0, threads, i + trainers) for i in range(editors))
    mine = "one GPU to itself" if trainers == 1 else f"{trainers} GPUs to itself"
    sentence = f"the trainer has {mine} and {_count(editors, 'editor')} one each"
    if gpus > editors + trainers:
        sentence += f"; {gpus - editors - trainers} of {gpus} GPUs stay idle"
    joining = (Share(cpus, 1.0, threads),) * later
    return Placement(
        "separate",
        "cuda",
        Share(cpus, 1.0, threads, 0),
        shares,
        True,
        sentence + _later(later),
        joining,
        trainers,
    )


def _host_share(resources: Resources, cluster: ClusterConfig, services: int) -> tuple[float, int]:
    cpus = min(resources.cpus / services, 8.0)
    return int(10_000 * cpus) / 10_000, cluster.threads or max(1, int(cpus))


def _later(editors: int) -> str:
    return (
        f"; {_count(editors, 'more editor')} {'joins' if editors == 1 else 'join'} when there is room"
        if editors
        else ""
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
