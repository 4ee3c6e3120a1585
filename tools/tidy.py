#!/usr/bin/env python3
"""clang-tidy over the project's sources, remembering the clean ones.

A file is clean for good as long as clang-tidy, .clang-tidy, its compile command, its text and the text
of every header of ours that it reaches stay the same; those are hashed into the name of an empty file in
~/.cache/realm-tidy. Tests and fuzz targets are left out: GoogleTest's macros cost the analyser more time
than they ever gave findings.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
from typing import Dict, List, Set

ROOT = pathlib.Path(__file__).resolve().parent.parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "realm-tidy"
FILE_SECONDS_MAX = 300
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
# GCC's warning names that clang does not know must not count as findings.
EXTRA = ["--extra-arg=-Wno-unknown-warning-option", "--extra-arg=-Wno-error"]


@functools.lru_cache(maxsize=None)
def direct_headers(path: pathlib.Path) -> tuple:
    found = []
    for name in INCLUDE.findall(path.read_bytes()):
        for folder in (ROOT / "src", path.parent, ROOT / "bench"):
            candidate = folder / name.decode()
            if candidate.is_file():
                found.append(candidate.resolve())
                break
    return tuple(found)


def reachable(path: pathlib.Path) -> List[pathlib.Path]:
    seen: Set[pathlib.Path] = set()
    todo = [path]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(direct_headers(current))
    return sorted(seen)


def key_of(path: pathlib.Path, command: List[str], salt: bytes) -> str:
    digest = hashlib.sha256(salt)
    digest.update("\0".join(command).replace(str(ROOT), "").encode())
    for file in reachable(path):
        digest.update(str(file.relative_to(ROOT)).encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def check(path: pathlib.Path, build: pathlib.Path):
    try:
        done = subprocess.run(["clang-tidy", "-p", str(build), "--quiet", *EXTRA, str(path)], cwd=ROOT,
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=FILE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return False, f"{path}: clang-tidy took more than {FILE_SECONDS_MAX} s"
    text = done.stdout.decode(errors="replace").strip()
    if done.returncode != 0 and not text:
        text = done.stderr.decode(errors="replace").strip()
    return done.returncode == 0, text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="holds compile_commands.json")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds-max", type=float, default=float("inf"),
                        help="start no file after this; what was left is named, and checked next time")
    parser.add_argument("files", nargs="*", type=pathlib.Path, help="only these (default: all)")
    args = parser.parse_args()

    commands: Dict[pathlib.Path, List[str]] = {}
    for entry in json.loads((args.build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if ROOT not in path.parents or args.build.resolve() in path.parents or path.suffix != ".cpp":
            continue
        if path.name.endswith(("_test.cpp", "_fuzz.cpp")):
            continue
        commands[path] = [word for word in shlex.split(entry["command"]) if not word.endswith(("ccache", ".o"))]
    if args.files:
        wanted = {file.resolve() for file in args.files}
        commands = {path: command for path, command in commands.items() if path in wanted}
    if not commands:
        print("tidy: no file to check; is the build configured?", file=sys.stderr)
        return 1

    CACHE.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(["clang-tidy", "--version"], check=True, capture_output=True).stdout
    salt = version + (ROOT / ".clang-tidy").read_bytes()
    keys = {path: key_of(path, command, salt) for path, command in commands.items()}
    todo = [path for path in commands if not (CACHE / keys[path]).exists()]
    # What was touched last is what a person waits for.
    todo.sort(key=lambda path: -path.stat().st_mtime)

    deadline = time.monotonic() + args.seconds_max
    failed, late = [], []

    def work(path: pathlib.Path) -> None:
        if time.monotonic() > deadline:
            late.append(path)
            return
        clean, text = check(path, args.build)
        if clean:
            (CACHE / keys[path]).touch()
        else:
            failed.append(path)
            print(text, flush=True)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(work, todo))
    print(f"tidy: {len(commands)} files, {len(commands) - len(todo)} known clean, "
          f"{len(todo) - len(failed) - len(late)} checked clean, {len(failed)} with findings, "
          f"{len(late)} not checked in time")
    for path in late:
        print(f"tidy: not checked: {path.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
