"""The retry policy as a table."""

import pytest

from i4d import errors
from i4d.driver.retry import Decision, Failure, RetryPolicy, classify

R, B, T, A = Decision.RETRY, Decision.REREAD, Decision.RELOAD_TRAINER, Decision.ABORT

TABLE = [
    # kind, target, decisions for attempts 1, 2, 3, 4
    ("lost", "editor", (R, R, R, A)),
    ("timeout", "editor", (R, R, R, A)),
    ("block", "editor", (B, B, B, A)),
    ("bad_receipt", "editor", (R, A, A, A)),
    ("stage", "editor", (R, A, A, A)),
    ("storage", "editor", (R, A, A, A)),
    ("error", "editor", (R, A, A, A)),
    ("user", "editor", (A, A, A, A)),
    ("lost", "trainer", (T, T, T, A)),
    ("timeout", "trainer", (T, T, T, A)),
    ("block", "trainer", (T, T, T, A)),
    ("bad_receipt", "trainer", (T, A, A, A)),
    ("stage", "trainer", (T, A, A, A)),
    ("storage", "trainer", (T, A, A, A)),
    ("error", "trainer", (T, A, A, A)),
    ("user", "trainer", (A, A, A, A)),
]


@pytest.mark.parametrize("kind, target, decisions", TABLE)
def test_decisions(kind, target, decisions):
    policy = RetryPolicy(max_retries=3, max_repeats=1)
    assert tuple(policy.decide(Failure(kind, target, attempt)) for attempt in (1, 2, 3, 4)) == decisions


def test_no_patience_at_all():
    policy = RetryPolicy(0, 0)
    assert {policy.decide(Failure(kind, target, 1)) for kind, target, _ in TABLE} == {A}


@pytest.mark.parametrize(
    "err, kind",
    [
        (errors.WorkerLost("x"), "lost"),
        (errors.CallTimeout("x"), "timeout"),
        (errors.BlockError("x"), "block"),
        (errors.StorageError("x"), "storage"),
        (errors.EditError("x"), "stage"),
        (errors.FitError("x"), "stage"),
        (errors.ConfigError("x"), "user"),
        (errors.SceneError("x"), "user"),
        (errors.WeightsError("x"), "user"),
        (errors.ClusterError("x"), "error"),
        (RuntimeError("x"), "error"),
    ],
)
def test_kinds(err, kind):
    assert classify(err) == kind
