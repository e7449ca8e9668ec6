"""A cluster with a token: joined with it, refused without it or with another one, and the token nowhere in
what a run leaves.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray_nodes import free_port, ray_nodes

from i4d.errors import ClusterError
from i4d.exec.on_ray.session import offer_token, token_file

TESTS = Path(__file__).parents[1]
JOIN = "from i4d.exec.on_ray.session import connect; connect({!r}); print('joined')"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head with its dashboard, both asking for a token."""
    port = free_port()
    head = (
        "--num-cpus=4",
        "--include-dashboard=true",
        f"--dashboard-port={port}",
        "--dashboard-host=127.0.0.1",
    )
    with ray_nodes(tmp_path_factory.mktemp("head"), workers=0, namespaces=False, head=head) as nodes:
        yield nodes, f"http://127.0.0.1:{port}"


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong-token"
    path.touch(mode=0o600)
    path.write_text("0" * 64)
    return {"RAY_AUTH_TOKEN_PATH": str(path)}


def python(code_or_module, *arguments, env):
    command = [
        sys.executable,
        *(["-c", code_or_module] if " " in code_or_module else ["-m", code_or_module]),
        *arguments,
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_wrong_token_and_no_token_are_refused_in_one_line(cluster, wrong):
    nodes, dashboard = cluster
    for change in (wrong, {"RAY_AUTH_MODE": "disabled"}):
        env = {**nodes.env, **change}
        code, out, err = python(JOIN.format(nodes.address), env=env)
        assert (
            code == 1 and "joined" not in out and "ClusterError: cannot join Ray" in err.splitlines()[-1]
        ), err[-2000:]
        code, out, err = python("i4d", "jobs", "--address", dashboard, env=env)
        assert code == 5 and err.startswith("error: no Ray dashboard answers") and "uthenti" in err, err


@pytest.mark.slow
def test_the_right_token_joins_and_is_nowhere_in_the_run(cluster, tmp_path):
    nodes, dashboard = cluster
    assert python("i4d", "jobs", "--address", dashboard, env=nodes.env)[0] == 0
    command = [
        sys.executable,
        str(TESTS / "drive_null.py"),
        str(tmp_path / "run"),
        nodes.address,
        "--editors",
        "2",
        "--delay",
        "0",
    ]
    done = subprocess.run(command, env=nodes.env, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    token = Path(nodes.env["RAY_AUTH_TOKEN_PATH"]).read_bytes().strip()
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 10 and not [path for path in files if token in path.read_bytes()]
    assert token.decode() not in done.stdout + done.stderr


def test_a_token_that_others_can_read_is_refused(tmp_path, monkeypatch):
    place = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(place))
    assert token_file() == place and place.stat().st_mode & 0o777 == 0o600 and len(place.read_text()) == 64
    os.chmod(place, 0o644)
    with pytest.raises(ClusterError, match="can be read by others .*chmod 600"):
        token_file()


def test_the_token_that_rays_own_command_makes_is_offered(tmp_path, monkeypatch):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", str(tmp_path))
    offer_token()
    assert not os.environ["RAY_AUTH_MODE"], "there is none"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("1" * 64)
    offer_token()
    assert os.environ["RAY_AUTH_MODE"] == "token" and not os.environ["RAY_AUTH_TOKEN_PATH"], (
        "Ray finds its own by itself"
    )
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    token_file()
    offer_token()
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / ".config" / "i4d" / "ray_token"), (
        "i4d's own goes first"
    )


SHOWN = (
    "from i4d.exec.on_ray.session import offer_token; offer_token(); "
    "from ray._private.authentication.http_token_authentication import "
    "get_auth_headers_if_auth_enabled as shown; print(shown({}))"
)


@pytest.mark.parametrize("place", [".config/i4d/ray_token", ".ray/auth_token"])
def test_the_users_token_is_shown_without_any_variable(tmp_path, place):
    """What docs/security.md promises of `submit`, `jobs` and the like, for i4d's own token and for the one
    that Ray's command makes.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH_")}
    env |= {"HOME": str(tmp_path), "PYTHONPATH": str(TESTS.parent)}
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.touch(mode=0o600)
    path.write_text("7" * 64)
    code, out, err = python(SHOWN, env=env)
    assert code == 0 and "7" * 64 in out, err
