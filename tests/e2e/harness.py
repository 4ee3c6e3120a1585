"""Runs build/realm as a user would and says what a user would see.

Every file of this folder is one ctest entry (tests/CMakeLists.txt), which passes REALM_BIN, REALM_SHARED
(reference data; tests that need it skip without it) and REALM_SANITIZE. By hand, from the checkout:
    python3 tests/e2e/test_usage.py
"""

import array
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from typing import List, NamedTuple, Optional, Sequence, Union

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = pathlib.Path(os.environ.get("REALM_BIN") or ROOT / "build" / "realm")
SHARED = pathlib.Path(os.environ.get("REALM_SHARED") or ROOT.parent / "shared")
SANITIZED = bool(os.environ.get("REALM_SANITIZE"))
BACKEND = os.environ.get("REALM_TEST_BACKEND")  # cuda: what can be tested on a GPU
EMBEDDED = ROOT / "assets" / "realm-tiny.Q8_0.gguf"

# Exit statuses, as the command line promises them.
DONE, FAILED, USAGE, BAD_MODEL, INTERRUPTED = 0, 1, 2, 3, 130

Argument = Union[str, os.PathLike]


class Outcome(NamedTuple):
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode("utf-8")

    def json(self):
        return json.loads(self.out)


def environment(**changes: str) -> dict:
    """The caller's environment less Realm's own settings, which would change what is tested."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("REALM_")}
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        env.pop(name, None)
    # A home without a configuration file or a chat history.
    env.update(NO_COLOR="1", LC_ALL="C.UTF-8", HOME="/nonexistent")
    if BACKEND:
        env.update(REALM_BACKEND=BACKEND, REALM_BATCH_INVARIANT="true")
    env.update(changes)
    return env


def realm(*args: Argument, stdin: Union[bytes, str, None] = None, timeout: float = 120, env: Optional[dict] = None,
          **popen) -> Outcome:
    """Runs the program to its end. Without `stdin` there is none (/dev/null)."""
    if isinstance(stdin, str):
        stdin = stdin.encode()
    if stdin is None:
        popen.setdefault("stdin", subprocess.DEVNULL)
    popen.setdefault("stdout", subprocess.PIPE)
    done = subprocess.run([os.fspath(BIN), *map(os.fspath, args)], input=stdin, stderr=subprocess.PIPE,
                          timeout=timeout * (10 if SANITIZED else 1), env=env or environment(), **popen)
    return Outcome(done.returncode, done.stdout or b"", done.stderr.decode("utf-8", errors="backslashreplace"))


class RealmTest(unittest.TestCase):
    """A folder of its own for each test (self.dir), and the checks that every command is held to."""

    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="realm-e2e-"))
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def path(self, name: str) -> pathlib.Path:
        return self.dir / name

    def write(self, name: str, content: Union[bytes, str]) -> pathlib.Path:
        path = self.dir / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def shared(self, *parts: str) -> pathlib.Path:
        path = SHARED.joinpath(*parts)
        if not path.exists():
            self.skipTest(f"reference data {path} is not there")
        return path

    def succeed(self, *args: Argument, **kwargs) -> Outcome:
        outcome = realm(*args, **kwargs)
        self.assertEqual(outcome.status, DONE, f"realm {' '.join(map(str, args))}: {outcome.err}")
        return outcome

    def fail_with(self, status: Union[int, Sequence[int]], *args: Argument, says: Sequence[str] = (),
                  **kwargs) -> Outcome:
        """The command must fail in an orderly way: this status, nothing on stdout, and one sentence on
        stderr in which each of `says` (regular expressions, case ignored) is found."""
        outcome = realm(*args, **kwargs)
        shown = f"realm {' '.join(map(str, args))} -> {outcome.status}: {outcome.err}"
        wanted = [status] if isinstance(status, int) else list(status)
        self.assertIn(outcome.status, wanted, shown)
        self.assertEqual(outcome.out, b"", shown)
        lines = [line for line in outcome.err.splitlines() if line.strip()]
        self.assertEqual(len(lines), 1, "one sentence on stderr; " + shown)
        # An unknown name lists the known ones: of pre-tokenizers there are more than 75.
        self.assertLess(len(lines[0]), 1400, shown)
        for word in ("internal error", "terminate called", "std::", "Sanitizer"):
            self.assertNotIn(word, outcome.err, shown)
        for pattern in says:
            self.assertRegex(outcome.err, re.compile(pattern, re.IGNORECASE), shown)
        return outcome

    def assert_only(self, *names: str):
        """Nothing but these lies in self.dir: no temporary file, no half-written output."""
        self.assertEqual(sorted(path.name for path in self.dir.iterdir()), sorted(names))


def read_floats(path: pathlib.Path) -> array.array:
    values = array.array("f")
    values.frombytes(path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


def relative_error(actual: Sequence[float], expected: Sequence[float]) -> float:
    """|actual - expected| / |expected| in the Euclidean norm; NaN where either holds one."""
    difference = sum((a - e) * (a - e) for a, e in zip(actual, expected))
    return (difference / sum(e * e for e in expected)) ** 0.5


def rows(values: Sequence[float], width: int) -> List[Sequence[float]]:
    return [values[start:start + width] for start in range(0, len(values), width)]


def argmax(row: Sequence[float]) -> int:
    return max(range(len(row)), key=row.__getitem__)


def main() -> None:
    """unittest.main, but a file whose every test was skipped is itself skipped (77), for ctest to show."""
    if not BIN.exists():
        sys.exit(f"{BIN} is not there: run make, or set REALM_BIN")
    program = unittest.main(module="__main__", exit=False)
    result = program.result
    if not result.wasSuccessful() or result.testsRun == 0:
        sys.exit(1)
    sys.exit(77 if len(result.skipped) == result.testsRun else 0)
