// The quantized matrix product on every instruction set against the scalar reference, bit for bit,
// and the reference against a product of decoded weights in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "base/file.h"

namespace realm::cpu {
namespace {

using Bytes = std::vector<uint8_t>;

std::vector<const BlockFormat*> integer_formats() {
  std::vector<const BlockFormat*> formats;
  for (const BlockFormat& format : block_formats()) {
    if (format.unpack != nullptr) formats.push_back(&format);
  }
  return formats;
}

std::vector<Isa> fast_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    if (has_isa(isa)) isas.push_back(isa);
  }
  return isas;
}

std::vector<float> random_floats(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& v : values) v = normal(random);
  return values;
}

// Random bytes reach codes and scales that no encoder writes. Blocks with a value that is not
// finite, or so large that sums of others vanish beside it, are drawn again.
Bytes random_blocks(const BlockFormat& format, int64_t rows, int64_t k, uint32_t seed) {
  std::mt19937 random(seed);
  const auto bytes = static_cast<size_t>(format.block_bytes);
  Bytes blocks(static_cast<size_t>(rows * k / format.block_elements) * bytes);
  std::vector<float> values(static_cast<size_t>(format.block_elements));
  for (size_t at = 0; at < blocks.size(); at += bytes) {
    bool usable = false;
    while (!usable) {
      for (size_t i = 0; i < bytes; ++i) blocks[at + i] = static_cast<uint8_t>(random() >> 24);
      format.decode(blocks.data() + at, values.data(), format.block_elements);
      usable =
          std::all_of(values.begin(), values.end(), [](float v) { return std::fabs(v) < 1e4f; });
    }
  }
  return blocks;
}

// Every code at its extremes: all bits set in whatever holds codes, scales as they may come.
Bytes extreme_blocks(const BlockFormat& format, int64_t rows, int64_t k, uint32_t seed) {
  Bytes blocks = random_blocks(format, rows, k, seed);
  std::mt19937 random(seed);
  const auto bytes = static_cast<size_t>(format.block_bytes);
  std::vector<float> values(static_cast<size_t>(format.block_elements));
  for (size_t at = 0; at < blocks.size(); at += bytes) {
    const Bytes before(blocks.begin() + static_cast<int64_t>(at),
                       blocks.begin() + static_cast<int64_t>(at + bytes));
    const uint8_t fill = std::array<uint8_t, 4>{0x00, 0xff, 0x80, 0x7f}[random() % 4];
    for (size_t i = 0; i < bytes; ++i) {
      const uint8_t old = std::exchange(blocks[at + i], fill);
      format.decode(blocks.data() + at, values.data(), format.block_elements);
      if (!std::all_of(values.begin(), values.end(), [](float v) { return std::fabs(v) < 1e4f; })) {
        blocks[at + i] = old;
      }
    }
  }
  return blocks;
}

struct Activations {
  int64_t tokens, k;
  int group;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int16_t> sums;

  Activations(const std::vector<float>& x, int64_t tokens_in, int64_t k_in, int group_in)
      : tokens(tokens_in), k(k_in), group(group_in) {
    codes.resize(static_cast<size_t>(tokens * k));
    scales.resize(static_cast<size_t>(tokens * k / group));
    sums.resize(static_cast<size_t>(tokens * k / 16));
    for (int64_t t = 0; t < tokens; ++t) {
      scalar_kernels()->quantize_row(
          x.data() + t * k, k, group,
          QuantizedRow{codes.data() + t * k, scales.data() + t * (k / group),
                       sums.data() + t * (k / 16)});
    }
  }
  QuantizedTokens view(int64_t first_token = 0) const {
    return {codes.data() + first_token * k,
            scales.data() + first_token * (k / group),
            sums.data() + first_token * (k / 16),
            nullptr,
            k,
            group};
  }
};

using Kernel = decltype(MatMulKernels::dot);

template <typename T>
T* aligned(T* p) {
  return p + (64 - reinterpret_cast<uintptr_t>(p) % 64) % 64;
}

