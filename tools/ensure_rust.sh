#!/usr/bin/env bash
# Sees to it that cargo and a Rust compiler new enough for ffi/ are there. A toolchain in PATH or in
# rustup's usual place is taken as it is; otherwise Debian's packages cargo-web and rustc-web are
# installed (a current Rust that Debian keeps for building browsers; its plain cargo and rustc are
# too old). With the argument `lint`, cargo fmt and cargo clippy as well. Does nothing, and asks no
# registry, where it is all there.
set -euo pipefail
cd "$(dirname "$0")/.."

# "1.85" in ffi/Cargo.toml.
wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' ffi/Cargo.toml)
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

version_of() { "$1" --version 2>/dev/null | cut -d' ' -f2; }
is_enough() { # VERSION
  [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$wanted" "$1" | sort -V | head -n 1)" = "$wanted" ]
}
lint_is_there() { cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; }
is_there() { is_enough "$(version_of cargo)" && is_enough "$(version_of rustc)"; }
if [ "${1:-}" = lint ]; then
  is_there() { is_enough "$(version_of cargo)" && is_enough "$(version_of rustc)" && lint_is_there; }
fi

if is_there; then exit 0; fi

found="$(version_of rustc || true)"
say_how() {
  echo "Rust $wanted or newer is needed (found: ${found:-none}). Get it with one of" >&2
  echo "  apt-get install --no-install-recommends cargo-web rustc-web   (Debian 12, as root)" >&2
  echo "  rustup toolchain install stable                               (https://rustup.rs)" >&2
  exit 1
}
if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then say_how; fi
packages=(cargo-web rustc-web)
if [ "${1:-}" = lint ]; then packages+=(rustfmt-web rust-web-clippy); fi
if [ "${1:-}" = lint ] && command -v rustup >/dev/null; then
  rustup component add rustfmt clippy >/dev/null
  if is_there; then exit 0; fi
fi
echo "Installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" </dev/null >/dev/null || say_how
hash -r
if ! is_there; then
  found="$(version_of rustc || true)"
  say_how
fi
