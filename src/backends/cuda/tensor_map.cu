#include <cuda_runtime.h>

#include <string>

#include "backends/cuda/tensor_map.cuh"

namespace realm::cuda {
namespace {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

// The driver's function, found at run time so that the program needs no driver to start.
EncodeTiled find_encode_tiled() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t code = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function,
                                                            12000, cudaEnableDefault, &found);
  if (code != cudaSuccess || found != cudaDriverEntryPointSuccess) return nullptr;
  return reinterpret_cast<EncodeTiled>(function);
}

}  // namespace

Result<CUtensorMap> map_rows(CUtensorMapDataType type, const void* data, int64_t columns,
                             int64_t rows, int64_t row_bytes, int box_rows) {
  static const EncodeTiled encode = find_encode_tiled();
  if (encode == nullptr) {
    return Error{ErrorCode::kUnavailable, "cuda: the driver cannot describe tensors (too old)"};
  }
  CUtensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_bytes)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult code =
      encode(&map, type, 2, const_cast<void*>(data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (code != CUDA_SUCCESS) {
    return Error{ErrorCode::kUnavailable, "cuda: describing a tensor failed with code " +
                                              std::to_string(static_cast<int>(code))};
  }
  return map;
}

}  // namespace realm::cuda