// [tokens, rows], from rows in pieces of kPanelRows as matmul.cpp hands them out. What lies around
// the output must stay untouched.
std::vector<float> product(const MatMulKernels& kernels, Kernel kernel, const BlockFormat& format,
                           const Bytes& blocks, int64_t rows, QuantizedTokens x, int64_t tokens) {
  const int64_t bytes = static_cast<int64_t>(row_bytes(format, x.k));
  constexpr int64_t kGap = 5;
  const int64_t stride = rows + kGap;
  constexpr float kUntouched = -12345.0f;
  std::vector<float> out(static_cast<size_t>(tokens * stride), kUntouched);
  const auto scratch_bytes = static_cast<size_t>(kernels.scratch_bytes(tokens));
  // Exactly as large as promised, at the alignment that the thread scratch has.
  std::vector<uint8_t> memory(scratch_bytes + 64);
  uint8_t* scratch = aligned(memory.data());
  std::vector<std::byte> packed_memory;
  if (const TokenLayout* layout = kernels.token_layout(format.type, x.group)) {
    packed_memory.resize(static_cast<size_t>(layout->bytes(tokens, x.k)) + 64);
    std::byte* packed = aligned(packed_memory.data());
    for (int64_t tile = 0; tile * layout->tile_tokens < tokens; ++tile) {
      layout->pack(x, tokens, tile, packed);
    }
    x.packed = packed;
  }
  for (int64_t row = 0; row < rows; row += kPanelRows) {
    const WeightRows weights{
        .format = &format,
        .data = blocks.data() + row * bytes,
        .row_bytes = bytes,
        .num_rows = static_cast<int>(std::min<int64_t>(kPanelRows, rows - row)),
        .k = x.k};
    kernel(weights, x, tokens, out.data() + row, stride, scratch);
  }
  std::vector<float> result;
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = out.data() + t * stride;
    result.insert(result.end(), row, row + rows);
    EXPECT_TRUE(std::all_of(row + rows, row + stride, [](float v) { return v == kUntouched; }));
  }
  return result;
}

int count_different(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return -1;
  int different = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    different += std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]);
  }
  return different;
}

// Every kernel of every set against the reference, and each token alone against the batch.
void check_all_kernels(const BlockFormat& format, const Bytes& blocks, int64_t rows, int64_t k,
                       int64_t tokens, const std::vector<float>& x) {
  const Activations activations(x, tokens, k, block_group(format));
  const MatMulKernels& scalar = *scalar_matmul_kernels();
  const std::vector<float> expected =
      product(scalar, scalar.dot, format, blocks, rows, activations.view(), tokens);
  for (Isa isa : fast_isas()) {
    const MatMulKernels& kernels = matmul_kernels(isa);
    for (const bool panel : {false, true}) {
      SCOPED_TRACE(std::string(format.name) + " " + isa_name(isa) + (panel ? " panel" : " dot") +
                   ", rows " + std::to_string(rows) + ", k " + std::to_string(k) + ", tokens " +
                   std::to_string(tokens));
      const Kernel kernel = panel ? kernels.panel : kernels.dot;
      const std::vector<float> got =
          product(kernels, kernel, format, blocks, rows, activations.view(), tokens);
      EXPECT_EQ(count_different(got, expected), 0);
      const int64_t last = tokens - 1;
      const std::vector<float> alone =
          product(kernels, kernel, format, blocks, rows, activations.view(last), 1);
      EXPECT_EQ(count_different(alone, std::vector<float>(expected.end() - rows, expected.end())),
                0);
    }
  }
}

int64_t smallest_k(const BlockFormat& format) {
  return std::max(32, format.block_elements);
}

TEST(MatMulKernels, AllSetsGiveTheSameBits) {
  const struct {
    int64_t rows, blocks, tokens;
  } cases[] = {{1, 1, 1},   {3, 3, 2},   {31, 1, 3}, {32, 5, 4},  {33, 2, 5},  {8, 9, 8},
               {70, 1, 17}, {40, 2, 33}, {5, 35, 6}, {32, 4, 13}, {40, 33, 18}};
  uint32_t seed = 1;
  for (const BlockFormat* format : integer_formats()) {
    for (const auto& c : cases) {
      // Many small blocks stand for a long row; as many large ones would only take time.
      const int64_t blocks =
          format->block_elements == 256 ? std::min<int64_t>(c.blocks, 4) : c.blocks;
      const int64_t k = smallest_k(*format) * blocks;
      const std::vector<float> x = random_floats(static_cast<size_t>(c.tokens * k), ++seed);
      check_all_kernels(*format, random_blocks(*format, c.rows, k, ++seed), c.rows, k, c.tokens, x);
    }
  }
}

