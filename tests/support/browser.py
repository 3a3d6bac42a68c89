"""A real browser that a test looks at a page with: headless Chromium, driven over a pipe, without a port and a driver.

https://chromedevtools.github.io/devtools-protocol/: messages are JSON, ended by a zero byte, on file descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # as root, in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--hide-scrollbars",
)
A4 = {"paperWidth": 8.27, "paperHeight": 11.69}  # inches


@dataclass(slots=True)
class Browser:
    """One tab. `said` is whatever it reported by itself: console, log, network."""

    to_it: Any
    from_it: Any
    session: str = ""
    said: list[dict[str, Any]] = field(default_factory=list)
    number: int = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        self.to_it.write(json.dumps(message).encode() + b"\0")
        self.to_it.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.said.append(answer)

    def _read(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self.from_it.read(1)) != b"\0":
            assert byte, "the browser has ended"
            found += byte
        message: dict[str, Any] = json.loads(found)
        return message

    def wait_for(self, event: str) -> None:
        """Until the tab has reported this, now or before."""
        while not any(message.get("method") == event for message in self.said):
            self.said.append(self._read())

    def open(self, page: Path, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open a file in a window of this size, by day or by night."""
        self.said.clear()
        mobile = width < 600
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=page.absolute().as_uri())
        self.wait_for("Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression gives in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        codes = {"Tab": 9, "Enter": 13}
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key])

    def shot(self) -> bytes:
        """The whole page as PNG."""
        found = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def printed(self) -> bytes:
        """The page as PDF on A4, with the margins and size that its style asks for."""
        found = self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True, **A4)
        return base64.b64decode(found["data"])

    def complaints(self) -> list[str]:
        """What the tab has reported that a page without fault does not cause."""
        found = []
        for message in self.said:
            method, params = message.get("method", ""), message.get("params", {})
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                found.append(json.dumps(params))
            elif method == "Log.entryAdded":
                found.append(params["entry"]["text"])
        return found

    def requests(self) -> list[str]:
        """The addresses that the tab has asked for."""
        sent = [message for message in self.said if message.get("method") == "Network.requestWillBeSent"]
        return [str(message["params"]["request"]["url"]) for message in sent]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A tab for the block. `folder` is for the browser's own files."""
    program = next((found for name in NAMES if (found := which(name))), None)
    assert program, "no Chromium: scripts/browser installs it"
    read_command, write_command = os.pipe()
    read_answer, write_answer = os.pipe()

    # Its ends are 3 and 4 in the child.
    command = f'exec "$@" 3<&{read_command} 4>&{write_answer}'
    child = subprocess.Popen(
        ["/bin/bash", "-c", command, "browser", program, *ARGUMENTS, f"--user-data-dir={folder}", "about:blank"],
        pass_fds=(read_command, write_answer),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(read_command)
    os.close(write_answer)
    with os.fdopen(write_command, "wb") as to_it, os.fdopen(read_answer, "rb") as from_it:
        tab = Browser(to_it=to_it, from_it=from_it)
        try:
            target = tab.ask("Target.createTarget", url="about:blank")["targetId"]
            tab.session = tab.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                tab.ask(f"{domain}.enable")
            yield tab
            tab.session = ""
            tab.ask("Browser.close")
        finally:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
