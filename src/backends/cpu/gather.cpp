#include "backends/cpu/cpu_backend.h"
#include "formats/quant/quant_table.h"

namespace realm::cpu {

Status run(Context& context, const GatherRows& op) {
  const BlockFormat& format = *find_block_format(op.table.dtype);
  const int64_t dim = op.table.dim(1);
  const int32_t* ids = op.ids.as<const int32_t>();
  context.pool.parallel_for(op.ids.dim(0), [&](int64_t i, int) {
    float* out = reinterpret_cast<float*>(op.out.data + i * op.out.stride[0]);
    format.decode(op.table.data + ids[i] * op.table.stride[0], out, dim);
    if (op.scale != 1.0f) {
      for (int64_t d = 0; d < dim; ++d) out[d] *= op.scale;
    }
  });
  return {};
}

}  // namespace realm::cpu
