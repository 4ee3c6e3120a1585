#include "formats/quant/quant_table.h"

#include <algorithm>
#include <bit>

#include "formats/quant/f8_e4m3.h"
#include "formats/quant/floats.h"
#include "formats/quant/iq1_m.h"
#include "formats/quant/iq1_s.h"
#include "formats/quant/iq2_s.h"
#include "formats/quant/iq2_xs.h"
#include "formats/quant/iq2_xxs.h"
#include "formats/quant/iq3_s.h"
#include "formats/quant/iq3_xxs.h"
#include "formats/quant/iq4_nl.h"
#include "formats/quant/iq4_xs.h"
#include "formats/quant/mxfp4.h"
#include "formats/quant/nvfp4.h"
#include "formats/quant/q1_0.h"
#include "formats/quant/q2_0.h"
#include "formats/quant/q2_k.h"
#include "formats/quant/q3_k.h"
#include "formats/quant/q4_0.h"
#include "formats/quant/q4_1.h"
#include "formats/quant/q4_k.h"
#include "formats/quant/q5_0.h"
#include "formats/quant/q5_1.h"
#include "formats/quant/q5_k.h"
#include "formats/quant/q6_k.h"
#include "formats/quant/q8_0.h"
#include "formats/quant/q8_1.h"
#include "formats/quant/q8_k.h"
#include "formats/quant/tq1_0.h"
#include "formats/quant/tq2_0.h"

namespace realm {
namespace {

// Blocks hold little-endian numbers that the structs read in place.
static_assert(std::endian::native == std::endian::little);

constexpr bool kNeedsImportance = true;

#define FORMAT_ROW(name, lower, needs_importance)                                          \
  BlockFormat {                                                                            \
    DType::k##name, #name, k##name##Shape.elements, static_cast<int>(sizeof(Block##name)), \
        decode_##lower, encode_##lower, needs_importance, unpack_##lower, k##name##Shape   \
  }

constexpr BlockFormat kFormats[] = {
    {DType::kF32, "F32", 1, 4, decode_f32, encode_f32, false, nullptr, {0, 1}},
    {DType::kF16, "F16", 1, 2, decode_f16, encode_f16, false, nullptr, {0, 1}},
    FORMAT_ROW(Q4_0, q4_0, false),
    FORMAT_ROW(Q4_1, q4_1, false),
    FORMAT_ROW(Q5_0, q5_0, false),
    FORMAT_ROW(Q5_1, q5_1, false),
    FORMAT_ROW(Q8_0, q8_0, false),
    FORMAT_ROW(Q8_1, q8_1, false),
    FORMAT_ROW(Q2_K, q2_k, false),
    FORMAT_ROW(Q3_K, q3_k, false),
    FORMAT_ROW(Q4_K, q4_k, false),
    FORMAT_ROW(Q5_K, q5_k, false),
    FORMAT_ROW(Q6_K, q6_k, false),
    FORMAT_ROW(Q8_K, q8_k, false),
    FORMAT_ROW(IQ2_XXS, iq2_xxs, kNeedsImportance),
    FORMAT_ROW(IQ2_XS, iq2_xs, kNeedsImportance),
    FORMAT_ROW(IQ3_XXS, iq3_xxs, false),
    FORMAT_ROW(IQ1_S, iq1_s, kNeedsImportance),
    FORMAT_ROW(IQ4_NL, iq4_nl, false),
    FORMAT_ROW(IQ3_S, iq3_s, false),
    FORMAT_ROW(IQ2_S, iq2_s, kNeedsImportance),
    FORMAT_ROW(IQ4_XS, iq4_xs, false),
    FORMAT_ROW(IQ1_M, iq1_m, kNeedsImportance),
    {DType::kBF16, "BF16", 1, 2, decode_bf16, encode_bf16, false, nullptr, {0, 1}},
    FORMAT_ROW(TQ1_0, tq1_0, false),
    FORMAT_ROW(TQ2_0, tq2_0, false),
    FORMAT_ROW(MXFP4, mxfp4, false),
    FORMAT_ROW(NVFP4, nvfp4, false),
    FORMAT_ROW(Q1_0, q1_0, false),
    FORMAT_ROW(Q2_0, q2_0, false),
};

#undef FORMAT_ROW

// Of the KV cache only.
constexpr BlockFormat kCacheFormat = {kF8E4M3,        "F8_E4M3", 1,       1,     decode_f8_e4m3,
                                      encode_f8_e4m3, false,     nullptr, {0, 1}};

constexpr bool sorted_by_type() {
  return std::is_sorted(std::begin(kFormats), std::end(kFormats),
                        [](const BlockFormat& a, const BlockFormat& b) { return a.type < b.type; });
}
static_assert(sorted_by_type());

bool equals_ignoring_case(std::string_view given, std::string_view name) {
  return std::equal(given.begin(), given.end(), name.begin(), name.end(), [](char a, char b) {
    return a == b || (b >= 'A' && b <= 'Z' && a == b - 'A' + 'a');
  });
}

}  // namespace

std::span<const BlockFormat> block_formats() {
  return kFormats;
}

const BlockFormat* find_block_format(DType type) {
  if (type == kF8E4M3) return &kCacheFormat;
  const BlockFormat* row =
      std::lower_bound(std::begin(kFormats), std::end(kFormats), type,
                       [](const BlockFormat& format, DType id) { return format.type < id; });
  return row != std::end(kFormats) && row->type == type ? row : nullptr;
}

const BlockFormat* find_block_format(std::string_view name) {
  for (const BlockFormat& format : kFormats) {
    if (equals_ignoring_case(name, format.name)) return &format;
  }
  return nullptr;
}

}  // namespace realm
