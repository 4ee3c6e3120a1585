// The plain reference itself against the definitions of the ops, written anew in double precision
// over the same cases. (Products have theirs in matmul_test.cpp; gather and the cache's ops move
// and convert numbers, which the format tests cover.)
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/cpu_backend.h"
#include "ops/case_runner.h"

namespace realm::cpu {
namespace {

// The op of a placed case: host addresses, so that its views can be read.
double value_at(const TensorView& view, std::initializer_list<int64_t> index) {
  const std::byte* row = view.data;
  int64_t last = 0;
  int d = 0;
  for (const int64_t i : index) {
    if (d + 1 < view.rank) row += i * view.stride[d];
    last = i;
    ++d;
  }
  if (view.dtype == DType::kF32) return reinterpret_cast<const float*>(row)[last];
  std::vector<float> decoded(static_cast<size_t>(view.last_dim()));
  find_block_format(view.dtype)->decode(row, decoded.data(), view.last_dim());
  return decoded[static_cast<size_t>(last)];
}

std::vector<double> row_at(const TensorView& view, std::initializer_list<int64_t> index) {
  const std::byte* row = view.data;
  int d = 0;
  for (const int64_t i : index) row += i * view.stride[d++];
  std::vector<float> decoded(static_cast<size_t>(view.last_dim()));
  find_block_format(view.dtype)->decode(row, decoded.data(), view.last_dim());
  return {decoded.begin(), decoded.end()};
}

struct Errors {
  double difference = 0, reference = 0;
  void add(double expected, double actual) {
    difference += (expected - actual) * (expected - actual);
    reference += expected * expected;
  }
  double relative() const { return difference == 0 ? 0 : std::sqrt(difference / reference); }
};

Errors errors_of(const Attention& op) {
  Errors errors;
  const int64_t heads = op.q.dim(1), group = op.q.dim(1) / op.k_cache.dim(1);
  for (int64_t s = 0; s + 1 < op.seq_start.dim(0); ++s) {
    const auto* pages = op.page_table.as<const int32_t>() + s * op.page_table.dim(1);
    for (int64_t t = op.seq_start.as<int32_t>()[s]; t < op.seq_start.as<int32_t>()[s + 1]; ++t) {
      const int64_t last = op.positions.as<int32_t>()[t];
      int64_t first = op.window > 0 ? std::max<int64_t>(0, last - op.window + 1) : 0;
      if (!op.oldest.empty()) first = op.oldest.as<int32_t>()[t];
      for (int64_t h = 0; h < heads; ++h) {
        const auto q = row_at(op.q, {t, h});
        std::vector<double> weights;
        double total = op.sinks.empty() ? 0 : std::exp(op.sinks.as<float>()[h]);
        for (int64_t p = first; p <= last; ++p) {
          const auto k = row_at(op.k_cache, {pages[p / kPageTokens], h / group, p % kPageTokens});
          double score = 0;
          for (size_t i = 0; i < q.size(); ++i) score += q[i] * k[i];
          score *= op.scale;
          if (op.soft_cap > 0) score = op.soft_cap * std::tanh(score / op.soft_cap);
          if (!op.slopes.empty()) {
            score += op.slopes.as<float>()[h] * static_cast<double>(p - last);
          }
          weights.push_back(std::exp(score));
          total += weights.back();
        }
        std::vector<double> expected(static_cast<size_t>(op.out.dim(2)));
        for (int64_t p = first; p <= last; ++p) {
          const auto v = row_at(op.v_cache, {pages[p / kPageTokens], h / group, p % kPageTokens});
          const double weight = weights[static_cast<size_t>(p - first)] / total;
          for (size_t i = 0; i < v.size(); ++i) expected[i] += weight * v[i];
        }
        const auto actual = row_at(op.out, {t, h});
        for (size_t i = 0; i < actual.size(); ++i) errors.add(expected[i], actual[i]);
      }
    }
  }
  return errors;
}

Errors errors_of(const RmsNorm& op) {
  Errors errors;
  const auto one = [&](const std::vector<double>& x, const std::vector<double>& out) {
    double sum = 0;
    for (const double v : x) sum += v * v;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + op.eps);
    for (size_t i = 0; i < x.size(); ++i) {
      errors.add(x[i] * scale * op.weight.as<float>()[i], out[i]);
    }
  };
  for (int64_t r = 0; r < op.x.num_rows(); ++r) {
    if (op.x.rank == 1) {
      one(row_at(op.x, {}), row_at(op.out, {}));
    } else if (op.x.rank == 2) {
      one(row_at(op.x, {r}), row_at(op.out, {r}));
    } else {
      one(row_at(op.x, {r / op.x.dim(1), r % op.x.dim(1)}),
          row_at(op.out, {r / op.x.dim(1), r % op.x.dim(1)}));
    }
  }
  return errors;
}

Errors errors_of(const LayerNorm& op) {
  Errors errors;
  for (int64_t r = 0; r < op.x.num_rows(); ++r) {
    const bool heads = op.x.rank == 3;
    const auto x = heads ? row_at(op.x, {r / op.x.dim(1), r % op.x.dim(1)}) : row_at(op.x, {r});
    const auto out =
        heads ? row_at(op.out, {r / op.x.dim(1), r % op.x.dim(1)}) : row_at(op.out, {r});
    double mean = 0, variance = 0;
    for (const double v : x) mean += v / static_cast<double>(x.size());
    for (const double v : x) variance += (v - mean) * (v - mean) / static_cast<double>(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      double y = (x[i] - mean) / std::sqrt(variance + op.eps);
      if (!op.weight.empty()) y *= op.weight.as<float>()[i];
      if (!op.bias.empty()) y += op.bias.as<float>()[i];
      errors.add(y, out[i]);
    }
  }
  return errors;
}

Errors errors_of(const Scale& op) {
  Errors errors;
  for (int64_t t = 0; t < op.x.dim(0); ++t) {
    for (int64_t i = 0; i < op.x.dim(1); ++i) {
      double y = op.scale * value_at(op.x, {t, i});
      if (op.soft_cap > 0) y = op.soft_cap * std::tanh(y / op.soft_cap);
      errors.add(y, value_at(op.out, {t, i}));
    }
  }
  return errors;
}

Errors errors_of(const CombineExperts& before, const CombineExperts& after) {
  Errors errors;
  for (int64_t t = 0; t < before.x.dim(0); ++t) {
    for (int64_t i = 0; i < before.x.dim(2); ++i) {
      double sum = before.accumulate ? value_at(before.out, {t, i}) : 0.0;
      for (int64_t j = 0; j < before.x.dim(1); ++j) {
        sum += value_at(before.weights, {t, j}) * value_at(before.x, {t, j, i});
      }
      errors.add(sum, value_at(after.out, {t, i}));
    }
  }
  return errors;
}

// Chosen experts have to be the best by their exact scores, and their weights near.
Errors errors_of(const SelectExperts& op) {
  Errors errors;
  const int64_t experts = op.logits.dim(1), used = op.ids.dim(1);
  const int64_t group_size = experts / op.num_groups;
  for (int64_t t = 0; t < op.logits.dim(0); ++t) {
    const auto logits = row_at(op.logits, {t});
    std::vector<double> score = logits, choice;
    double sum = 0;
    for (const double v : logits) sum += std::exp(v);
    for (double& v : score) {
      if (op.score == RouterScore::kSoftmax) v = std::exp(v) / sum;
      if (op.score == RouterScore::kSigmoid) v = 1 / (1 + std::exp(-v));
    }
    choice = score;
    for (int64_t e = 0; e < experts && !op.bias.empty(); ++e) {
      choice[static_cast<size_t>(e)] += op.bias.as<float>()[e];
    }
    std::vector<std::pair<double, int64_t>> groups, order;
    for (int64_t g = 0; g < op.num_groups; ++g) {
      std::vector<double> best(choice.begin() + g * group_size,
                               choice.begin() + (g + 1) * group_size);
      std::sort(best.rbegin(), best.rend());
      const bool two = op.group_score == GroupScore::kSumOfTopTwo && group_size > 1;
      groups.emplace_back(-best[0] - (two ? best[1] : 0), g);
    }
    std::sort(groups.begin(), groups.end());
    for (int64_t n = 0; n < op.num_groups_used; ++n) {
      for (int64_t i = 0; i < group_size; ++i) {
        const int64_t e = groups[static_cast<size_t>(n)].second * group_size + i;
        order.emplace_back(-choice[static_cast<size_t>(e)], e);
      }
    }
    std::sort(order.begin(), order.end());
    std::vector<double> weights;
    for (int64_t j = 0; j < used; ++j) {
      const int64_t e = order[static_cast<size_t>(j)].second;
      EXPECT_EQ(op.ids.as<int32_t>()[t * used + j], e) << "token " << t << " slot " << j;
      const double w = score[static_cast<size_t>(e)];
      weights.push_back(op.score == RouterScore::kSoftmaxOfChosen ? std::exp(w) : w);
    }
    double total = 0;
    for (const double w : weights) total += w;
    const bool divide = op.normalize || op.score == RouterScore::kSoftmaxOfChosen;
    for (int64_t j = 0; j < used; ++j) {
      errors.add(weights[static_cast<size_t>(j)] / (divide ? total : 1.0) * op.scale,
                 value_at(op.weights, {t, j}));
    }
  }
  return errors;
}

double activate(Activation kind, double x) {
  switch (kind) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kGelu:
      return 0.5 * x * (1 + std::erf(x * M_SQRT1_2));
    case Activation::kRelu:
      return std::max(x, 0.0);
    case Activation::kReluSquared:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::kSwigluClamped:
      return std::min(x, 7.0) / (1 + std::exp(-1.702 * std::min(x, 7.0)));
  }
  return 0;
}

