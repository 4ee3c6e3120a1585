#!/usr/bin/env python3
"""Measures what the server promises, with realm-load, runs interleaved, and prints medians.

  fake      streamed tokens a second of the server without an engine, and its scheduler's time a step
  batch     tokens a second of 32 requests at once against those of one
  tenants   the same load from 64 tenants and from one
  greedy    a paced tenant's time to first token alone, and beside one that sends ten times its load
  prefill   time between tokens of running streams, alone and while long prompts are computed
  poisson   open loop at several rates, beside llama.cpp's server on the same file

  bench/serving/measure.py greedy --rounds 3
  bench/serving/measure.py poisson --model m.gguf --peer llama-server --rates 2,4,8
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import Dict, List, Sequence

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
REALM = ROOT / "build" / "realm"
LOAD = ROOT / "build" / "bench" / "realm-load"
FAKE = ROOT / "build" / "bench" / "realm-fake-serve"
TINY = ROOT / "assets" / "realm-tiny.Q8_0.gguf"


class Server:
    """A server that runs until the with block ends; `output` is what it printed afterwards."""

    def __init__(self, command: Sequence[str], port: int = 0):
        self.process = subprocess.Popen([os.fspath(part) for part in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.port = port
        self.output = ""
        if port:
            self._wait_for_health()
        else:
            line = self.process.stdout.readline()
            if not line.startswith("listening on "):
                sys.exit(f"{command[0]} did not start")
            self.port = int(re.search(r":(\d+)\D*$", line).group(1))

    def _wait_for_health(self) -> None:
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                if self.process.poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit("the peer's server did not start")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc) -> None:
        self.process.send_signal(signal.SIGINT)
        self.output = self.process.communicate(timeout=60)[0]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def realm_server(options, *args: str) -> Server:
    return Server([REALM, "serve", f"m={options.model}", "--port", "0", "--threads", str(options.threads),
                   "--parallel", str(options.parallel), *args])


def load(server: Server, *args) -> Dict[str, dict]:
    """{group: its figures} of one run of realm-load."""
    done = subprocess.run([os.fspath(LOAD), "--port", str(server.port), "--json", *[str(arg) for arg in args]],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"realm-load ended with {done.returncode}: {done.stdout}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["group"]: row for row in rows}


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def by_turns(rounds: int, kinds: Dict[str, callable]) -> Dict[str, List[dict]]:
    """Runs each kind once a round, every other round in the opposite order."""
    results: Dict[str, List[dict]] = {name: [] for name in kinds}
    for number in range(rounds):
        names = list(kinds) if number % 2 == 0 else list(kinds)[::-1]
        for name in names:
            results[name].append(kinds[name]())
    return results


class Store:
    """A store with tenants and a key of each."""

    def __init__(self, folder: str, tenants: Sequence[str]):
        self.path = pathlib.Path(folder) / "store.db"
        self.keys = []
        for name in tenants:
            self._realm("tenants", "create", name)
            made = self._realm("keys", "create", "--tenant", name)
            self.keys.append(re.search(r"rk_\w+", made).group(0))
        self.keys_file = pathlib.Path(folder) / "keys"
        self.keys_file.write_text("\n".join(self.keys) + "\n", encoding="ascii")

    def _realm(self, *args: str) -> str:
        return subprocess.run([os.fspath(REALM), *args, "--store", os.fspath(self.path)], check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def fake(options) -> None:
    for _ in range(options.rounds):
        with Server([FAKE, TINY, "512", "1"]) as server:
            row = load(server, "--connections", 512, "--warmup", 2, "--seconds", options.seconds, "--max-tokens",
                       500, "--grace", 0)["load"]
        print(f"{row['tokens_s']:.0f} tokens/s, {row['failed']} failed; {server.output.strip().splitlines()[-1]}")


def batch(options) -> None:
    with realm_server(options) as server:
        def at(connections: int):
            return lambda: load(server, "--connections", connections, "--warmup", 2, "--seconds", options.seconds,
                                "--max-tokens", 128, "--grace", 20)["load"]

        runs = by_turns(options.rounds, {"1": at(1), "32": at(32)})
    ratios = [many["tokens_s"] / one["tokens_s"] for one, many in zip(runs["1"], runs["32"])]
    for name, rows in runs.items():
        print(f"{name:>3} at once: {median([row['tokens_s'] for row in rows]):.1f} tokens/s, "
              f"itl p50 {median([row['itl_ms']['p50'] for row in rows]):.2f} ms")
    print(f"32 / 1: {spread(ratios)}")


def tenants(options) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, [f"t{i}" for i in range(64)])
        with realm_server(options, "--store", os.fspath(store.path)) as server:
            def with_keys(*args):
                return lambda: load(server, *args, "--connections", 64, "--warmup", 3, "--seconds", options.seconds,
                                    "--max-tokens", 64, "--grace", 20)["load"]

            runs = by_turns(options.rounds, {"1 tenant": with_keys("--key", store.keys[0]),
                                             "64 tenants": with_keys("--keys-file", store.keys_file)})
    for name, rows in runs.items():
        print(f"{name:>10}: {median([row['tokens_s'] for row in rows]):.1f} tokens/s, "
              f"failed {sum(row['failed'] for row in rows)}")
    print("64 / 1: " + spread([many["tokens_s"] / one["tokens_s"]
                               for one, many in zip(runs["1 tenant"], runs["64 tenants"])]))


def greedy(options) -> None:
    rate = options.rate
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder, ["paced", "greedy"])
        shape = f"max-tokens={options.max_tokens},prompt-words={options.prompt_words}"
        groups = {name: f"name={name},key={key},rate={each},{shape}"
                  for name, key, each in zip(["paced", "greedy"], store.keys, [rate, 10 * rate])}
        with realm_server(options, "--store", os.fspath(store.path)) as server:
            def of(*names: str):
                groups_of = [part for name in names for part in ("--group", groups[name])]
                # What the greedy one has queued has to be gone before the next run.
                return lambda: load(server, *groups_of, "--warmup", 3, "--seconds", options.seconds, "--grace", 5)

            runs = by_turns(options.rounds, {"alone": of("paced"), "beside": of("paced", "greedy")})
    for name, rows in runs.items():
        for group in rows[0]:
            figures = [row[group] for row in rows]
            print(f"{name:>7} {group:>7}: {median([f['tokens_s'] for f in figures]):.1f} tokens/s, ttft "
                  + ", ".join(f"{p} {median([f['ttft_ms'][p] for f in figures]):.1f}" for p in ("p50", "p90", "p99"))
                  + f" ms, itl p50 {median([f['itl_ms']['p50'] for f in figures]):.1f}"
                  + f" p99 {median([f['itl_ms']['p99'] for f in figures]):.1f} ms, "
                  + f"failed {sum(f['failed'] for f in figures)} of {sum(f['started'] for f in figures)}")
    print("paced tenant's p99 ttft, beside / alone: "
          + spread([b["paced"]["ttft_ms"]["p99"] / a["paced"]["ttft_ms"]["p99"]
                    for a, b in zip(runs["alone"], runs["beside"])]))


def prefill(options) -> None:
    with realm_server(options, "--ctx", str(options.ctx)) as server:
        streams = f"name=streams,connections={options.streams},max-tokens=256,prompt-words=20"
        long = f"name=long,connections=1,max-tokens=1,prompt-words={options.prompt_words}"

        def of(*groups: str):
            args = [part for group in groups for part in ("--group", group)]
            return lambda: load(server, *args, "--warmup", 5, "--seconds", options.seconds, "--grace", 60)

        runs = by_turns(options.rounds, {"alone": of(streams), "beside": of(streams, long)})
    for name, rows in runs.items():
        figures = [row["streams"] for row in rows]
        print(f"{name:>7}: itl " + ", ".join(f"{p} {median([f['itl_ms'][p] for f in figures]):.2f}"
                                             for p in ("p50", "p90", "p99"))
              + f" ms, {median([f['tokens_s'] for f in figures]):.1f} tokens/s")
    print("long prompts: ttft p50 "
          + spread([row["long"]["ttft_ms"]["p50"] / 1e3 for row in runs["beside"]]) + " s")
    for p in ("p50", "p99"):
        print(f"itl {p}, beside / alone: " + spread([b["streams"]["itl_ms"][p] / a["streams"]["itl_ms"][p]
                                                     for a, b in zip(runs["alone"], runs["beside"])]))


def poisson(options) -> None:
    port = free_port()
    with realm_server(options, "--ctx", str(options.ctx)) as ours, \
         Server([options.peer, "-m", options.model, "--port", str(port), "-t", str(options.threads), "-np",
                 str(options.parallel), "-c", str(options.ctx * options.parallel), "-fa", "on"], port) as peer:
        for rate in options.rates.split(","):
            def of(server: Server):
                return lambda: load(server, "--rate", rate, "--warmup", 2, "--seconds", options.seconds,
                                    "--max-tokens", options.max_tokens, "--prompt-words", options.prompt_words,
                                    "--promise-ttft-ms", options.promise_ttft_ms,
                                    "--promise-itl-ms", options.promise_itl_ms, "--grace", options.grace)["load"]

            runs = by_turns(options.rounds, {"Realm": of(ours), "llama.cpp": of(peer)})
            for name, rows in runs.items():
                def figure(kind: str, p: str) -> str:
                    return f"{median([row[kind][p] for row in rows]):.1f}"

                print(f"| {rate} | {name} | {figure('ttft_ms', 'p50')} / {figure('ttft_ms', 'p90')} / "
                      f"{figure('ttft_ms', 'p99')} | {figure('itl_ms', 'p50')} / {figure('itl_ms', 'p90')} / "
                      f"{figure('itl_ms', 'p99')} | {median([row['tokens_s'] for row in rows]):.0f} | "
                      f"{median([row['goodput_s'] for row in rows]):.2f} | "
                      f"{sum(row['failed'] + row['cut_off'] for row in rows)} of "
                      f"{sum(row['started'] for row in rows)} | "
                      f"{sum(row['usage_pieces'] for row in rows)} / {sum(row['usage_tokens'] for row in rows)} |",
                      flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"fake": fake, "batch": batch, "tenants": tenants, "greedy": greedy, "prefill": prefill,
             "poisson": poisson}
    parser.add_argument("what", choices=kinds)
    parser.add_argument("--model", default=os.fspath(TINY))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--parallel", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="counted, of each run")
    parser.add_argument("--rate", type=float, default=4, help="greedy: the paced tenant's requests a second")
    parser.add_argument("--rates", default="2,4,8", help="poisson: requests a second")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--prompt-words", type=int, default=100)
    parser.add_argument("--streams", type=int, default=8, help="prefill: running streams")
    parser.add_argument("--ctx", type=int, default=2048)
    parser.add_argument("--grace", type=float, default=30)
    parser.add_argument("--promise-ttft-ms", type=float, default=1000)
    parser.add_argument("--promise-itl-ms", type=float, default=100)
    parser.add_argument("--peer", default="llama-server", help="poisson: llama.cpp's server program")
    options = parser.parse_args()
    kinds[options.what](options)


if __name__ == "__main__":
    main()
