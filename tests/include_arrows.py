#!/usr/bin/env python3
"""Holds src/ to the arrows between its modules: fails on an #include that points the wrong way.

ARROWS is the architecture, said once. A module is a folder of src/ (backends count one by one, so that
none includes another). Tests beside the code may include what their module may. Device code (.cu, .cuh,
.wgsl hosts) gets less than its module: no JSON, logging or HTTP template may reach nvcc.
"""

import pathlib
import re
import sys
from typing import Dict, Iterator, List, NamedTuple, Optional, Set

KERNELS = {"base", "formats", "ops"}

ARROWS: Dict[str, Set[str]] = {
    "base": set(),
    "formats": {"base"},
    "text": {"base", "formats"},
    "ops": {"base", "formats"},
    "backends": KERNELS,
    "models": KERNELS,
    "engine": KERNELS | {"models"},
    "scheduler": {"base", "engine"},
    "tenants": {"base"},
    "telemetry": {"base"},
    "sandbox": {"base"},
    "server": {"base", "formats", "text", "engine", "scheduler", "tenants", "telemetry", "sandbox"},
    "app": {"*"},
}

# Libraries that must stay where they are, by the first part of the include path: the folders that may
# include them. What is not listed (the standard library, system headers) may be included anywhere. Kernels
# and what they include stay free of libraries, for cross builds and for device compilers.
FFI_HEADER = "realm_ffi.h"  # of ffi/include: ours too, hence in quotes
HOSTED = {"base/", "formats/hf/", "text/", "engine/", "scheduler/", "tenants/", "telemetry/", "sandbox/", "server/", "app/"}
LIBRARIES: Dict[str, Set[str]] = {
    "CLI": {"app/"},
    "histedit.h": {"app/"},
    "curl": {"app/"},
    "spdlog": HOSTED,
    "fmt": HOSTED,
    "boost": {"formats/", "text/", "tenants/", "server/", "app/"},
    "utf8proc.h": {"text/"},
    "pcre2.h": {"text/"},
    "openssl": {"tenants/", "server/"},
    "sqlite3.h": {"tenants/"},
    "prometheus": {"telemetry/"},
    "cuda_runtime.h": {"backends/"},
    "benchmark": set(),
    FFI_HEADER: {"text/", "sandbox/"},
}
TEST_LIBRARIES = {"gtest", "gmock"}

SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}
DEVICE_SUFFIXES = {".cu", ".cuh"}
DEVICE_MAY = ("base/", "ops/", "formats/quant/", "formats/dtype.h")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


class Include(NamedTuple):
    line: int
    quoted: bool
    path: str


def includes_of(text: str) -> Iterator[Include]:
    for number, line in enumerate(text.splitlines(), start=1):
        match = INCLUDE.match(line)
        if match:
            yield Include(number, match.group(1) == '"', match.group(2))


def module_of(path: str) -> Optional[str]:
    """'backends/cpu/x.h' -> 'backends/cpu'; None for what is no module of ours."""
    parts = path.split("/")
    if parts[0] not in ARROWS or len(parts) < 2:
        return None
    return "/".join(parts[:2]) if parts[0] == "backends" else parts[0]


def wrong(file: str, include: Include, exists) -> Optional[str]:
    """Why this include is forbidden, or None. `file` is relative to src/."""
    module = module_of(file)
    if module is None:
        return "lies in no module that include_arrows.py knows; add the folder to ARROWS"
    layer = module.split("/")[0]
    suffix = pathlib.PurePosixPath(file).suffix
    is_test = re.search(r"_(test|fuzz)\.cpp$", file) is not None
    target = module_of(include.path)

    if target is None:
        library = include.path.split("/")[0]
        if library in TEST_LIBRARIES:
            testing = is_test or re.search(r"_testing\.h$", file)
            return None if testing else "belongs in tests only"
        if include.quoted and library != FFI_HEADER:
            return "names no file of src/ (paths are relative to src/; libraries go in <>)"
        if library in LIBRARIES and not file.startswith(tuple(LIBRARIES[library])):
            return f"must stay out of here (allowed in: {', '.join(sorted(LIBRARIES[library])) or 'bench/'})"
        return None

    if not include.quoted:
        return 'is ours: write it in ""'
    if not exists(include.path):
        return "names no file of src/"
    if target == module:
        return None
    if suffix in DEVICE_SUFFIXES and not include.path.startswith(DEVICE_MAY):
        return f"must not reach device code (only {', '.join(DEVICE_MAY)})"
    allowed = ARROWS[layer]
    if "*" in allowed or target.split("/")[0] in allowed:
        return None
    return f"is a forbidden arrow: {module} may include {', '.join(sorted(allowed)) or 'nothing of ours'}"


def check(source: pathlib.Path) -> List[str]:
    problems = []
    for path in sorted(source.rglob("*")):
        if path.suffix not in SUFFIXES:
            continue
        file = path.relative_to(source).as_posix()
        for include in includes_of(path.read_text(encoding="utf-8")):
            reason = wrong(file, include, lambda name: (source / name).is_file())
            if reason:
                problems.append(f'src/{file}:{include.line}: #include "{include.path}" {reason}')
    return problems


def self_test() -> List[str]:
    """The checker itself: what must be refused is refused, what must pass passes."""
    cases = [
        ("base/a.cpp", True, "formats/gguf.h", False),
        ("formats/a.cpp", True, "base/result.h", True),
        ("formats/a.cpp", True, "formats/quant/q4_0.h", True),
        ("models/a.cpp", True, "backends/cpu/matmul.h", False),
        ("models/a_test.cpp", True, "backends/cpu/matmul.h", False),
        ("backends/cpu/a.cpp", True, "backends/cuda/b.h", False),
        ("backends/cpu/a.cpp", True, "ops/matmul.h", True),
        ("backends/cuda/a.cu", True, "ops/matmul.h", True),
        ("backends/cuda/a.cu", True, "formats/gguf.h", False),
        ("backends/cuda/a.cu", True, "formats/quant/q4_0.h", True),
        ("backends/cuda/a.cu", False, "spdlog/spdlog.h", False),
        ("engine/a.cpp", True, "text/tokenizer.h", False),
        ("engine/a.cpp", False, "boost/json.hpp", False),
        ("ops/a.cpp", False, "spdlog/spdlog.h", False),
        ("formats/gguf.cpp", False, "spdlog/spdlog.h", False),
        ("formats/hf/a.cpp", False, "spdlog/spdlog.h", True),
        ("engine/a.cpp", False, "base/result.h", False),
        ("app/a.cpp", True, "backends/cpu/cpu_backend.h", True),
        ("app/a.cpp", False, "CLI/CLI.hpp", True),
        ("text/a.cpp", False, "CLI/CLI.hpp", False),
        ("text/a.cpp", True, "realm_ffi.h", True),
        ("formats/a.cpp", True, "realm_ffi.h", False),
        ("base/a.cpp", False, "vector", True),
        ("base/a.cpp", True, "vector.h", False),
        ("base/a_test.cpp", True, "gtest/gtest.h", True),
        ("base/a.cpp", True, "gtest/gtest.h", False),
        ("utils/a.cpp", True, "base/result.h", False),
    ]
    failed = []
    for file, quoted, path, may in cases:
        reason = wrong(file, Include(1, quoted, path), lambda name: True)
        if (reason is None) != may:
            failed.append(f"self-test: {file} including {path}: expected {'ok' if may else 'refusal'}, got {reason}")
    return failed


def main() -> int:
    source = pathlib.Path(__file__).resolve().parent.parent / "src"
    problems = self_test() + check(source)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print("include arrows: every #include of src/ points the right way")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
