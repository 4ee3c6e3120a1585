#!/usr/bin/env bash
# What `make bench` runs: the program's own benchmark on the embedded model, the ops at shapes of real
# models, then every micro-benchmark of bench/.
set -euo pipefail
cd "$(dirname "$0")/.."
build/realm bench -p 512 -n 128
echo
build/bench/realm-ops bench
shopt -s nullglob
for program in build/bench/*_bench; do
  echo
  echo "== ${program##*/}"
  "$program"
done
