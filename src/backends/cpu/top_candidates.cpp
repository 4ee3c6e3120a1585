// Serves tests of callers and is the reference of other backends: on the host a sampler looks at
// the rows themselves.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/rows.h"

namespace realm::cpu {

Status run(Context& context, const TopCandidates& op) {
  const RowWalker x(op.x), draws(op.draws), values(op.values), tokens(op.tokens), sums(op.sums);
  const int64_t n = op.x.last_dim(), k = op.values.last_dim();
  for_row_pieces(context.pool, x.num_rows(), n, [&](int64_t row) {
    const float* logits = x.row(row);
    auto* chosen = reinterpret_cast<int32_t*>(tokens.row(row));
    if (!std::all_of(logits, logits + n, [](float v) { return std::isfinite(v); })) {
      std::fill_n(chosen, 1 + k, -1);
      std::fill_n(values.row(row), k, 0.0f);
      std::fill_n(sums.row(row), 2, 0.0f);
      return;
    }
    std::vector<int32_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
      return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
    });
    for (int64_t i = 0; i < k; ++i) {
      chosen[1 + i] = order[static_cast<size_t>(i)];
      values.row(row)[i] = logits[chosen[1 + i]];
    }
    const double largest = *std::max_element(logits, logits + n), scale = draws.row(row)[0];
    const auto weight = [&](int64_t i, double times) {
      return std::exp((logits[i] - largest) * times);
    };
    double sum = 0, scaled_sum = 0;
    for (int64_t i = 0; i < n; ++i) {
      sum += weight(i, 1);
      scaled_sum += weight(i, scale);
    }
    double left = draws.row(row)[1] * scaled_sum;
    int64_t drawn = chosen[1];
    for (int64_t i = 0; i < n; ++i) {
      const double w = weight(i, scale);
      if (w <= 0) continue;
      drawn = i;
      if (left < w) break;
      left -= w;
    }
    chosen[0] = static_cast<int32_t>(drawn);
    sums.row(row)[0] = static_cast<float>(sum);
    sums.row(row)[1] = logits[drawn];
  });
  return {};
}

}  // namespace realm::cpu
