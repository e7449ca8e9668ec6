"""Placement as a table: what there is and what is asked for, against where services go or why they cannot."""

import pytest

from i4d.config import ClusterConfig
from i4d.errors import ClusterError
from i4d.exec.placement import Peaks, place, service_specs
from i4d.exec.protocol import NodeResources, Resources

GIB = 1 << 30
FITS = Peaks(20 * GIB, 19 * GIB)
TOO_MUCH = Peaks(60 * GIB, 19 * GIB)


def host(cpus=16, gpus=0, gpu_gib=80):
    return Resources((NodeResources("here", cpus, gpus, 64 * GIB, gpu_gib * GIB if gpus else 0),))


@pytest.mark.parametrize(
    "resources, asked, peaks, mode, editors, overlap, words",
    [
        (
            host(2),
            {},
            Peaks(),
            "cpu",
            2,
            False,
            "trainer (2 threads) and 2 editors (1 thread each) share 2 cores",
        ),
        (host(2), {"editors": 3, "threads": 1}, Peaks(), "cpu", 3, False, "one after the other"),
        (host(16), {}, Peaks(), "cpu", 4, True, "refit and windows side by side"),
        (
            host(16),
            {"editors": 2, "threads": 4},
            Peaks(),
            "cpu",
            2,
            True,
            "trainer (4 threads) and 2 editors",
        ),
        (host(16, 2), {"device": "cpu"}, FITS, "cpu", 4, True, "no GPU is used"),
        (
            host(16, 1),
            {},
            FITS,
            "shared",
            1,
            True,
            "predicted peaks of 20.0 and 19.0 GiB fit its 80.0 GiB together",
        ),
        (
            host(16, 1),
            {},
            TOO_MUCH,
            "turns",
            1,
            False,
            "take turns on one GPU (predicted peaks of 79.0 GiB do not fit",
        ),
        (host(16, 1, 0), {}, FITS, "turns", 1, False, "its memory is not known"),
        (host(16, 4), {"gpus": 1}, FITS, "shared", 1, True, "share one GPU"),
        (
            host(16, 2),
            {},
            TOO_MUCH,
            "separate",
            1,
            True,
            "the trainer has one GPU to itself and 1 editor one each",
        ),
        (host(64, 8), {}, FITS, "separate", 7, True, "7 editors one each"),
        (
            host(64, 8),
            {"trainer_gpus": 2},
            FITS,
            "separate",
            6,
            True,
            "the trainer has 2 GPUs to itself and 6 editors one each",
        ),
        (host(64, 8), {"editors": 3}, FITS, "separate", 3, True, "4 of 8 GPUs stay idle"),
    ],
)
def test_places(resources, asked, peaks, mode, editors, overlap, words):
    placement = place(resources, ClusterConfig(**asked), peaks, 9)
    assert (placement.mode, len(placement.editors), placement.overlap) == (mode, editors, overlap)
    assert words in placement.sentence and placement.turns == (mode == "turns")
    shares = [*[placement.trainer] * placement.trainers, *placement.editors]
    assert (
        sum(s.num_cpus for s in shares) <= resources.cpus
        and sum(s.num_gpus for s in shares) <= resources.gpus
    )
    assert all(s.threads >= 1 for s in shares)
    if mode == "separate":
        cards = [*range(placement.trainers), *(s.gpu for s in placement.editors)]
        assert len(set(cards)) == len(shares), "nobody shares a card"


@pytest.mark.parametrize(
    "resources, asked, words",
    [
        (host(2), {"device": "cuda"}, "1 GPU asked, 0 available"),
        (host(2), {"gpus": 1}, "1 GPUs asked, 0 available"),
        (host(16, 2), {"gpus": 4}, "4 GPUs asked, 2 available"),
        (host(16, 2), {"editors": 3}, "3 editors and a trainer asked for 4 GPUs, 2 available"),
        (host(16, 1), {"editors": 2}, "2 editors asked, 1 GPU available"),
        (host(16, 2), {"trainer_gpus": 2}, "2 GPUs asked beside at least one editor's, 2 available"),
        (host(16, 4), {"trainer_gpus": 2, "executor": "local"}, "cluster.executor must be ray"),
        (host(2), {"editors": 100}, "100 editors asked, 2 cores available"),
    ],
)
def test_what_cannot_be_had_is_printed_beside_what_there_is(resources, asked, words):
    with pytest.raises(ClusterError, match=words):
        place(resources, ClusterConfig(**asked), FITS, 9)


def test_no_more_editors_than_chains():
    assert len(place(host(64, 8), ClusterConfig(), FITS, 2).editors) == 2


def test_specs_tell_every_service_its_place():
    placement = place(host(16, 3), ClusterConfig(), FITS, 9)
    trainer, *editors = service_specs(placement, ("a:T", {"x": 1}), ("a:E", {}))
    assert trainer.kwargs == {"x": 1, "name": "trainer", "device": "cuda", "num_threads": trainer.threads}
    assert [e.name for e in editors] == ["editor-0", "editor-1"] and all(e.num_gpus == 1 for e in editors)
    in_process = service_specs(placement, ("a:T", {}), ("a:E", {}), in_process=True)
    assert [s.kwargs["device"] for s in in_process] == ["cuda:0", "cuda:1", "cuda:2"]
    on_cpu = service_specs(
        place(host(2), ClusterConfig(), FITS, 9), ("a:T", {}), ("a:E", {}), in_process=True
    )
    assert {s.kwargs["device"] for s in on_cpu} == {"cpu"}
