#!/usr/bin/env python3
"""Runs one test file of this folder in the virtual environment that tools/ensure_clients.sh makes, with the
official clients in it. Without it the test is shown as skipped (77), or fails under REALM_REQUIRE_CLIENTS=1."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main() -> None:
    python = HERE / ".venv" / "bin" / "python"
    if not python.exists():
        print("the clients are not installed: run tools/ensure_clients.sh", file=sys.stderr)
        sys.exit(1 if os.environ.get("REALM_REQUIRE_CLIENTS") else 77)
    os.execv(python, [str(python), *sys.argv[1:]])


if __name__ == "__main__":
    main()
