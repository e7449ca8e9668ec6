"""Ctrl-C and SIGTERM: the first asks the run to stop, the same one delivered twice counts once, a later one
stops at once.
"""

import os
import signal

import pytest

from i4d import compose
from i4d.report.console import Console
from i4d.store.run_folder import RunFolder


def test_signals_ask_first_and_stop_later(tmp_path, monkeypatch, capsys):
    folder, now = RunFolder.create(tmp_path / "run", {}), [100.0]
    monkeypatch.setattr(compose.time, "monotonic", lambda: now[0])
    before = signal.getsignal(signal.SIGTERM)
    with compose.stopping_on_signals(folder, Console()):
        os.kill(os.getpid(), signal.SIGTERM)
        assert folder.stop_requested()
        now[0] += 0.1
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += 2.0
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err.count("stopping after the work in hand") == 1