// Codes at both ends of their range against activations at theirs: sums that do not fit where a
// kernel keeps them show here.
TEST(MatMulKernels, ExtremesDoNotOverflow) {
  uint32_t seed = 1000;
  for (const BlockFormat* format : integer_formats()) {
    const int64_t k = smallest_k(*format) * 2, rows = 40, tokens = 7;
    const Bytes blocks = extreme_blocks(*format, rows, k, ++seed);
    std::vector<float> x(static_cast<size_t>(tokens * k));
    std::mt19937 random(seed);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t i = 0; i < k; ++i) {
        const float sign = t == 0 ? 1.0f : t == 1 ? -1.0f : (random() & 1) != 0 ? 1.0f : -1.0f;
        x[static_cast<size_t>(t * k + i)] = t == 6 ? 0.0f : sign * 3.0f;
      }
    }
    check_all_kernels(*format, blocks, rows, k, tokens, x);
  }
}

TEST(MatMulKernels, AllSetsGiveTheSameBitsOnEncodedRows) {
  int encoders = 0;
  for (const BlockFormat* format : integer_formats()) {
    if (format->encode == nullptr || format->needs_importance) continue;
    ++encoders;
    const int64_t k = smallest_k(*format) * 3, rows = 35, tokens = 6;
    const std::vector<float> w = random_floats(static_cast<size_t>(rows * k), 7);
    Bytes blocks(static_cast<size_t>(rows) * row_bytes(*format, k));
    for (int64_t r = 0; r < rows; ++r) {
      format->encode(w.data() + r * k,
                     blocks.data() + static_cast<size_t>(r) * row_bytes(*format, k), k, nullptr);
    }
    check_all_kernels(*format, blocks, rows, k, tokens,
                      random_floats(static_cast<size_t>(tokens * k), 8));
  }
  if (encoders == 0) GTEST_SKIP() << "no format has an encoder";
}

TEST(MatMulKernels, AllSetsGiveTheSameBitsOnGoldenBlocks) {
  const std::string folder = std::string(REALM_SHARED_DIR) + "/quants";
  if (!std::filesystem::is_directory(folder)) GTEST_SKIP() << "no folder " << folder;
  constexpr int64_t kRows = 8, kRowElements = 1024, kTokens = 9;
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".blocks") continue;
    std::string name = entry.path().stem().string();
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    const BlockFormat* format = find_block_format(name);
    ASSERT_NE(format, nullptr) << name;
    if (format->unpack == nullptr) continue;
    ++found;
    const std::string bytes = read_text_file(entry.path().string(), size_t{1} << 24).value();
    ASSERT_EQ(bytes.size(), static_cast<size_t>(kRows) * row_bytes(*format, kRowElements));
    check_all_kernels(*format, Bytes(bytes.begin(), bytes.end()), kRows, kRowElements, kTokens,
                      random_floats(static_cast<size_t>(kTokens * kRowElements), 9));
  }
  EXPECT_EQ(found, 27);
}

