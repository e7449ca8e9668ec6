"""A local S3 (moto) on loopback that can be told to answer 500 for a while."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager

import pytest

BUCKET = "i4d-tests"
ENV = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}


class S3Server:
    """`uri(path)` opens with pyarrow; `fail_for(seconds)` turns every answer into a 500 for so long."""

    def __init__(self) -> None:
        moto = pytest.importorskip("moto.server", reason="moto[server,s3] is not installed")
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._app = moto.DomainDispatcherApplication(moto.create_backend_app)
        self._fails_until = 0.0
        self.refused = 0
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, environ, start_response):
        if time.monotonic() < self._fails_until:
            self.refused += 1
            start_response("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [b"<Error><Code>InternalError</Code><Message>as asked</Message></Error>"]
        return self._app(environ, start_response)

    def fail_for(self, seconds: float) -> None:
        self._fails_until = time.monotonic() + seconds

    def uri(self, path: str) -> str:
        options = f"endpoint_override=127.0.0.1:{self._server.server_port}&scheme=http&region=us-east-1"
        return f"s3://{BUCKET}/{path}?{options}"

    def make_bucket(self) -> None:
        from pyarrow import fs

        where, _ = fs.FileSystem.from_uri(self.uri("x") + "&allow_bucket_creation=true")
        where.create_dir(BUCKET)

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join(10)


@contextmanager
def s3_server():
    server = S3Server()
    try:
        server.make_bucket()
        yield server
    finally:
        server.stop()
