#!/usr/bin/env bash
# Runs one module's cross-built tests: run_neon.sh BUILD_FOLDER MODULE. Exit status 77 (ctest: skipped)
# where that build is not there, unless REALM_REQUIRE_NEON is set.
set -euo pipefail
build=$1
module=$2
if [ ! -f "$build/CTestTestfile.cmake" ]; then
  echo "no cross build in $build: run 'make neon'" >&2
  [ -n "${REALM_REQUIRE_NEON:-}" ] && exit 1
  exit 77
fi
if [ -z "$(ctest --test-dir "$build" -N -R "^$module\$" | grep "Test *#")" ]; then
  # A module without tests yet is no failure, but it is shown.
  echo "the cross build has no tests of module $module" >&2
  exit 77
fi
exec ctest --test-dir "$build" -R "^$module\$" --output-on-failure
