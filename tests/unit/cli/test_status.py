"""`status`, `stop` and `logs` of what is not simply a run: a folder of several, a job that has not begun, a
name that is nothing.
"""

import json
from contextlib import ExitStack

import pytest
from test_submit import Sent

from i4d import cli
from i4d.commands import jobs, watch
from i4d.commands.run_request import Request
from i4d.store.run_folder import RunFolder, locked


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def make_run(path, prompt):
    folder = RunFolder.create(path, {})
    Request("edit", prompt).write(folder)
    return folder


def test_a_folder_of_several_prompts_tells_of_each(tmp_path, capsys):
    for name, prompt in (("01-night", "make it night"), ("02-gold", "make it gold")):
        begun = {"event": "StageStarted", "at_s": 0.0, "stage": "fit", "round": 0, "total": 9}
        make_run(tmp_path / "two" / name, prompt).append_event(begun)
    code, out, _ = told(capsys, "status", tmp_path / "two")
    assert (
        code == 0
        and out.index("make it night") < out.index("make it gold")
        and out.count("last stage: fit") == 2
    )
    code, out, _ = told(capsys, "status", tmp_path / "two", "--watch")
    assert code == 0 and out.count("nobody drives this run now") == 2
    code, _, err = told(capsys, "stop", tmp_path / "two")
    assert code == 2 and "is not running" in err
    code, out, _ = told(capsys, "logs", tmp_path / "two")
    assert code == 0 and "01-night" in out and "02-gold" in out


def test_stop_reaches_the_run_that_goes_on(tmp_path, capsys):
    first, second = (make_run(tmp_path / "two" / name, "x") for name in ("01-x", "02-y"))
    with second.lock():
        code, out, _ = told(capsys, "stop", tmp_path / "two")
    assert code == 0 and second.stop_requested() and not first.stop_requested()


def test_a_run_that_a_job_has_not_made_yet_is_not_taken_for_a_job(tmp_path, capsys):
    code, _, err = told(capsys, "status", tmp_path / "later")
    assert code == 2 and "there is no such run" in err and "i4d status JOB" in err and err.count("\n") == 1
    code, _, err = told(capsys, "status", tmp_path)
    assert code == 2 and "is not a run" in err


def test_a_job_that_waits_is_watched_until_it_has_begun(tmp_path, capsys, monkeypatch):
    asked = []

    class Waiting(Sent):
        def get(self, id):
            asked.append(id)
            if len(asked) == 3:
                make_run(tmp_path / "run", "make it night")
            status = "PENDING" if len(asked) < 3 else "RUNNING" if len(asked) < 4 else "SUCCEEDED"
            return jobs.Job(id, status, "", "", 0.0, 0.0, {"out": str(tmp_path / "run")})

    monkeypatch.setattr(jobs, "Jobs", Waiting)
    monkeypatch.setattr(jobs, "EVERY_S", 0.01)
    monkeypatch.setattr(watch, "EVERY_S", 0.01)
    code, out, _ = told(capsys, "status", "job-7", "--watch")
    assert code == 0 and out.startswith("job-7: PENDING") and "nobody drives this run now" in out
    assert out.strip().endswith("job-7: SUCCEEDED")


def test_runs_of_a_prompts_file_that_have_not_begun_are_told_and_waited_for(tmp_path, capsys, monkeypatch):
    many = tmp_path / "many"
    first = make_run(many / "01-night", "make it night")
    runs = [{"name": "01-night", "prompt": "make it night"}, {"name": "02-gold", "prompt": "make it gold"}]
    (many / "prompts.json").write_text(json.dumps({"runs": runs}))
    _, out, _ = told(capsys, "status", many)
    assert out.endswith(f"{many / '02-gold'}: edit 'make it gold'\nstate: not begun\n")
    finished = {"event": "RunFinished", "at_s": 9.0}
    first.append_event(finished)
    with locked(many):
        _, out, _ = told(capsys, "status", many)
        assert out.endswith("state: not begun; waits for the runs before it\n")

    def sleep(seconds):
        make_run(many / "02-gold", "make it gold").append_event(finished)
        held.close()

    held = ExitStack()
    held.enter_context(locked(many))
    monkeypatch.setattr(jobs.time, "sleep", sleep)
    _, out, _ = told(capsys, "status", many, "--watch")
    assert out.count("finished") == 2 and "not begun" not in out
