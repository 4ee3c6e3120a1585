#include <cmath>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {

Status run(Context& context, const ArgMax& op) {
  const RowWalker x(op.x);
  const int64_t n = op.x.last_dim();
  auto* out = op.out.as<int32_t>();
  for_row_pieces(context.pool, x.num_rows(), n, [&](int64_t row) {
    const float* values = x.row(row);
    int32_t best = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
      finite = finite && std::isfinite(values[i]);
      if (values[i] > values[best]) best = static_cast<int32_t>(i);
    }
    out[row] = finite ? best : -1;
  });
  return {};
}

}  // namespace realm::cpu
