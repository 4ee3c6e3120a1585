#!/usr/bin/env python3
"""Runs every libFuzzer program of build-fuzz/fuzz: first over its committed corpus (tests/corpus/NAME),
then on new inputs for --seconds. New inputs and crashes stay under build-fuzz, so that the checkout is
never written to; a crash's file and how to replay it are printed."""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"
INPUT_SECONDS_MAX = 10
MEMORY_MB_MAX = 2048


def run_one(program: pathlib.Path, seconds: int):
    name = program.name[: -len("_fuzz")]
    committed = ROOT / "tests" / "corpus" / name
    found = BUILD / "corpus" / name
    crashes = BUILD / "crashes" / name
    for folder in (found, crashes):
        folder.mkdir(parents=True, exist_ok=True)
    limits = [f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}", f"-artifact_prefix={crashes}/"]
    env = dict(os.environ, ASAN_OPTIONS="allocator_may_return_null=1:detect_leaks=1")

    seeds = sorted(path for path in committed.iterdir() if path.is_file()) if committed.is_dir() else []
    if not seeds:
        return name, False, f"tests/corpus/{name} holds no input: commit at least one valid and one broken"
    begin = time.monotonic()
    commands = [[str(program), "-runs=0", *limits, str(committed)]]
    if seconds > 0:
        commands.append([str(program), f"-max_total_time={seconds}", *limits, str(found), str(committed)])
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, env=env, stdin=subprocess.DEVNULL,
                                  timeout=seconds + 300)
        except subprocess.TimeoutExpired:
            return name, False, "did not stop in time"
        text = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode != 0:
            return name, False, text[-8000:] + f"\nreplay: {program.relative_to(ROOT)} <the file named above>"
    runs = [line for line in text.splitlines() if line.startswith("Done ")]
    summary = runs[-1] if runs else "finished"
    return name, True, f"{len(seeds)} seeds; {summary} ({time.monotonic() - begin:.0f} s)"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="per target, after its corpus; 0: only that")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="targets whose name contains this")
    parser.add_argument("--report", help="append 'fuzz NAME passed|failed' lines to this file")
    args = parser.parse_args()

    programs = sorted(path for path in (BUILD / "fuzz").glob("*_fuzz") if args.only in path.name)
    if not programs:
        print(f"no fuzz target in {BUILD / 'fuzz'}: run 'make fuzz'", file=sys.stderr)
        return 1
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        futures = [pool.submit(run_one, program, args.seconds) for program in programs]
        for future in concurrent.futures.as_completed(futures):
            name, ok, message = future.result()
            failed += not ok
            print(f"{'ok    ' if ok else 'FAILED'} {name}: {message}", flush=True)
            if args.report:
                with open(args.report, "a", encoding="utf-8") as report:
                    report.write(f"fuzz {name} {'passed' if ok else 'failed'}\n")
    print(f"fuzz: {len(programs) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
