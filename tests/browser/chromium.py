"""A real browser for tests: Chromium without a window, driven over its DevTools protocol.

Collects what the page says on the console, what it throws and which hosts it asks for.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-background-networking",
    "--no-first-run",
    "--use-gl=swiftshader",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
    "--disable-component-update",
    "--remote-debugging-port=0",
    "--window-size=1200,800",
)


def program() -> str:
    """Return Chromium, or skip the test with the reason."""
    pytest.importorskip("websockets", reason="the websockets package (with viser) drives the browser")
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


class Page:
    """One tab. `console` and `errors` are texts; `hosts` is where requests went."""

    def __init__(self, url: str, size: tuple[int, int] = (1200, 800)) -> None:
        from websockets.sync.client import connect

        self._folder = tempfile.mkdtemp()
        flags = [f for f in FLAGS if not f.startswith("--window-size")] + [
            f"--window-size={size[0]},{size[1]}"
        ]
        self._process = subprocess.Popen(
            [program(), *flags, f"--user-data-dir={self._folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        port = self._port()
        with urlopen(f"http://127.0.0.1:{port}/json") as answer:
            target = next(t for t in json.load(answer) if t["type"] == "page")
        self._socket = connect(target["webSocketDebuggerUrl"], max_size=1 << 26)
        self._number, self.console, self.errors, self.hosts = 0, [], [], set()
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def _port(self) -> int:
        place, until = Path(self._folder) / "DevToolsActivePort", time.monotonic() + 60
        while not (place.exists() and place.read_text().strip()):
            assert time.monotonic() < until and self._process.poll() is None, "Chromium did not start"
            time.sleep(0.1)  # between two looks for the file
        return int(place.read_text().split()[0])

    def call(self, method: str, **params: object) -> dict:
        """Return the answer to one command; what happens meanwhile is noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=120))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, message: dict) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.console.append(
                " ".join(str(a.get("value", a.get("description", ""))) for a in params["args"])
            )
        elif method == "Runtime.exceptionThrown":
            self.errors.append(
                params["exceptionDetails"].get("exception", {}).get("description", "exception")
            )
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.console.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(
            ("data:", "blob:", "chrome")
        ):
            self.hosts.add(params["request"]["url"].split("/")[2])

    def js(self, expression: str) -> object:
        """Return the value of a JavaScript expression (a promise is waited for)."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression holds."""
        end = time.monotonic() + seconds
        while not self.js(expression):
            assert time.monotonic() < end, (
                f"{expression} did not come true; console: {self.console} {self.errors}"
            )
            time.sleep(0.2)  # between two looks at the page

    def click(self, x: float, y: float) -> None:
        """Click at a place of the page, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, name: str, code: int) -> None:
        """Press a key, such as ("ArrowRight", 39)."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def shot(self, place: Path | None = None) -> bytes:
        """Return a PNG of the window, kept at `place` or under I4D_SHOTS where that is set."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        keep = place or (
            Path(os.environ["I4D_SHOTS"]) / f"shot-{time.time_ns()}.png"
            if os.environ.get("I4D_SHOTS")
            else None
        )
        if keep:
            keep.write_bytes(data)
        return data

    def close(self) -> None:
        """End the browser and all of its processes."""
        self._socket.close()
        os.killpg(self._process.pid, 9)
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)