// The reference differs from the exact product of decoded weights and unquantized activations by no
// more than the rounding of activations to 8 bits (half a step of a group) and of float sums.
TEST(MatMulReference, IsCloseToTheExactProduct) {
  uint32_t seed = 2000;
  for (const BlockFormat* format : integer_formats()) {
    const int64_t k = smallest_k(*format) * 4, rows = 9, tokens = 3;
    const int group = block_group(*format);
    const Bytes blocks = random_blocks(*format, rows, k, ++seed);
    const std::vector<float> x = random_floats(static_cast<size_t>(tokens * k), ++seed);
    const Activations activations(x, tokens, k, group);
    const MatMulKernels& scalar = *scalar_matmul_kernels();
    const std::vector<float> got =
        product(scalar, scalar.dot, *format, blocks, rows, activations.view(), tokens);
    std::vector<float> w(static_cast<size_t>(rows * k));
    format->decode(blocks.data(), w.data(), rows * k);
    for (int64_t t = 0; t < tokens; ++t) {
      const float* xt = x.data() + t * k;
      for (int64_t r = 0; r < rows; ++r) {
        const float* wr = w.data() + r * k;
        double exact = 0, bound = 1e-30;
        // Float rounding acts on the two halves of value = scale * code - min, which can be far
        // larger than their difference.
        double largest_w = 0;
        for (int64_t i = 0; i < k; ++i) largest_w = std::max(largest_w, std::fabs(double{wr[i]}));
        for (int64_t g = 0; g < k; g += group) {
          double amax = 0;
          for (int64_t i = g; i < g + group; ++i) amax = std::max(amax, std::fabs(double{xt[i]}));
          for (int64_t i = g; i < g + group; ++i) {
            exact += double{wr[i]} * xt[i];
            bound += std::fabs(double{wr[i]}) * amax / 254 * 1.001 + largest_w * amax * 1e-4;
          }
        }
        EXPECT_NEAR(got[static_cast<size_t>(t * rows + r)], exact, bound)
            << format->name << " token " << t << " row " << r;
      }
    }
  }
}

// A whole op: parts of different formats that share x, bias, accumulation, strided outputs.
std::vector<float> run_op(Isa isa, int threads, bool accumulate, int64_t tokens,
                          const std::vector<Bytes>& weights, const std::vector<DType>& types,
                          const std::vector<int64_t>& rows, const std::vector<float>& bias,
                          const std::vector<float>& x, int64_t k) {
  auto backend = CpuBackend::create({.num_threads = threads, .isa = isa}).value();
  int64_t total = 0;
  for (int64_t n : rows) total += n;
  std::vector<float> out(static_cast<size_t>(tokens * total));
  for (size_t i = 0; i < out.size(); ++i) out[i] = 0.25f * static_cast<float>(i % 17);
  MatMul op;
  op.x = make_view(const_cast<float*>(x.data()), DType::kF32, {tokens, k});
  op.num_parts = static_cast<int>(rows.size());
  op.accumulate = accumulate;
  int64_t column = 0;
  for (size_t p = 0; p < rows.size(); ++p) {
    op.parts[p].weight = make_view(const_cast<uint8_t*>(weights[p].data()), types[p], {rows[p], k});
    if (p == 1) {
      op.parts[p].bias = make_view(const_cast<float*>(bias.data()), DType::kF32, {rows[p]});
    }
    op.parts[p].out = make_view(out.data() + column, DType::kF32, {tokens, rows[p]});
    op.parts[p].out.stride[0] = total * static_cast<int64_t>(sizeof(float));
    column += rows[p];
  }
  const Op ops[] = {op};
  EXPECT_TRUE(backend->run(ops).ok());
  return out;
}

// Formats that AMX takes by stretches of 256 (stretch_amx.h), with the largest integer scale.
struct StretchFormat {
  DType type;
  float largest;
};
constexpr StretchFormat kStretchFormats[] = {
    {DType::kQ8_0, 255}, {DType::kQ4_0, 255}, {DType::kIQ4_NL, 255}, {DType::kMXFP4, 128}};

// Written anew.
std::vector<float> product_by_stretches(const StretchFormat& of, const Bytes& blocks, int64_t rows,
                                        const Activations& activations) {
  const BlockFormat& format = *find_block_format(of.type);
  const int64_t k = activations.k;
  std::vector<float> out;
  for (int64_t t = 0; t < activations.tokens; ++t) {
    const int8_t* x = activations.codes.data() + t * k;
    for (int64_t r = 0; r < rows; ++r) {
      float acc = 0.0f;
      for (int64_t begin = 0; begin < k; begin += 256) {
        const uint8_t* block = blocks.data() + (r * k + begin) / 32 * format.block_bytes;
        float d[8], largest = 0.0f;
        UnpackedBlock unpacked[8];
        for (int j = 0; j < 8; ++j) {
          format.unpack(block + j * format.block_bytes, unpacked[j]);
          d[j] = unpacked[j].d[0] * static_cast<float>(unpacked[j].scales[0]);
          largest = std::max(largest, std::fabs(d[j]));
        }
        int32_t sum = 0;
        for (int j = 0; j < 8; ++j) {
          const float inverse = largest > 0x1p-100f ? of.largest / largest : 0.0f;
          int32_t of_block = 0;
          for (int i = 0; i < 32; ++i) of_block += unpacked[j].codes[i] * x[begin + 32 * j + i];
          sum += of_block * static_cast<int32_t>(std::nearbyint(d[j] * inverse));
        }
        const float dx = activations.scales[static_cast<size_t>((t * k + begin) / 256)];
        acc = std::fma(largest * (1.0f / of.largest) * dx, static_cast<float>(sum), acc);
      }
      out.push_back(acc);
    }
  }
  return out;
}