Errors errors_of(const GatedActivation& op) {
  Errors errors;
  for (int64_t t = 0; t < op.gate.dim(0); ++t) {
    for (int64_t i = 0; i < op.gate.dim(1); ++i) {
      double up = op.up.empty() ? 1.0 : value_at(op.up, {t, i});
      if (op.activation == Activation::kSwigluClamped) up = std::clamp(up, -7.0, 7.0) + 1;
      errors.add(activate(op.activation, value_at(op.gate, {t, i})) * up, value_at(op.out, {t, i}));
    }
  }
  return errors;
}

Errors errors_of(const Rope& before, const Rope& after) {
  Errors errors;
  const int64_t n_rot = before.table.dim(1), half = n_rot / 2;
  for (int64_t t = 0; t < before.x.dim(0); ++t) {
    for (int64_t h = 0; h < before.x.dim(1); ++h) {
      auto expected = row_at(before.x, {t, h});
      const auto actual = row_at(after.x, {t, h});
      for (int64_t i = 0; i < half; ++i) {
        const bool adjacent = before.pairs == RopePairs::kAdjacent;
        double& a = expected[static_cast<size_t>(adjacent ? 2 * i : i)];
        double& b = expected[static_cast<size_t>(adjacent ? 2 * i + 1 : i + half)];
        const double c = value_at(before.table, {t, i}), s = value_at(before.table, {t, half + i});
        const double rotated = a * c - b * s;
        b = a * s + b * c;
        a = rotated;
      }
      for (size_t i = 0; i < expected.size(); ++i) errors.add(expected[i], actual[i]);
    }
  }
  return errors;
}

