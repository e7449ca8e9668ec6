"""What the tests on Ray share."""

import pytest


@pytest.fixture(scope="session")
def ray_token(tmp_path_factory):
    """Where the token of every Ray that this process starts lies: Ray keeps the first that a process uses."""
    return tmp_path_factory.mktemp("ray") / "token"