TEST(MatMulKernels, StretchesOnAmx) {
  if (!has_isa(Isa::kAmx)) GTEST_SKIP() << "no AMX";
  const MatMulKernels& kernels = matmul_kernels(Isa::kAmx);
  const struct {
    int64_t rows, stretches, tokens;
    bool extreme;
  } cases[] = {{1, 1, 1, false},  {3, 3, 2, false},  {31, 1, 3, true},   {33, 2, 5, false},
               {70, 1, 17, true}, {40, 2, 33, true}, {32, 8, 13, false}, {5, 9, 4, false}};
  uint32_t seed = 3000;
  for (const StretchFormat& of : kStretchFormats) {
    const BlockFormat& format = *find_block_format(of.type);
    EXPECT_EQ(kernels.activation_group(format, 768), 256);
    EXPECT_EQ(kernels.activation_group(format, 800), 32);
    for (const auto& c : cases) {
      SCOPED_TRACE(std::string(format.name) + ", tokens " + std::to_string(c.tokens));
      const int64_t k = 256 * c.stretches;
      const Bytes blocks = c.extreme ? extreme_blocks(format, c.rows, k, ++seed)
                                     : random_blocks(format, c.rows, k, ++seed);
      std::vector<float> x = random_floats(static_cast<size_t>(c.tokens * k), ++seed);
      if (c.extreme) {
        for (float& v : x) v = v < 0 ? -2.0f : 2.0f;
      }
      const Activations activations(x, c.tokens, k, 256);
      const std::vector<float> expected = product_by_stretches(of, blocks, c.rows, activations);
      for (const Kernel kernel : {kernels.dot, kernels.panel}) {
        EXPECT_EQ(count_different(product(kernels, kernel, format, blocks, c.rows,
                                          activations.view(), c.tokens),
                                  expected),
                  0);
        const std::vector<float> last(expected.end() - c.rows, expected.end());
        EXPECT_EQ(count_different(product(kernels, kernel, format, blocks, c.rows,
                                          activations.view(c.tokens - 1), 1),
                                  last),
                  0);
      }
    }
  }
}

// What that costs: products of encoded rows differ from exact ones by less than half as much again
// as the reference's, whose activations are rounded in groups of 32.
TEST(MatMulKernels, StretchesAreCloseToTheExactProduct) {
  if (!has_isa(Isa::kAmx)) GTEST_SKIP() << "no AMX";
  const MatMulKernels &scalar = *scalar_matmul_kernels(), &amx = matmul_kernels(Isa::kAmx);
  const int64_t k = 2048, rows = 64, tokens = 9;
  const std::vector<float> w = random_floats(static_cast<size_t>(rows * k), 41);
  const std::vector<float> x = random_floats(static_cast<size_t>(tokens * k), 42);
  for (const StretchFormat& of : kStretchFormats) {
    const BlockFormat& format = *find_block_format(of.type);
    Bytes blocks(static_cast<size_t>(rows) * row_bytes(format, k));
    format.encode(w.data(), blocks.data(), rows * k, nullptr);
    std::vector<float> decoded(w.size());
    format.decode(blocks.data(), decoded.data(), rows * k);
    const auto error = [&](const MatMulKernels& kernels, int group) {
      const Activations activations(x, tokens, k, group);
      const std::vector<float> got =
          product(kernels, kernels.dot, format, blocks, rows, activations.view(), tokens);
      double difference = 0, reference = 0;
      for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t r = 0; r < rows; ++r) {
          double exact = 0;
          for (int64_t i = 0; i < k; ++i) {
            exact +=
                double{decoded[static_cast<size_t>(r * k + i)]} * x[static_cast<size_t>(t * k + i)];
          }
          difference += std::pow(exact - got[static_cast<size_t>(t * rows + r)], 2);
          reference += exact * exact;
        }
      }
      return std::sqrt(difference / reference);
    };
    const double by_32 = error(scalar, 32), by_256 = error(amx, 256);
    EXPECT_LT(by_32, 0.01) << format.name;
    EXPECT_LT(by_256, 1.5 * by_32) << format.name;
  }
}

