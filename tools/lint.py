#!/usr/bin/env python3
"""What `make lint` checks, each check by its own tool; every check runs even where one before it failed."""

import argparse
import os
import pathlib
import subprocess
import sys
import time
from typing import Callable, List, Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent


def tracked(*patterns: str) -> List[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
                            cwd=ROOT, check=True, capture_output=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def run(*command: str, cwd: pathlib.Path = ROOT) -> bool:
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL).returncode == 0


def each(command: List[str], files: List[str]) -> bool:
    return all([run(*command, file) for file in files])


def formatted(files: List[str]) -> bool:
    good = True
    for file in files:
        done = subprocess.run(["clang-format", "--dry-run", "-Werror", file], cwd=ROOT, capture_output=True)
        if done.returncode != 0:
            first = done.stderr.decode(errors="replace").splitlines()[0]
            print(f"{first.split(' error:')[0]} not as clang-format writes it: run 'make format'")
            good = False
    return good


def python_compiles(files: List[str]) -> bool:
    good = True
    for file in files:
        try:
            compile((ROOT / file).read_bytes(), file, "exec")
        except SyntaxError as error:
            print(f"{file}: {error}")
            good = False
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--tidy-seconds-max", type=int, default=1200)
    parser.add_argument("--only", default="", help="checks whose name contains this")
    parser.add_argument("--no-tidy", action="store_true", help="leave clang-tidy out (it takes long when cold)")
    parser.add_argument("--report", help="append 'lint NAME passed|failed' lines to this file")
    args = parser.parse_args()

    # rustup's place, where a login shell would have put it.
    os.environ["PATH"] += os.pathsep + str(pathlib.Path.home() / ".cargo" / "bin")
    sources = tracked("*.h", "*.cpp", "*.cu", "*.cuh")
    scripts = tracked("*.sh", ".ci/run")
    checks: List[Tuple[str, Callable[[], bool]]] = [
        ("format", lambda: formatted(sources)),
        ("include-arrows", lambda: run(sys.executable, "tests/include_arrows.py")),
        ("file-sizes", lambda: run(sys.executable, "tests/file_sizes.py")),
        ("shell-syntax", lambda: each(["bash", "-n"], scripts)),
        ("python-syntax", lambda: python_compiles(tracked("*.py"))),
        ("tidy", lambda: run(sys.executable, "tools/tidy.py", "--jobs", str(args.jobs),
                             "--seconds-max", str(args.tidy_seconds_max))),
    ]
    if (ROOT / "ffi" / "Cargo.toml").exists():
        # cargo is there: ffi/ is part of every build.
        ffi = ROOT / "ffi"
        checks.append(("rust-format", lambda: run("cargo", "fmt", "--check", cwd=ffi)))
        checks.append(("clippy", lambda: run("cargo", "clippy", "--quiet", "--locked", "--all-targets", "--",
                                             "-D", "warnings", cwd=ffi)))
    failed = []
    for name, check in checks:
        if args.only not in name or (args.no_tidy and name == "tidy"):
            continue
        begin = time.monotonic()
        print(f"-- {name}", flush=True)
        good = check()
        if not good:
            failed.append(name)
        print(f"{'ok    ' if good else 'FAILED'} {name} ({time.monotonic() - begin:.1f} s)", flush=True)
        if args.report:
            with open(args.report, "a", encoding="utf-8") as report:
                report.write(f"lint {name} {'passed' if good else 'failed'}\n")
    if failed:
        print(f"lint: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
