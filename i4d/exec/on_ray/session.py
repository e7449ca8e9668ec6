"""A Ray cluster to work on: one started here, or one joined by address."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import ray
from ray._raylet import Config  # type: ignore[attr-defined]  # missing in Ray's stub of its C module
from ray.exceptions import AuthenticationError

import i4d
from i4d.errors import ClusterError
from i4d.exec.ending import cannot_close
from i4d.exec.on_ray.head import answers

_PROBE_S = 8.0  # to find out that nobody answers at an address
_OBJECT_STORE_BYTES = 256 << 20  # of a Ray started here: pixels pass through the block store


@dataclass(frozen=True)
class RaySession:
    """A connection. `started` if the cluster was started here (and ends with us); `dashboard` is its URL or
    empty.
    """

    address: str
    dashboard: str
    started: bool

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here. A head that is gone hears nothing any
        more.
        """
        if answers(self.address):
            ray.shutdown()
        else:
            cannot_close("Ray")


def package_parent() -> str:
    """Return the folder that `import i4d` was found in."""
    return str(Path(i4d.__file__).resolve().parents[1])


def package_folder() -> str:
    """Return the package's own folder, for shipping it to a cluster."""
    return str(Path(i4d.__file__).resolve().parent)


def _token_place() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".config" / "i4d" / "ray_token")


def offer_token() -> None:
    """Let this process show the user's token to the cluster that it joins, where there is one and nothing
    else is said.
    """
    told = any(os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if told:
        return
    if _token_place().exists():
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN_PATH"] = "token", str(token_file())
    elif (
        Path.home() / ".ray" / "auth_token"
    ).exists():  # what `ray get-auth-token --generate` makes; Ray finds it by itself
        os.environ["RAY_AUTH_MODE"] = "token"
    else:
        return
    Config.initialize(
        ""
    )  # Ray has read its settings as it was imported: without this the job client shows no token


def token_file() -> Path:
    """Return the file with this user's Ray token, readable by nobody else; it is made at the first call.

    ClusterError where others can read it: then it is no secret.
    """
    path = _token_place()
    if path.exists() and path.stat().st_mode & 0o077:
        raise ClusterError(
            f"{path} can be read by others", f"chmod 600 {path}, and make a new one if they may have read it"
        )
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(32))
    return path


def dashboard_installed() -> bool:
    """Return whether Ray's dashboard can run here (it needs the extra packages of ray[default])."""
    return all(importlib.util.find_spec(name) for name in ("aiohttp", "aiohttp_cors", "opencensus"))


def connect(
    address: str = "", dashboard: bool = True, num_cpus: int | None = None, num_gpus: int | None = None
) -> RaySession:
    """Join the cluster at `address` (else at RAY_ADDRESS, as inside a Ray job), or start one on this machine.

    A cluster started here asks for a token (see `token_file`), keeps its dashboard on the loopback interface
    and sends no usage statistics. Raises ClusterError within about ten seconds when nobody answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS", "")
    common: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "ignore_reinit_error": False,
    }
    if address:
        return _join(address, common)
    os.environ.setdefault(
        "RAY_gcs_rpc_server_reconnect_timeout_s", "20"
    )  # what is left of a Ray whose driver was killed ends then
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # Ray's 15 would leave the work behind whatever else runs here
    if (
        os.environ.get("RAY_AUTH_MODE", "token") == "token"
    ):  # unset: ray.init turns it on for clusters that it starts
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file())
    context: Any = ray.init(  # Ray's hints name a base class without the address
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=dashboard and dashboard_installed(),
        dashboard_host="127.0.0.1",
        object_store_memory=_OBJECT_STORE_BYTES,
        runtime_env={"env_vars": _worker_env()},
        **common,
    )
    return RaySession(context.address_info["address"], _url(context), True)


def _join(address: str, common: dict) -> RaySession:
    if address != "auto":
        probe(address)
    offer_token()
    env = None
    if not _inside_job():
        env = {"py_modules": [package_folder()], "excludes": ["**/__pycache__"]}
    try:
        context: Any = ray.init(address=address, runtime_env=env, **common)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, AuthenticationError) as err:
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        hint = (
            "is `ray start --head` running there, and is the token its own (RAY_AUTH_MODE=token, "
            "RAY_AUTH_TOKEN_PATH)?"
        )
        raise ClusterError(f"cannot join Ray at {address}: {reason}", hint) from err
    return RaySession(context.address_info["address"], _url(context), False)


def _inside_job() -> bool:
    """Return whether this process is the entrypoint of a submitted job, which has its code already."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def probe(address: str) -> None:
    """Raise ClusterError unless something of Ray's kind listens at "10.0.0.5:6379" or "http://10.0.0.5:8265".

    Ray itself waits two minutes for an address where nobody, or somebody else, listens, and then ends the
    process. Its head speaks gRPC, so it answers the opening of HTTP/2 with a SETTINGS frame (RFC 9113,
    section 3.4) at once.
    """
    parsed = urlparse(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parsed.hostname, parsed.port
    except ValueError:
        host, port = None, None
    if not host or not port:
        raise ClusterError(f"Ray address {address!r} is not of the form host:port")
    hint = "is `ray start --head` running there?"
    try:
        with socket.create_connection((host, port), timeout=_PROBE_S) as connection:
            if parsed.scheme in ("http", "https") or os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
                return
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            answer = connection.recv(9)
    except OSError as err:
        raise ClusterError(f"no Ray answers at {address}: {err.strerror or err}", hint) from err
    if len(answer) < 4 or answer[3] != 4:
        raise ClusterError(f"something else than Ray answers at {address}", hint)


def _worker_env() -> dict[str, str]:
    """Return the variables that let workers import this very package, installed or a checkout."""
    before = os.environ.get("PYTHONPATH", "")
    paths = [package_parent(), *(p for p in before.split(os.pathsep) if p)]
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "RAY_USAGE_STATS_ENABLED": "0"}


def _url(context: object) -> str:
    url = getattr(context, "dashboard_url", "") or ""
    return f"http://{url}" if url and "://" not in url else url
