#!/usr/bin/env python3
"""Runs two commands by turns and prints the ratio of their figures with its spread.

A shared machine moves absolute speeds by tens of percent within minutes, but hardly a ratio taken
from runs that follow each other; so each round runs A, then B (the next round B, then A), gives one
ratio B / A for each figure, and what is printed is the median of those ratios, with the least and
the largest.

A figure is NAME=REGEX, whose first group is a number in the command's output (-f for both, -a and
-b for one of them); without any, the figure is the time that the command takes.

  tools/compare.py -n 7 -f 'prefill=^prefill +\\S+ +\\S+ +\\S+ +\\S+ +(\\S+)' \\
      'old/realm bench m.gguf -n 0' 'build/realm bench m.gguf -n 0'
"""
import argparse
import re
import statistics
import subprocess
import sys
import time


def figure(text):
    name, separator, pattern = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text}: not NAME=REGEX")
    try:
        compiled = re.compile(pattern, re.MULTILINE)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}")
    if compiled.groups < 1:
        raise argparse.ArgumentTypeError(f"{name}: the regex has no group for the number")
    return name, compiled


def run(command, figures):
    """{name: number} of one run."""
    start = time.monotonic()
    done = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - start
    if done.returncode != 0:
        sys.exit(f"{command}: exit status {done.returncode}\n{done.stderr.strip()}")
    found = {} if figures else {"seconds": seconds}
    for name, pattern in figures:
        match = pattern.search(done.stdout)
        if match is None:
            sys.exit(f"{command}: nothing in its output matches {name}'s regex")
        found[name] = float(match.group(1))
    return found


def main():
    parser = argparse.ArgumentParser(description="Two commands by turns, and the ratio of their figures.")
    parser.add_argument("-n", "--rounds", type=int, default=5)
    parser.add_argument("-f", "--figure", type=figure, action="append", default=[], help="of both commands")
    parser.add_argument("-a", "--figure-a", type=figure, action="append", default=[], help="of the first")
    parser.add_argument("-b", "--figure-b", type=figure, action="append", default=[], help="of the second")
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds: at least one")
    sides = [(options.a, options.figure + options.figure_a), (options.b, options.figure + options.figure_b)]
    if sorted(name for name, _ in sides[0][1]) != sorted(name for name, _ in sides[1][1]):
        parser.error("A and B need figures of the same names")
    results = [[], []]
    for round_number in range(options.rounds):
        for side in (0, 1) if round_number % 2 == 0 else (1, 0):
            results[side].append(run(*sides[side]))
    print(f"{'figure':<16} {'A':>10} {'B':>10} {'B / A':>8} {'least':>8} {'largest':>8}   {options.rounds} rounds")
    for name in results[0][0]:
        a = [result[name] for result in results[0]]
        b = [result[name] for result in results[1]]
        ratios = [y / x if x else float("inf") for x, y in zip(a, b)]
        print(f"{name:<16} {statistics.median(a):>10.2f} {statistics.median(b):>10.2f} "
              f"{statistics.median(ratios):>8.3f} {min(ratios):>8.3f} {max(ratios):>8.3f}")


if __name__ == "__main__":
    main()
