#include <cstring>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"
#include "formats/quant/quant_table.h"

namespace realm::cpu {
namespace {

// One head's row into its place in the cache.
void store_row(Context& context, const TensorView& cache, int64_t slot, int64_t head,
               const float* x) {
  const int64_t dim = cache.dim(3);
  std::byte* to = cache.data + slot / kPageTokens * cache.stride[0] + head * cache.stride[1] +
                  slot % kPageTokens * cache.stride[2];
  switch (cache.dtype) {
    case DType::kF32:
      std::memcpy(to, x, static_cast<size_t>(dim) * sizeof(float));
      break;
    case DType::kF16:
      context.kernels.to_f16(x, reinterpret_cast<uint16_t*>(to), dim);
      break;
    case DType::kQ8_0:
      context.kernels.to_q8_0(x, reinterpret_cast<uint8_t*>(to), dim);
      break;
    default:  // a row a token is little beside reading the cache
      find_block_format(cache.dtype)->encode(x, to, dim, nullptr);
  }
}

}  // namespace

Status run(Context& context, const StoreKv& op) {
  const int64_t heads = op.k.dim(1);
  const bool has_values = !op.v.empty();
  const RowWalker k(op.k), v(has_values ? op.v : op.k);
  const int64_t* slots = op.slots.as<const int64_t>();
  for_row_pieces(context.pool, k.num_rows(), 2 * op.k.dim(2), [&](int64_t row) {
    const int64_t slot = slots[row / heads], head = row % heads;
    store_row(context, op.k_cache, slot, head, k.row(row));
    if (has_values) store_row(context, op.v_cache, slot, head, v.row(row));
  });
  return {};
}

Status run(Context&, const CopyPages& op) {
  const int32_t* pairs = op.pairs.as<const int32_t>();
  for (const TensorView* cache : {&op.k_cache, &op.v_cache}) {
    if (cache->empty()) continue;
    for (int64_t i = 0; i < op.pairs.dim(0); ++i) {
      std::memcpy(cache->data + pairs[2 * i + 1] * cache->stride[0],
                  cache->data + pairs[2 * i] * cache->stride[0],
                  static_cast<size_t>(cache->stride[0]));
    }
  }
  return {};
}

}  // namespace realm::cpu
