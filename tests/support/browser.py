"""A headless Chromium, spoken to through a pipe in its own protocol (https://chromedevtools.github.io/devtools-protocol/): no
driver, no port, no package."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WORDS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
)


class Page:
    """One page of a browser. console: the messages of its console, violations of the policy included."""

    def __init__(self, send, receive):
        self._send, self._receive = send, receive
        self.console = []
        self._number = 0
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for room in ("Page", "Runtime", "Log"):
            self.call(f"{room}.enable")

    def call(self, method, **params):
        """Send a command and return its result; events that come meanwhile are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        self._send({**message, "sessionId": self._session} if self._session else message)
        while True:
            got = self._receive()
            if got.get("id") == self._number:
                assert "error" not in got, got
                return got["result"]
            self._note(got)

    def _note(self, event):
        params = event.get("params", {})
        if event.get("method") == "Log.entryAdded":
            self.console.append(params["entry"]["text"])
        elif event.get("method") == "Runtime.exceptionThrown":
            self.console.append(json.dumps(params["exceptionDetails"]))
        elif event.get("method") == "Runtime.consoleAPICalled":
            self.console.append(json.dumps(params["args"]))

    def run(self, script):
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, script, seconds=15):
        """Wait until an expression is true, and return its value."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.run(script):
                return value
            time.sleep(0.02)
        raise AssertionError(f"never true: {script}\n{self.run('document.body.innerText')}\n{self.console}")

    def open(self, url, *, width=900, height=900, dark=False, scale=1):
        """Go to a page, in a window of so many CSS pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def press(self, key, code=0, *, ctrl=False, text=""):
        """Press a key, as a person does."""
        known = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 2 if ctrl else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def write(self, text):
        """Write into what has the focus."""
        self.call("Input.insertText", text=text)

    def shot(self, path, *, whole=True):
        """Write a PNG of the page."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(folder):
    """A page of a browser that keeps its things in `folder`; the browser and its children end with the block."""
    ours, reference = os.pipe(), os.pipe()  # commands to it, answers from it
    words = [CHROMIUM, *WORDS, f"--user-data-dir={folder}"]
    script = f'exec "$@" 3<&{ours[0]} 4>&{reference[1]}'
    process = subprocess.Popen(
        ["bash", "-c", script, "bash", *words],
        pass_fds=(ours[0], reference[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOME": str(folder)},
    )
    os.close(ours[0])
    os.close(reference[1])
    with open(ours[1], "wb", buffering=0) as sink, open(reference[0], "rb") as source:
        try:
            yield Page(lambda message: sink.write(json.dumps(message).encode() + b"\0"), lambda: _message(source))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _message(source):
    """The next message: JSON up to a NUL."""
    read = bytearray()
    while (byte := source.read(1)) != b"\0":
        assert byte, "the browser has gone"
        read += byte
    return json.loads(read)
