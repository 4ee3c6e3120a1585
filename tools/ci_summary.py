#!/usr/bin/env python3
"""The last lines of .ci/run: counts what ctest, the fuzz targets and lint reported, one line a suite,
then one for all. A stage that failed without a failed test of its own (a build that broke, a time limit)
counts as one failure, so that nothing is green by not having run."""

import pathlib
import sys
import xml.etree.ElementTree as xml
from typing import Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
CTEST_RESULTS = {"test": "build", "asan": "build-debug", "tsan": "build-tsan"}


def ctest_counts(path: pathlib.Path) -> Tuple[int, int, int]:
    passed = failed = skipped = 0
    for case in xml.parse(path).getroot().iter("testcase"):
        status = case.get("status")
        if status == "run":
            passed += 1
        elif status == "fail":
            failed += 1
        else:
            skipped += 1
    return passed, failed, skipped


def line_counts(path: pathlib.Path) -> Tuple[int, int, int]:
    results = [line.split()[-1] for line in path.read_text().splitlines()]
    return results.count("passed"), results.count("failed"), 0


def main() -> int:
    report = pathlib.Path(sys.argv[1])
    seconds = int(sys.argv[2])
    total = [0, 0, 0]
    for line in (report / "stages").read_text().splitlines():
        stage, status = line.split()
        source = ROOT / CTEST_RESULTS[stage] / "results.xml" if stage in CTEST_RESULTS else report / stage
        counter = ctest_counts if stage in CTEST_RESULTS else line_counts
        passed, failed, skipped = counter(source) if source.exists() else (0, 0, 0)
        if status != "0" and failed == 0:
            failed = 1
        elif status == "0" and passed == 0:
            # Ran nothing, or left no results: that is no success.
            failed += 1
        print(f"{stage}: {passed} passed, {failed} failed, {skipped} skipped")
        total = [total[0] + passed, total[1] + failed, total[2] + skipped]
    print(f"time: {seconds // 60} min {seconds % 60} s")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main())
