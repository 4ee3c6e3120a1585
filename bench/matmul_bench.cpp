// One thread's quantized matrix product through the CPU backend, per format, instruction set,
// number of tokens and shape: GB/s of weights read, and GOPS (two operations a product). Arguments
// of Google Benchmark select: --benchmark_filter='avx2/Q4_K/.*/tokens:1$'.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"

namespace realm::cpu {
namespace {

struct Shape {
  int64_t rows, k;
};
constexpr Shape kShapes[] = {{2048, 2048}, {5632, 2048}, {2048, 5632}, {4096, 14336}};
constexpr int64_t kTokens[] = {1, 4, 16, 512};

// Valid blocks: random bytes whose values are finite, one block repeated.
std::vector<uint8_t> weight_bytes(const BlockFormat& format, int64_t rows, int64_t k) {
  std::mt19937 random(1);
  std::vector<uint8_t> block(static_cast<size_t>(format.block_bytes));
  std::vector<float> values(static_cast<size_t>(format.block_elements));
  for (bool usable = false; !usable;) {
    for (uint8_t& byte : block) byte = static_cast<uint8_t>(random() >> 24);
    format.decode(block.data(), values.data(), format.block_elements);
    usable = true;
    for (float v : values) usable = usable && std::fabs(v) < 100.0f;
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(rows) * row_bytes(format, k));
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = block[i % block.size()];
  return bytes;
}

void run_matmul(benchmark::State& state, const BlockFormat& format, Isa isa, Shape shape,
                int64_t tokens) {
  const std::unique_ptr<CpuBackend> backend =
      CpuBackend::create({.num_threads = 1, .isa = isa}).value();
  std::vector<uint8_t> bytes = weight_bytes(format, shape.rows, shape.k);
  // Copies, so that weights come from memory as in a model, not from the last-level cache.
  constexpr size_t kBytesMin = size_t{128} << 20;
  const size_t one = bytes.size(), copies = std::min<size_t>(kBytesMin / one + 1, 64);
  bytes.resize(one * copies);
  for (size_t c = 1; c < copies; ++c) {
    std::copy_n(bytes.data(), one, bytes.data() + c * one);
  }
  std::vector<float> x(static_cast<size_t>(tokens * shape.k)),
      out(static_cast<size_t>(tokens * shape.rows));
  std::mt19937 random(2);
  for (float& v : x) v = static_cast<float>(static_cast<int32_t>(random())) * 0x1p-31f;
  size_t copy = 0;
  for (auto _ : state) {
    MatMul op;
    op.x = make_view(x.data(), DType::kF32, {tokens, shape.k});
    op.parts[0].weight = make_view(bytes.data() + copy * one, format.type, {shape.rows, shape.k});
    op.parts[0].out = make_view(out.data(), DType::kF32, {tokens, shape.rows});
    const Op ops[] = {op};
    if (!backend->run(ops).ok()) return state.SkipWithError("matmul failed");
    copy = (copy + 1) % copies;
  }
  const auto runs = static_cast<double>(state.iterations());
  state.counters["GB/s"] =
      benchmark::Counter(runs * static_cast<double>(one) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GOPS"] =
      benchmark::Counter(runs * 2e-9 * static_cast<double>(shape.rows * shape.k * tokens),
                         benchmark::Counter::kIsRate);
}

void register_all() {
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    if (!has_isa(isa)) continue;
    for (const BlockFormat& format : block_formats()) {
      for (const Shape& shape : kShapes) {
        for (const int64_t tokens : kTokens) {
          const std::string name = std::string(isa_name(isa)) + "/" + format.name + "/" +
                                   std::to_string(shape.rows) + "x" + std::to_string(shape.k) +
                                   "/tokens:" + std::to_string(tokens);
          benchmark::RegisterBenchmark(name.c_str(), [=, &format](benchmark::State& state) {
            run_matmul(state, format, isa, shape, tokens);
          })->Unit(benchmark::kMicrosecond);
        }
      }
    }
  }
}

}  // namespace
}  // namespace realm::cpu

int main(int argc, char** argv) {
  realm::cpu::register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