// In-place ops are judged with the inputs of a second placement that was not run.
template <typename OpType>
Errors run_and_judge(const OpCase& op_case, Backend& backend) {
  PlacedCase placed = PlacedCase::place(op_case, backend).value();
  const PlacedCase untouched = PlacedCase::place(op_case, backend).value();
  EXPECT_TRUE(placed.run().ok());
  OpType op = std::get<OpType>(placed.op());
  const OpType& before = std::get<OpType>(untouched.op());
  if constexpr (std::is_same_v<OpType, RmsNorm> || std::is_same_v<OpType, LayerNorm> ||
                std::is_same_v<OpType, Scale>) {
    op.x = before.x;
    return errors_of(op);
  } else if constexpr (std::is_same_v<OpType, GatedActivation>) {
    op.gate = before.gate;
    return errors_of(op);
  } else if constexpr (std::is_same_v<OpType, Rope> || std::is_same_v<OpType, CombineExperts>) {
    return errors_of(before, op);
  } else {
    return errors_of(op);
  }
}

template <typename OpType>
void judge_all(double limit) {
  auto backend = CpuBackend::create({.num_threads = 1, .isa = Isa::kScalar}).value();
  const std::string name = op_name(Op(OpType{}));
  int judged = 0;
  for (const CaseRow& row : check_cases()) {
    if (row.op != name) continue;
    const OpCase op_case = row.make();
    EXPECT_LE(run_and_judge<OpType>(op_case, *backend).relative(), limit)
        << row.op << " " << row.name;
    ++judged;
  }
  EXPECT_GT(judged, 3);
}

TEST(Reference, Attention) {
  judge_all<Attention>(1e-5);
}
TEST(Reference, RmsNorm) {
  judge_all<RmsNorm>(1e-6);
}
TEST(Reference, GatedActivation) {
  judge_all<GatedActivation>(1e-6);
}
TEST(Reference, LayerNorm) {
  judge_all<LayerNorm>(1e-6);
}
TEST(Reference, Scale) {
  judge_all<Scale>(1e-6);
}
TEST(Reference, SelectExperts) {
  judge_all<SelectExperts>(1e-6);
}
TEST(Reference, CombineExperts) {
  judge_all<CombineExperts>(1e-6);
}
TEST(Reference, Rope) {
  judge_all<Rope>(1e-6);
}

}  // namespace
}  // namespace realm::cpu
