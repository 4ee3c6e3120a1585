#!/usr/bin/env bash
# Installs what a make target needs, with apt-get, and nothing where it is all there already (then it
# asks no registry, so a second run is instant and works offline).
#
#   tools/install_deps.sh build [test] [clients] [lint] [fuzz] [neon] [cuda]
#
# cuda: NVIDIA's compiler, where no nvcc is installed, from PyPI into a private folder of the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A packages=(
  [build]="g++ cmake ninja-build make pkg-config ccache libcli11-dev libedit-dev libspdlog-dev libfmt-dev
           libboost-json1.81-dev libpcre2-dev libutf8proc-dev
           libsqlite3-dev libssl-dev libcurl4-openssl-dev prometheus-cpp-dev"
  [test]="libgtest-dev libgmock-dev libbenchmark-dev python3 prometheus"
  [clients]="python3-venv openssl"
  [lint]="clang-format clang-tidy python3 git"
  [fuzz]="clang libclang-rt-14-dev"
  [cuda]="python3 python3-venv"
  [neon]="g++-aarch64-linux-gnu libstdc++-12-dev-arm64-cross libc6-dev-arm64-cross qemu-user googletest"
)

wanted=()
for group in "$@"; do
  if [ -z "${packages[$group]:-}" ]; then
    echo "install_deps.sh: unknown group '$group'; the groups are: ${!packages[*]}" >&2
    exit 2
  fi
  # shellcheck disable=SC2206  # a list of words, on purpose
  wanted+=(${packages[$group]})
done

# Node, where it is not there already, from wherever it came.
if [[ " $* " == *" clients "* ]] && ! { command -v node && command -v npm; } >/dev/null; then
  wanted+=(nodejs npm)
fi

if ! command -v dpkg-query >/dev/null; then
  echo "install_deps.sh: not a Debian system; install the like of these yourself: ${wanted[*]}" >&2
else
  missing=()
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)
  for package in "${wanted[@]}"; do
    grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ]; then
      echo "These packages are missing; install them, then try again:" >&2
      echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
      exit 1
    fi
    echo "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
  fi
fi

# The Rust toolchain that ffi/ needs (Debian's own is too old).
if [[ " $* " == *" build "* && -x tools/ensure_rust.sh ]]; then tools/ensure_rust.sh; fi
if [[ " $* " == *" lint "* && -x tools/ensure_rust.sh ]]; then tools/ensure_rust.sh lint; fi
if [[ " $* " == *" clients "* ]]; then tools/ensure_clients.sh; fi

# NVIDIA's compiler, and its disassembler, which a test reads machine code by. Without the compiler the
# program is built without its CUDA backend.
install_nvcc() {
  local version=13.0 folder="${XDG_CACHE_HOME:-$HOME/.cache}/realm/cuda-13.0" wanted=()
  if command -v nvcc >/dev/null || [ -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then return; fi
  compgen -G "$folder/lib/python3*/site-packages/nvidia/cu13/bin/nvcc" >/dev/null ||
    wanted+=("cuda-toolkit[nvcc,cccl,cudart,nvtx]==$version.*")
  compgen -G "$folder/lib/python3*/site-packages/nvidia/cu13/bin/nvdisasm" >/dev/null ||
    wanted+=("nvidia-cuda-nvdisasm==13.*" "nvidia-cuda-cuobjdump==13.*")
  if [ ${#wanted[@]} -eq 0 ]; then return; fi
  echo "Installing ${wanted[*]} into $folder"
  [ -x "$folder/bin/pip" ] || python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "${wanted[@]}"
}
if [[ " $* " == *" cuda "* ]]; then install_nvcc; fi
