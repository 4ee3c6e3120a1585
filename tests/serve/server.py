"""Starts build/realm serve as a user would, on a free port, and stops it as an operator would.

Every test_*.py of this folder is one ctest entry (tests/CMakeLists.txt), which passes REALM_BIN and
REALM_SANITIZE. By hand: tools/ensure_clients.sh && tests/serve/.venv/bin/python tests/serve/test_openai.py
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import unittest
from typing import List, Optional, Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("REALM_BIN") or ROOT / "build" / "realm")
SANITIZED = bool(os.environ.get("REALM_SANITIZE"))
SLOWER = 10 if SANITIZED else 1
MODEL = "realm-tiny"


class Server:
    """One running server. Its address is known once it is ready; stderr is kept for the failure's message."""

    def __init__(self, *args: str, scheme: str = "http", env: Optional[dict] = None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REALM_")}
        environment.update(NO_COLOR="1", HOME="/nonexistent", **(env or {}))
        if os.environ.get("REALM_TEST_BACKEND"):
            environment.setdefault("REALM_BACKEND", os.environ["REALM_TEST_BACKEND"])
            environment.setdefault("REALM_BATCH_INVARIANT", "true")
        environment.pop("XDG_CONFIG_HOME", None)
        self.scheme = scheme
        place = () if "--unix" in args else ("--port", "0")
        self.process = subprocess.Popen([os.fspath(BIN), "serve", *place, "--threads", "2", *args],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, env=environment, text=True)
        self.stderr: List[str] = []
        self._reader = threading.Thread(target=self._read_stderr, daemon=True)
        self._reader.start()
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.process.wait(timeout=60)
            raise RuntimeError(f"the server did not start ({self.process.returncode}): {''.join(self.stderr)}")
        self.url = line.split()[-1]
        if self.url.startswith("http"):
            self.port = int(self.url.rsplit(":", 1)[1])

    def _read_stderr(self) -> None:
        for line in self.process.stderr:
            self.stderr.append(line)

    @property
    def base(self) -> str:
        return self.url + "/v1"

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self, timeout: float = 30) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout * SLOWER)

    def request(self, method: str, path: str, body=None, headers: Optional[dict] = None) -> "Reply":
        """One request on a connection of its own."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        head = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if body is not None:
            head.update({"Content-Type": "application/json", "Content-Length": str(len(data))})
        head.update(headers or {})
        text = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in head.items()) + "\r\n"
        return self.raw(text.encode() + data)

    def raw(self, data: bytes, timeout: float = 60) -> "Reply":
        """These bytes on a connection of their own, and all that comes back until it closes."""
        with self.connect(timeout) as sock:
            try:
                sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # an early refusal
            got = b""
            while True:
                piece = sock.recv(65536)
                if not piece:
                    return Reply(got)
                got += piece

    def stop(self, ask: bool = True) -> int:
        """Its exit status; `ask` is false where it has been told to end already."""
        if ask and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout=60 * SLOWER)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"the server did not end on SIGTERM: {''.join(self.stderr)}")
        self._reader.join(timeout=10)
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc) -> None:
        status = self.stop()
        errors = "".join(self.stderr)
        if status != 0 or "Sanitizer" in errors:
            raise RuntimeError(f"the server ended with {status}: {errors}")


class Reply:
    """An HTTP response, taken apart."""

    def __init__(self, data: bytes):
        self.data = data
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0].startswith("HTTP/1.1 ") else 0
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if self.headers.get("transfer-encoding") == "chunked":
            self.body = unchunk(self.body)

    def json(self):
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:300]!r}>"


def unchunk(data: bytes) -> bytes:
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        out += data[:length]
        data = data[length + 2:]
    return out


def sse_events(body: bytes) -> List[Tuple[str, str]]:
    """(event, data) of each frame; comments are left out."""
    events = []
    for frame in body.decode().split("\n\n"):
        name, data = "", []
        for line in frame.split("\n"):
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data.append(line[6:])
        if data:
            events.append((name, "\n".join(data)))
    return events


class ServeTest(unittest.TestCase):
    """One server for the class (self.server), stopped in an orderly way at its end."""

    ARGS: Tuple[str, ...] = ()
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = Server(*cls.ARGS)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.__exit__()


def main() -> None:
    if not BIN.exists():
        sys.exit(f"{BIN} is not there: run make, or set REALM_BIN")
    program = unittest.main(module="__main__", exit=False)
    result = program.result
    if not result.wasSuccessful() or result.testsRun == 0:
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
