"""A real browser, where one is installed: Chromium without a screen, spoken to through two pipes (Chrome DevTools Protocol)."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from itertools import count

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """An open page; what it asked for, and what it complained about, is kept."""

    def __init__(self, commands, answers):
        self._commands, self._answers = commands, answers
        self._numbers = count(1)
        self._rest = b""
        self.requests, self.complaints = [], []
        self._session = None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        # Nothing is fetched, whatever is asked for.
        self.ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)

    def ask(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]

    def _hear(self):
        while b"\0" not in self._rest:
            more = os.read(self._answers, 65536)
            assert more, "the browser is gone"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        said = json.loads(text)
        self._note(said)
        return said

    def _note(self, said):
        method, parameters = said.get("method"), said.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.complaints.append(parameters)

    def open(self, path):
        """Until it is loaded."""
        self.ask("Page.navigate", url=path.as_uri())
        while self._hear().get("method") != "Page.loadEventFired":
            pass

    def value(self, expression):
        """Of a JavaScript expression, awaited."""
        said = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")


@contextmanager
def browser():
    """A page of a browser of its own."""
    (commands_in, commands), (answers, answers_out) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--disable-background-networking"]

        def as_three_and_four():
            # Copies above 4, so that neither is in the way of the other.
            high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (commands_in, answers_out)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        process = subprocess.Popen(
            [PROGRAM, *options],
            preexec_fn=as_three_and_four,  # noqa: PLW1509 - the browser wants its pipes there
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_in)
        os.close(answers_out)
        try:
            yield Page(commands, answers)
        finally:
            process.kill()
            process.wait()
            os.close(commands)
            os.close(answers)
