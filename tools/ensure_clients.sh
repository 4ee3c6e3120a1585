#!/usr/bin/env bash
# Installs the official clients that tests/serve runs against the server, pinned: a virtual environment
# for Python (requirements.txt) and node_modules for Node (package-lock.json). Does nothing, and asks no
# registry, where they are there already.
set -euo pipefail
cd "$(dirname "$0")/../tests/serve"

mark=.venv/.installed
if ! cmp -s requirements.txt "$mark"; then
  echo "Installing the Python clients of tests/serve"
  python3 -m venv --clear .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt
  cp requirements.txt "$mark"
fi

mark=node_modules/.installed
if ! cmp -s package-lock.json "$mark"; then
  echo "Installing the Node clients of tests/serve"
  npm ci --no-audit --no-fund --silent
  cp package-lock.json "$mark"
fi
