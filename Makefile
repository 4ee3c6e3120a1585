# The front door. Every target installs what it needs (Debian, as root), configures its CMake preset
# once and builds; `make help` lists them. Settings: JOBS=N, FUZZ_SECONDS=N, TESTS=REGEX.

JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
# Limits `make test`, `make asan` and `make tsan` to the tests whose name matches, and to building these.
TESTS ?= .
TARGETS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.PHONY: build demo test asan tsan neon fuzz bench lint format clean help \
        deps-test deps-clients deps-lint deps-fuzz deps-neon deps-cuda

# Objects are shared between clones: ccache sees paths relative to the checkout.
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1
# A sanitizer's finding fails the test that met it.
export UBSAN_OPTIONS := print_stacktrace=1
export TSAN_OPTIONS := halt_on_error=1 second_deadlock_stack=1

# Evaluated after the deps targets ran, so that a ccache just installed is used.
LAUNCHER = $$(command -v ccache >/dev/null && echo -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
# Reference data elsewhere than in ../shared: make test REALM_SHARED_DIR=FOLDER (remembered by the build folder).
SHARED = $(if $(REALM_SHARED_DIR),-DREALM_SHARED_DIR=$(abspath $(REALM_SHARED_DIR)))
# A preset is configured when its build folder is new, the presets changed, or a CUDA compiler came since
# (`make demo` builds without one); ninja sees to the rest.
CUDA_STAMP = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/realm/cuda-13.0/pyvenv.cfg
configure = if [ ! -f $(2)/build.ninja ] || [ CMakePresets.json -nt $(2)/build.ninja ] || [ "$(CUDA_STAMP)" -nt $(2)/build.ninja ]; then \
            cmake --preset $(1) $(LAUNCHER) $(SHARED); fi
compile = cmake --build $(1) -j $(JOBS) $(if $(TARGETS),--target $(TARGETS))
# $(1) build folder; every suite leaves its results beside its objects, for .ci/run to sum up.
run_tests = ctest --test-dir $(1) -j $(JOBS) -R '$(TESTS)' --no-tests=error --output-on-failure \
            --timeout 300 --output-junit $(CURDIR)/$(1)/results.xml

# The preset is the tests' too, so that `make test` after it starts from these objects: it asks for GoogleTest.
build: deps-test ## build/realm, optimised (the default)
	@$(call configure,release,build)
	@$(call compile,build) --target realm

demo: build ## let the embedded model answer questions on the terminal
	@tools/demo.sh

test: deps-test deps-clients deps-neon deps-cuda ## build everything, run every test (cross-built NEON kernels too)
	@$(call configure,neon,build-neon)
	@$(call compile,build-neon)
	@$(call configure,release,build)
	@$(call compile,build)
	@REALM_REQUIRE_NEON=1 REALM_REQUIRE_CLIENTS=1 $(call run_tests,build)

asan: deps-test deps-clients ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@$(call configure,debug,build-debug)
	@$(call compile,build-debug)
	@$(call run_tests,build-debug)

tsan: deps-test deps-clients ## the tests under ThreadSanitizer
	@$(call configure,tsan,build-tsan)
	@$(call compile,build-tsan)
	@$(call run_tests,build-tsan)

neon: deps-test deps-neon ## the kernels cross-built for 64-bit ARM, run under qemu
	@$(call configure,neon,build-neon)
	@$(call compile,build-neon)
	@$(call run_tests,build-neon)

fuzz: deps-test deps-fuzz ## every fuzz target for FUZZ_SECONDS (60)
	@$(call configure,fuzz,build-fuzz)
	@cmake --build build-fuzz -j $(JOBS) --target fuzzers
	@tools/fuzz.py --seconds $(FUZZ_SECONDS) --jobs $(JOBS) $(if $(FUZZ_REPORT),--report $(FUZZ_REPORT))

bench: deps-test ## prefill and decode speed of the embedded model, then the micro-benchmarks
	@$(call configure,release,build)
	@$(call compile,build)
	@tools/bench.sh

lint: deps-test deps-lint ## formatting, clang-tidy, include arrows, file sizes, scripts, Rust
	@$(call configure,release,build)
	@tools/lint.py --jobs $(JOBS) $(LINT_FLAGS) $(if $(LINT_REPORT),--report $(LINT_REPORT))

format: deps-lint ## rewrite the C++ sources as clang-format wants them
	@git ls-files -z '*.h' '*.cpp' '*.cu' '*.cuh' | xargs -0 -r clang-format -i

clean: ## remove everything that was built
	rm -rf build build-debug build-tsan build-fuzz build-neon ffi/target

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

deps-test:
	@tools/install_deps.sh build test
deps-clients:
	@tools/install_deps.sh clients
deps-lint:
	@tools/install_deps.sh lint
deps-fuzz:
	@tools/install_deps.sh fuzz
deps-neon:
	@tools/install_deps.sh neon
deps-cuda:
	@tools/install_deps.sh cuda
