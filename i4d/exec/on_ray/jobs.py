"""Runs as Ray jobs: submit, list, status, logs, stop. Only code and configuration travel; data must be
reachable there.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.dashboard.utils import get_address_for_submission_client
from ray.job_submission import JobStatus, JobSubmissionClient

from i4d.errors import ClusterError, ConfigError
from i4d.exec.on_ray.session import offer_token, package_folder, probe

_POLL_S = 1.0
# Ray's agent listens on 52365 and ends where another Ray of the machine, such as a local run's, has it; then
# no jobs are taken.
_PORT_TAKEN = (
    "just started? wait a moment; else another Ray has the agent's port: `ray start ... "
    "--dashboard-agent-listen-port 52366`"
)
_ENDED = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}


@dataclass(frozen=True)
class Job:
    """One submitted run. Times are unix seconds, 0 where it has not come to that yet."""

    id: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED
    message: str
    entrypoint: str
    started_s: float
    ended_s: float
    metadata: Mapping[str, str]

    @property
    def ended(self) -> bool:
        return self.status in {status.value for status in _ENDED}


class Jobs:
    """The jobs of one cluster; `address` is its dashboard ("http://host:8265"), host:port of its head, or
    "auto".
    """

    def __init__(self, address: str) -> None:
        try:
            offer_token()
            if address.startswith(("http://", "https://")):
                probe(address)
                url = address
            else:
                if address != "auto":
                    probe(address)
                url = get_address_for_submission_client(address)
            self._client = JobSubmissionClient(url)
        except ClusterError:
            raise
        except Exception as err:  # the client raises whatever requests, grpc or its own checks raise
            hint = (
                "is the dashboard on, and is its token yours? cluster/single-host/start.sh sees to both "
                "(else RAY_AUTH_TOKEN_PATH)"
            )
            raise ClusterError(f"no Ray dashboard answers at {address}: {_line(err)}", hint) from err
        self.url = url

    def submit(
        self,
        arguments: Sequence[str],
        files: Path | None = None,
        metadata: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        module: str = "i4d",
        id: str | None = None,
    ) -> str:
        """Send `python -m MODULE ARGUMENTS` with the package's code and a folder of small files; return the
        job's id.

        The job starts in a copy of `files` (configuration, never data). `python` is the interpreter there.
        """
        runtime_env: dict[str, Any] = {"py_modules": [package_folder()], "excludes": ["**/__pycache__"]}
        if files is not None:
            runtime_env["working_dir"] = str(files)
        runtime_env["env_vars"] = {"PYTHONUNBUFFERED": "1", **(env or {})}
        entrypoint = shlex.join([python, "-m", module, *arguments])
        return self._ask(
            "submit_job",
            entrypoint=entrypoint,
            submission_id=id,
            runtime_env=runtime_env,
            metadata={k: str(v) for k, v in (metadata or {}).items()},
        )

    def list(self) -> list[Job]:
        """Return the cluster's submitted jobs, newest first."""
        jobs = [_job(details) for details in self._ask("list_jobs") if details.submission_id]
        return sorted(jobs, key=lambda job: -job.started_s)

    def get(self, id: str) -> Job:
        """Return one job; ConfigError if the cluster does not know it."""
        for job in self.list():
            if job.id == id:
                return job
        raise ConfigError(f"no job is called {id!r} at {self.url}", "`i4d jobs` lists them")

    def logs(self, id: str) -> str:
        """Return what a job has written so far."""
        self.get(id)
        return self._ask("get_job_logs", id)

    def follow(self, id: str) -> Iterator[str]:
        """Yield what a job writes, piece by piece, until it has ended."""
        seen = 0
        while True:
            ended = self.get(id).ended
            text = self._ask("get_job_logs", id)
            if len(text) > seen:
                yield text[seen:]
                seen = len(text)
            if ended:
                return
            time.sleep(_POLL_S)

    def stop(self, id: str) -> bool:
        """Ask a job to end (SIGTERM, later SIGKILL); False if it has ended already."""
        if self.get(id).ended:
            return False
        return self._ask("stop_job", id)

    def _ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(self._client, method)(*args, **kwargs)
        except (RuntimeError, ValueError, ConnectionError, OSError) as err:
            hint = _PORT_TAKEN if "No available agent" in str(err) else ""
            raise ClusterError(f"{method} failed at {self.url}: {_line(err)}", hint) from err


def _job(details: Any) -> Job:
    return Job(
        details.submission_id,
        details.status.value,
        details.message or "",
        details.entrypoint,
        (details.start_time or 0) / 1000,
        (details.end_time or 0) / 1000,
        dict(details.metadata or {}),
    )


def _line(err: BaseException) -> str:
    lines = [line.strip() for line in str(err).splitlines() if line.strip()]
    return lines[0] if lines else type(err).__name__
