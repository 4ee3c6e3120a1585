#!/usr/bin/env bash
# Runs a piece of one module's cross-built tests: run_neon.sh BUILD_FOLDER MODULE.PIECE. Exit status 77 (ctest: skipped)
# where that build is not there, unless REALM_REQUIRE_NEON is set.
set -euo pipefail
build=$1
piece=$2
if [ ! -f "$build/CTestTestfile.cmake" ]; then
  echo "no cross build in $build: run 'make neon'" >&2
  [ -n "${REALM_REQUIRE_NEON:-}" ] && exit 1
  exit 77
fi
if [ -z "$(ctest --test-dir "$build" -N -R "^${piece//./\\.}\$" | grep "Test *#")" ]; then
  # A module without tests yet is no failure, but it is shown.
  echo "the cross build has no tests $piece" >&2
  exit 77
fi
exec ctest --test-dir "$build" -R "^${piece//./\\.}\$" --output-on-failure
