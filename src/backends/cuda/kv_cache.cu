// Writing keys and values into pages, and copying pages.
#include "backends/cuda/cache_store.cuh"
#include "backends/cuda/context.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {
namespace {

struct Cache {
  std::byte* data;
  int64_t page_stride, head_stride, token_stride;  // bytes
  int dim;
  CacheType type;

  explicit Cache(const TensorView& view)
      : data(view.data),
        page_stride(view.stride[0]),
        head_stride(view.stride[1]),
        token_stride(view.stride[2]),
        dim(static_cast<int>(view.dim(3))),
        type(cache_type_of(view.dtype)) {}
  __device__ std::byte* row(int64_t slot, int64_t head) const {
    return data + slot / kPageTokens * page_stride + head * head_stride +
           slot % kPageTokens * token_stride;
  }
};

// One warp stores 32 elements.
__device__ void store_32(const Cache& cache, std::byte* to, int first, const float* x, int lane) {
  const int d = first + lane;
  const float value = d < cache.dim ? x[d] : 0.0f;
  if (cache.type == CacheType::kQ8_0) {
    Q8Scale(warp_max(fabsf(value))).store(to, d, value);
  } else if (d < cache.dim) {
    store_cached(to, cache.type, d, value);
  }
}

__global__ void store_kv(Rows k, Rows v, Cache k_cache, Cache v_cache, const int64_t* slots,
                         int heads, bool has_values) {
  const int64_t row = blockIdx.x;
  const int64_t slot = slots[row / heads], head = row % heads;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int num_warps = static_cast<int>(blockDim.x) / 32;
  for (int d = 32 * warp; d < k_cache.dim; d += 32 * num_warps) {
    store_32(k_cache, k_cache.row(slot, head), d, k.row(row), lane);
  }
  for (int d = 32 * warp; has_values && d < v_cache.dim; d += 32 * num_warps) {
    store_32(v_cache, v_cache.row(slot, head), d, v.row(row), lane);
  }
}

// Page sizes are multiples of 4 bytes: 32 tokens.
__global__ void copy_pages(std::byte* cache, int64_t page_bytes, const int32_t* pairs) {
  const auto* from = reinterpret_cast<const uint32_t*>(cache + pairs[2 * blockIdx.y] * page_bytes);
  auto* to = reinterpret_cast<uint32_t*>(cache + pairs[2 * blockIdx.y + 1] * page_bytes);
  const int64_t words = page_bytes / 4;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    to[i] = from[i];
  }
}

}  // namespace

Status run(Context& context, const StoreKv& op) {
  const int64_t rows = op.k.num_rows();
  if (rows == 0) return {};
  // Without values of their own (they are the keys' first columns) nothing else is written.
  const bool has_values = !op.v.empty();
  store_kv<<<static_cast<unsigned>(rows), 128, 0, context.stream>>>(
      Rows(op.k), Rows(has_values ? op.v : op.k), Cache(op.k_cache),
      Cache(has_values ? op.v_cache : op.k_cache), op.slots.as<const int64_t>(),
      static_cast<int>(op.k.dim(1)), has_values);
  return check_launch("store_kv");
}

Status run(Context& context, const CopyPages& op) {
  if (op.pairs.dim(0) == 0) return {};
  for (const TensorView* cache : {&op.k_cache, &op.v_cache}) {
    if (cache->empty()) continue;
    copy_pages<<<dim3(8, static_cast<unsigned>(op.pairs.dim(0))), 256, 0, context.stream>>>(
        cache->data, cache->stride[0], op.pairs.as<const int32_t>());
    TRY(check_launch("copy_pages"));
  }
  return {};
}

}  // namespace realm::cuda
