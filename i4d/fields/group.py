"""Several processes that fit one field together: each has its own rays, the gradients of what a step touched
are averaged.

All start from the same seed or checkpoint and take the same steps with the same averaged gradients, so
nothing else ever has to be sent. One process per device: NCCL between GPUs, Gloo between CPU processes.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from i4d.errors import FitError

TIMEOUT_S = 120.0  # a member that says nothing for so long is lost


class Group:
    """Member `rank` of `size` processes that meet at `rendezvous` ("host:port", served by rank 0)."""

    def __init__(self, rank: int, size: int, rendezvous: str, device: torch.device) -> None:
        self.rank, self.size = rank, size
        host, port = rendezvous.rsplit(":", 1)
        wait = datetime.timedelta(seconds=TIMEOUT_S)
        try:
            store = dist.TCPStore(host, int(port), size, rank == 0, wait)
            backend = "nccl" if device.type == "cuda" else "gloo"
            if device.type == "cuda":
                torch.cuda.set_device(device)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
        except (RuntimeError, ValueError) as err:
            raise FitError(
                f"trainer {rank} of {size} did not meet the others at {rendezvous}", str(err).splitlines()[0]
            ) from err

    def average(self, flat: Tensor) -> None:
        """Replace a tensor by its mean over the group, in place; every member calls this with an equal
        shape.
        """
        dist.all_reduce(flat)
        flat.div_(self.size)

    def average_all(self, tensors: Sequence[Tensor]) -> None:
        """Replace several tensors by their means, in one exchange."""
        flat = torch.cat([t.reshape(-1) for t in tensors])
        self.average(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view(tensor.shape))

    def leave(self) -> None:
        """End the membership; the process can join another group."""
        dist.destroy_process_group()