// Products that sum up in an order of their own, and split activations.
bool by_bf16_tiles(Isa isa, DType type) {
  return isa == Isa::kAmx && type == DType::kBF16 && has_bf16_tiles();
}

// Float weights: the panel's order of summation is that of single rows, at any k.
TEST(MatMulOp, FloatWeightsGiveTheSameBits) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t k : {1, 15, 16, 17, 100, 640, 1100}) {
      for (const int64_t tokens : {1, 4, 5, 6, 7, 13, 23, 39, 40, 63}) {
        const std::vector<int64_t> rows = {1, 15, 50};
        std::vector<Bytes> weights;
        for (const int64_t n : rows) {
          weights.push_back(random_blocks(*find_block_format(type), n, k,
                                          static_cast<uint32_t>(90 + n + k + tokens)));
        }
        const std::vector<DType> types(rows.size(), type);
        const std::vector<float> bias = random_floats(15, 91);
        const std::vector<float> x = random_floats(static_cast<size_t>(tokens * k), 92);
        const std::vector<float> expected =
            run_op(Isa::kScalar, 1, true, tokens, weights, types, rows, bias, x, k);
        for (Isa isa : fast_isas()) {
          if (by_bf16_tiles(isa, type)) continue;
          EXPECT_EQ(count_different(run_op(isa, 1, true, tokens, weights, types, rows, bias, x, k),
                                    expected),
                    0)
              << isa_name(isa) << ", k " << k << ", tokens " << tokens;
        }
      }
    }
  }
}

// BF16 weights by tiles: as close to the exact product as halves of activations and sums of floats
// let them be, and the same bits alone, in any batch and on any number of threads.
TEST(MatMulOp, Bf16TilesAreCloseAndKeepTheirBits) {
  if (!has_bf16_tiles()) GTEST_SKIP() << "no AMX-BF16";
  const DType type = DType::kBF16;
  const std::vector<int64_t> rows = {1, 15, 650};
  const std::vector<DType> types(rows.size(), type);
  const std::vector<float> bias = random_floats(15, 61);
  int64_t total = 0;
  for (const int64_t n : rows) total += n;
  for (const int64_t k : {1, 31, 32, 33, 100, 640, 2100}) {
    std::vector<Bytes> weights;
    std::vector<float> decoded;
    for (const int64_t n : rows) {
      weights.push_back(
          random_blocks(*find_block_format(type), n, k, static_cast<uint32_t>(60 + n + k)));
      decoded.resize(decoded.size() + static_cast<size_t>(n * k));
      find_block_format(type)->decode(weights.back().data(),
                                      decoded.data() + decoded.size() - n * k, n * k);
    }
    constexpr int64_t kMost = 71;
    const std::vector<float> x = random_floats(static_cast<size_t>(kMost * k), 62);
    const auto run = [&](int threads, bool accumulate, int64_t tokens,
                         const std::vector<float>& of) {
      return run_op(Isa::kAmx, threads, accumulate, tokens, weights, types, rows, bias, of, k);
    };
    const std::vector<float> all = run(1, false, kMost, x);
    for (int64_t t = 0; t < kMost; t += 7) {
      for (int64_t r = 0; r < total; ++r) {
        double exact = r > 0 && r < 16 ? double{bias[static_cast<size_t>(r - 1)]} : 0.0;
        double size = std::fabs(exact);
        for (int64_t i = 0; i < k; ++i) {
          const double product =
              double{decoded[static_cast<size_t>(r * k + i)]} * x[static_cast<size_t>(t * k + i)];
          exact += product;
          size += std::fabs(product);
        }
        const double bound = size * (0x1p-17 + static_cast<double>(k / 16 + 40) * 0x1p-24) + 1e-36;
        EXPECT_NEAR(all[static_cast<size_t>(t * total + r)], exact, bound)
            << "k " << k << ", token " << t << ", row " << r;
      }
    }
    for (const int64_t tokens : {1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 71}) {
      for (const int64_t first : {int64_t{0}, kMost - tokens}) {
        const std::vector<float> some(x.begin() + first * k, x.begin() + (first + tokens) * k);
        EXPECT_EQ(
            count_different(run(1, false, tokens, some),
                            {all.begin() + first * total, all.begin() + (first + tokens) * total}),
            0)
            << "k " << k << ", tokens " << tokens << " from " << first;
      }
    }
    EXPECT_EQ(count_different(run(3, true, kMost, x), run(1, true, kMost, x)), 0) << "k " << k;
    const std::vector<float> one(x.begin(), x.begin() + k);
    const std::vector<float> added = run(2, true, 1, one), many = run(1, true, kMost, x);
    EXPECT_EQ(count_different(added, {many.begin(), many.begin() + total}), 0) << "k " << k;
  }
}

