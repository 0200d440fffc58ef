"""A server for the tests, and the demo's clips."""

import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.request

import pytest

CLIPS = pathlib.Path(__file__).parents[2] / "core/demo/clips"


class Server:
    """The program itself; `extra` are flags of `s3router serve`."""

    def __init__(self, *extra):
        command = [os.environ["S3ROUTER"], "serve", "--listen", "127.0.0.1:0", *extra]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self.process.stderr if "listening on " in line)
        self.address = re.search(r"http://([\d.]+:\d+)", line)[1]
        # Someone must read on, or a full pipe would stop the server.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url("/readyz"))
                return
            except urllib.error.HTTPError:
                threading.Event().wait(0.1)
        raise TimeoutError("never ready")

    def url(self, path, scheme="http"):
        return f"{scheme}://{self.address}{path}"

    def heard(self, lang, audio):
        """What `POST /transcribe` answers."""
        request = urllib.request.Request(self.url(f"/transcribe?lang={lang}"), data=audio, method="POST")
        return json.load(urllib.request.urlopen(request))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(timeout=40) == 0


@pytest.fixture(scope="session")
def server():
    server = Server()
    yield server
    server.stop()


@pytest.fixture
def clip():
    """The bytes of a demo clip by language."""
    names = {c["lang"]: c["file"] for c in json.loads((CLIPS / "clips.json").read_text())}
    return lambda lang: (CLIPS / names[lang]).read_bytes()
