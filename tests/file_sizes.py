#!/usr/bin/env python3
"""Fails on a source file past 800 lines, the point where a file holds more than one noun."""

import pathlib
import subprocess
import sys

LINES_MAX = 800
SUFFIXES = {".h", ".hpp", ".cpp", ".cu", ".cuh", ".wgsl", ".rs", ".py", ".ts", ".tsx", ".js", ".sh", ".cmake"}


def main() -> int:
    root = pathlib.Path(__file__).resolve().parent.parent
    if len(sys.argv) > 1:
        files = [pathlib.Path(name) for name in sys.argv[1:]]
    else:
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root, check=True, capture_output=True).stdout.decode()
        files = [root / name for name in listed.split("\0") if name]
    too_long = []
    for path in files:
        if path.suffix in SUFFIXES and path.is_file():
            lines = path.read_bytes().count(b"\n")
            if lines > LINES_MAX:
                too_long.append(f"{path}: {lines} lines; at most {LINES_MAX}: split it by noun")
    for problem in too_long:
        print(problem, file=sys.stderr)
    if not too_long:
        print(f"file sizes: no source file past {LINES_MAX} lines")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
