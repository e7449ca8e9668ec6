"""Threads keep the contract of executors."""

import pytest
from executor_contract import ExecutorContract

from i4d.exec.hardware import visible_cards
from i4d.exec.local import LocalExecutor


@pytest.fixture
def executor():
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


class TestLocal(ExecutorContract):
    pass


def test_hidden_cards_are_not_offered():
    assert visible_cards({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_cards({"CUDA_VISIBLE_DEVICES": "-1"}) == []
