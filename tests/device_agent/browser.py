"""A headless Chromium, driven through the DevTools protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_START_S = 60.0
_ANSWER_S = 60.0


def chromium_or_skip() -> str:
    """Its path; the test is skipped, with what to do, where it is absent."""
    pytest.importorskip("websockets", reason="the page is not tested: pip install websockets")
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("the page is not tested: no Chromium here; apt install chromium")
    return found


class Page:
    """One tab."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._numbers = socket, itertools.count(1)
        self.complaints: list[str] = []  # what the console and the network complained of
        self.requested: list[str] = []  # addresses that were asked for
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command's result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_ANSWER_S))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        kind, told = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(told["exceptionDetails"]))
        elif kind == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif kind == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.complaints.append(json.dumps(told["args"]))
        elif kind == "Network.requestWillBeSent":
            self.requested.append(told["request"]["url"])

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go there, and wait until its scripts have run."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def until(self, expression: str, timeout_s: float = 60.0) -> None:
        """Wait until an expression is truthy."""
        deadline = time.monotonic() + timeout_s
        while not self.js(f"!!({expression})"):
            assert time.monotonic() < deadline, f"{expression} did not come true on this page: {self.text()}"
            time.sleep(0.05)

    def text(self) -> str:
        """All that the page shows."""
        return self.js("document.body.innerText")

    def choose_file(self, selector: str, path: Path) -> None:
        """Choose a file as a person does in the dialog."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def press(self, key: str) -> None:
        """Press and release a key: "Tab", "Enter", "Space"."""
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}[key]
        named = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def width(self, pixels: int, height: int = 800) -> None:
        """A screen so wide, as a phone has it below 500."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=pixels,
            height=height,
            deviceScaleFactor=1,
            mobile=pixels < 500,
        )

    def colours(self, scheme: str) -> None:
        """Prefer "light" or "dark"."""
        wish = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[wish])

    def offline(self, is_offline: bool) -> None:
        """Cut the network off, or give it back."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=is_offline, **unlimited)

    def screenshot(self, path: Path, full: bool = True) -> None:
        """A PNG of the page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def open_page(folder: Path, *options: str) -> Iterator[Page]:
    """A tab of a Chromium of its own, which ends with the block."""
    from websockets.sync.client import connect

    command = [
        chromium_or_skip(),
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        "--no-first-run",
        "--no-proxy-server",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--hide-scrollbars",
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),  # root has no sandbox
        *options,
        "about:blank",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log", "wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            port = _wait_for(lambda: _port_of(folder, process))
            tabs = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False, timeout=30).json()
            address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
            with connect(address, max_size=None, proxy=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(20)


def _port_of(folder: Path, process: subprocess.Popen[bytes]) -> str | None:
    assert process.poll() is None, (folder / "log").read_text(errors="replace")
    with contextlib.suppress(FileNotFoundError, IndexError):
        return (folder / "DevToolsActivePort").read_text().splitlines()[0]
    return None


def _wait_for(find: Callable[[], str | None]) -> str:
    deadline = time.monotonic() + _START_S
    while (found := find()) is None:
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    return found