TEST(MatMulOp, PartsBiasAndAccumulateAgreeOnAllSets) {
  const int64_t k = 512;
  const std::vector<DType> types = {DType::kQ4_K, DType::kQ5_0, DType::kF16};
  const std::vector<int64_t> rows = {70, 33, 5};
  std::vector<Bytes> weights;
  for (size_t p = 0; p < types.size(); ++p) {
    weights.push_back(
        random_blocks(*find_block_format(types[p]), rows[p], k, static_cast<uint32_t>(77 + p)));
  }
  const std::vector<float> bias = random_floats(33, 80);
  for (const bool accumulate : {false, true}) {
    for (const int64_t tokens : {1, 2, 9, 61}) {
      const std::vector<float> x = random_floats(static_cast<size_t>(tokens * k), 81);
      const std::vector<float> expected =
          run_op(Isa::kScalar, 1, accumulate, tokens, weights, types, rows, bias, x, k);
      for (Isa isa : fast_isas()) {
        for (const int threads : {1, 3}) {
          const std::vector<float> got =
              run_op(isa, threads, accumulate, tokens, weights, types, rows, bias, x, k);
          EXPECT_EQ(count_different(got, expected), 0)
              << isa_name(isa) << ", threads " << threads << ", tokens " << tokens;
        }
      }
    }
  }
}

// A row's product is the same whatever else is computed with it, where a set has its own arithmetic
// too.
TEST(MatMulOp, Q8_0GivesTheSameBitsForAnyBatchAndThreads) {
  const int64_t k = 512, tokens = 37;
  const std::vector<DType> types = {DType::kQ8_0, DType::kQ6_K, DType::kQ8_0};
  const std::vector<int64_t> rows = {70, 33, 5};
  const int64_t total = 70 + 33 + 5;
  std::vector<Bytes> weights;
  for (size_t p = 0; p < types.size(); ++p) {
    weights.push_back(
        random_blocks(*find_block_format(types[p]), rows[p], k, static_cast<uint32_t>(87 + p)));
  }
  const std::vector<float> bias = random_floats(33, 88);
  const std::vector<float> x = random_floats(static_cast<size_t>(tokens * k), 89);
  for (Isa isa : fast_isas()) {
    const std::vector<float> all = run_op(isa, 1, false, tokens, weights, types, rows, bias, x, k);
    EXPECT_EQ(count_different(run_op(isa, 3, false, tokens, weights, types, rows, bias, x, k), all),
              0)
        << isa_name(isa);
    for (const int64_t count : {1, 2, 3, 4, 5, 8, 9, 16, 20}) {
      const std::vector<float> few = run_op(isa, 2, false, count, weights, types, rows, bias, x, k);
      EXPECT_EQ(count_different(few, std::vector<float>(all.begin(), all.begin() + count * total)),
                0)
          << isa_name(isa) << ", tokens " << count;
    }
  }
}

}  // namespace
}  // namespace realm::cpu
