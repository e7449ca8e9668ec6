"""Threads of one fit: parts of the rays and the thread that hands them out."""

import pytest
import torch

from i4d.fields.workers import Workers


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_whoever_hands_out_pieces_computes_with_one_thread():
    workers = Workers(2)
    assert workers.lead(torch.get_num_threads) == 1
    assert workers.lead(lambda: workers.map(lambda i: (i, torch.get_num_threads()), [0, 1, 2])) == [
        (0, 1),
        (1, 1),
        (2, 1),
    ]
    assert torch.get_num_threads() == 3


def test_threads_are_set_back_after_an_error():
    with pytest.raises(ZeroDivisionError):
        Workers(2).lead(lambda: 1 / 0)
    assert torch.get_num_threads() == 3


def test_a_worker_alone_computes_as_it_is_set():
    assert Workers(1).lead(torch.get_num_threads) == 3
