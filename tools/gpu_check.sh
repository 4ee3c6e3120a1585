#!/usr/bin/env bash
# Everything about the GPU in one command, on a machine that has one: builds what needs no library
# (base, formats, ops, backends, models, engine), runs the tests, lets compute-sanitizer look at small
# shapes, and times real ones. Prints the tables that docs/performance.md quotes.
#
#   tools/gpu_check.sh [build] [test] [sanitize] [ops] [steps] [serve] [program]   (all but serve and program, unless named)
#
# serve needs the whole program and its load generator, built where their libraries are: REALM=, LOAD=, and QUESTIONS= for
# realm-tiny's answers on the GPU against the CPU's. program (REALM=, SHARED=) is what a user meets: tests/gpu/program_check.py,
# then the tests of tests/serve and tests/e2e that the GPU's arithmetic can pass, those without their Python packages left out.
#
# Settings: BUILD=folder (build-gpu), MODELS=folder for synthetic models (/dev/shm), GTEST=GoogleTest's source,
# STEPS="preset:type:tests;..." in place of the default list, SHARED=reference data.
set -uo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build-gpu}
models=${MODELS:-/dev/shm}
stages=${*:-build test sanitize ops steps}
tests="p2048 p512 d1 d8 d32 d128 d224 d1@8192 d1@32768 d32@8200a8000 d32@8200s8000 d128@2200a2000 d128@2200s2000"
steps=${STEPS:-"llama-8b:Q4_K_M:$tests;llama-8b:Q8_0:p2048 d1;llama-8b:BF16:p2048 d1 d224;llama-1b:BF16:d1 p2048"}
failed=0

stage() {  # stage NAME COMMAND...
  local name=$1 from=$SECONDS status
  shift
  printf '\n======== %s\n' "$name"
  "$@"
  status=$?
  [ $status -eq 0 ] || failed=1
  printf '======== %s: %s in %d s\n' "$name" "$([ $status -eq 0 ] && echo passed || echo "FAILED ($status)")" $((SECONDS - from))
}

do_build() {
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O2 -DREALM_KERNELS_ONLY=ON \
    -DREALM_SHARED_DIR="${SHARED:-$PWD/../shared}" ${GTEST:+-DREALM_GTEST_SOURCE="$GTEST"} ${CMAKE_ARGS:-} >"$build.configure" 2>&1 ||
    { cat "$build.configure"; return 1; }
  grep CUDA: "$build.configure"
  cmake --build "$build" --target gpu_test realm-ops realm-steps >"$build.log" 2>&1 ||
    { grep -E -A6 'error|FAILED' "$build.log" | head -60; return 1; }
}

do_test() { "$build/tests/gpu_test" --gtest_brief=1; }

# A process an op, many at once: one after the other they take many minutes.
do_sanitize() {
  local ops=$build/bench/realm-ops names
  names=$("$ops" names) && [ -n "$names" ] || return 1
  # shellcheck disable=SC2016  # expanded by the shells that xargs starts
  for tool in memcheck racecheck; do for op in $names; do echo "$tool $op"; done; done |
    xargs -P "$(nproc)" -L 1 bash -c '
      out=$(compute-sanitizer --tool "$2" --error-exitcode 9 "$0" check --backend cuda --tolerance "$1" --op "$3" 2>&1)
      status=$?
      printf "%s %s: %s\n" "$2" "$3" "$(tail -n 1 <<<"$out")"
      [ $status -eq 0 ] || { tail -n 20 <<<"$out"; exit 1; }' "$ops" 0.08
}

do_ops() { "$build/bench/realm-ops" bench --backend cuda; }

do_steps() {
  local entry preset type wanted status=0
  while IFS= read -r entry; do
    [ -n "$entry" ] || continue
    IFS=: read -r preset type wanted <<<"$entry"
    # shellcheck disable=SC2086  # a list of words, on purpose
    "$build/bench/realm-steps" --preset "$preset" --type "$type" --dir "$models" $wanted || status=1
    rm -f "$models/$preset-$type-"*.gguf
  done < <(tr ';' '\n' <<<"$steps")
  return $status
}

# realm-tiny's greedy answers, GPU against CPU; then the time between tokens that clients of `realm serve` see, to be held
# against the engine's own steps at that depth.
do_serve() {
  local model=$models/serve-8b.gguf parallel pid status=0
  if [ -n "${QUESTIONS:-}" ]; then
    for backend in cuda cpu; do "$REALM" eval "$QUESTIONS" --backend $backend --json >"$models/eval-$backend.json" || status=1; done
    python3 - "$models"/eval-cuda.json "$models"/eval-cpu.json <<'PY' || status=1
import json, sys
gpu, cpu = (json.load(open(path)) for path in sys.argv[1:])
same = sum(a["answer"] == b["answer"] for a, b in zip(gpu["answers"], cpu["answers"]))
total = len(cpu["answers"])
print(f"answers equal to the CPU's: {same} of {total}; score {gpu['score']:.3f}, on the CPU {cpu['score']:.3f}")
sys.exit(same < 0.97 * total or abs(gpu["score"] - cpu["score"]) > 0.01)
PY
  fi
  "$REALM" synth "$model" --preset llama-8b --type Q4_K_M || return 1
  for parallel in ${PARALLEL:-1 32 128}; do
    "$REALM" serve "$model" --backend cuda --port 18080 --ctx 2048 --parallel "$parallel" --log-level info >"$models/serve.log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do sleep 0.3; grep -q 'listening on' "$models/serve.log" && break; done
    echo "-- $parallel requests at once"
    "$LOAD" --port 18080 --connections "$parallel" --seconds 10 --max-tokens 400 --prompt-words 20 || status=1
    kill -TERM $pid; wait $pid || status=1
  done
  rm -f "$model"
  "$build/bench/realm-steps" --preset llama-8b --type Q4_K_M --dir "$models" d1@260 d32@260 d128@260 || status=1
  return $status
}

do_program() {
  local status=0 file name log=$models/program.log
  export REALM_BIN=$REALM REALM_SHARED="${SHARED:-$PWD/../shared}"
  python3 tests/gpu/program_check.py -v || status=1
  # What is left out holds results to the CPU's bits, or runs no model.
  for file in tests/serve/test_*.py tests/e2e/test_{run,text,quality,embed,tenants,usage}.py; do
    name=${file#tests/}
    case $name in serve/test_node.py) continue ;; esac
    REALM_TEST_BACKEND=cuda timeout 300 python3 "$file" >"$log" 2>&1
    case $? in
      0) echo "$name: passed, $(grep -oE '^Ran [0-9]+ tests' "$log")" ;;
      77) echo "$name: skipped" ;;
      *) if grep -q ModuleNotFoundError "$log"; then echo "$name: skipped, $(grep -o 'No module.*' "$log")"; else
           echo "$name: FAILED"; tail -n 25 "$log"; status=1; fi ;;
    esac
  done
  return $status
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv,noheader 2>/dev/null || echo "no nvidia-smi"
for name in $stages; do stage "$name" "do_$name"; done
exit $failed
