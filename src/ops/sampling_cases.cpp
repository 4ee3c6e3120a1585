// The cases of SampleTokens: each sampler alone and in chains, over rows that the best candidates
// decide and rows that they do not. A share of a draw falls well within a token's part, so that
// rounding decides nothing.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include "ops/case_builder.h"
#include "ops/case_list.h"
#include "ops/sample_row.h"

namespace realm {
namespace {

using enum SampleStep;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Request {
  SampleRow row;
  std::vector<LogitChange> biases = {}, penalties = {}, dry = {};
};

Request request(const std::vector<SampleStep>& steps, float share,
                const std::function<void(SampleRow&)>& set = {}) {
  Request made;
  SampleRow& row = made.row;
  row.chooses = 1;
  row.num_steps = static_cast<int32_t>(steps.size());
  std::copy(steps.begin(), steps.end(), row.steps);
  row.token_share = share;
  if (set) set(row);
  return made;
}

// What the rows of logits are drawn from; in steps, many are equal.
struct Logits {
  int64_t n;
  float spread = 3.0f, center = 0.0f, step = 0.0f;
};

std::vector<float> draw_logits(const Logits& of, std::mt19937& random) {
  std::normal_distribution<float> normal(of.center, of.spread);
  std::vector<float> values(static_cast<size_t>(of.n));
  for (float& value : values) {
    value = normal(random);
    if (of.step > 0) value = std::round(value / of.step) * of.step;
  }
  return values;
}

OpCase sample_case(const std::vector<std::vector<float>>& logits,
                   const std::vector<Request>& requests) {
  const auto rows = static_cast<int64_t>(logits.size());
  const auto n = static_cast<int64_t>(logits[0].size());
  const int64_t k = std::min(TopCandidates::kMost, n);
  std::vector<float> x, values, sums;
  std::vector<int32_t> tokens, settings, changes;
  for (size_t i = 0; i < logits.size(); ++i) {
    const std::vector<float>& row = logits[i];
    x.insert(x.end(), row.begin(), row.end());
    std::vector<int32_t> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
      const float of_a = row[static_cast<size_t>(a)], of_b = row[static_cast<size_t>(b)];
      return of_a != of_b ? of_a > of_b : a < b;
    });
    tokens.push_back(order[0]);
    for (int64_t j = 0; j < k; ++j) {
      tokens.push_back(order[static_cast<size_t>(j)]);
      values.push_back(row[static_cast<size_t>(tokens.back())]);
    }
    const double largest = row[static_cast<size_t>(order[0])];
    double sum = 0;
    for (const float value : row) sum += std::exp(value - largest);
    sums.insert(sums.end(), {static_cast<float>(sum), static_cast<float>(largest)});

    const Request& wanted = requests[i];
    SampleRow setting = wanted.row;
    setting.first_change = static_cast<int32_t>(changes.size() / 2);
    setting.num_biases = static_cast<int32_t>(wanted.biases.size());
    setting.num_penalties = static_cast<int32_t>(wanted.penalties.size());
    setting.num_dry = static_cast<int32_t>(wanted.dry.size());
    for (const auto* run : {&wanted.biases, &wanted.penalties, &wanted.dry}) {
      for (const LogitChange& change : *run) {
        changes.push_back(change.token);
        changes.push_back(std::bit_cast<int32_t>(change.value));
      }
    }
    const size_t at = settings.size();
    settings.resize(at + SampleRow::kWords);
    std::memcpy(settings.data() + at, &setting, sizeof setting);
  }
  CaseBuilder b(1);
  const auto as_rows = [&](TensorView view, int64_t columns) {
    return make_view(view.data, DType::kF32, {rows, columns});
  };
  const auto num_changes = static_cast<int64_t>(changes.size() / 2);
  return b.finish(SampleTokens{.x = as_rows(b.values(x), n),
                               .values = as_rows(b.values(values), k),
                               .tokens = b.ints(tokens, rows, 1 + k),
                               .sums = as_rows(b.values(sums), 2),
                               .settings = b.ints(settings, rows, SampleRow::kWords),
                               .changes = b.ints(changes, num_changes, 2),
                               .work = b.output({rows, n}, {12, 4}),
                               .chosen = b.output_ints({rows}),
                               .facts = b.output({rows, 2}, {8, 0})});
}

OpCase drawn_case(const Logits& of, const std::vector<Request>& requests) {
  std::mt19937 random(static_cast<uint32_t>(of.n));
  std::vector<std::vector<float>> logits;
  for (size_t i = 0; i < requests.size(); ++i) logits.push_back(draw_logits(of, random));
  return sample_case(logits, requests);
}

// One sampler and a draw, with shares from low to high.
std::vector<Request> alone(SampleStep step, const std::function<void(SampleRow&)>& set) {
  std::vector<Request> made;
  for (const float share : {0.004f, 0.37f, 0.81f, 0.993f}) {
    made.push_back(request({step}, share, set));
  }
  return made;
}

struct Alone {
  const char* name;
  SampleStep step;
  std::function<void(SampleRow&)> set;
};

const std::vector<Alone>& samplers() {
  using R = SampleRow;
  static const std::vector<Alone> kSamplers = {
      {"top_n_sigma", kTopNSigma, [](R& r) { r.top_n_sigma = 1.3f; }},
      {"top_n_sigma of nothing but the best", kTopNSigma, [](R& r) { r.top_n_sigma = 1e-4f; }},
      {"top_n_sigma, min_keep", kTopNSigma, [](R& r) { r.top_n_sigma = 0.01f, r.min_keep = 20; }},
      {"top_k 1", kTopK, [](R& r) { r.top_k = 1; }},
      {"top_k 40", kTopK, [](R& r) { r.top_k = 40; }},
      {"top_k 128", kTopK, [](R& r) { r.top_k = 128; }},
      {"top_k 129", kTopK, [](R& r) { r.top_k = 129; }},
      {"top_k 3000", kTopK, [](R& r) { r.top_k = 3000; }},
      {"top_k of more than there are", kTopK, [](R& r) { r.top_k = 1 << 30; }},
      {"typical_p", kTypicalP, [](R& r) { r.typical_p = 0.6f; }},
      {"typical_p of one", kTypicalP, [](R& r) { r.typical_p = 0.0f; }},
      {"typical_p, min_keep", kTypicalP, [](R& r) { r.typical_p = 0.01f, r.min_keep = 300; }},
      {"top_p 0", kTopP, [](R& r) { r.top_p = 0.0f; }},
      {"top_p 0.4", kTopP, [](R& r) { r.top_p = 0.4f; }},
      {"top_p 0.95", kTopP, [](R& r) { r.top_p = 0.95f; }},
      {"top_p, min_keep", kTopP, [](R& r) { r.top_p = 0.02f, r.min_keep = 200; }},
      {"top_p, min_keep of more than there are", kTopP,
       [](R& r) { r.top_p = 0.5f, r.min_keep = 1 << 30; }},
      {"min_p", kMinP, [](R& r) { r.min_p = 0.1f; }},
      {"min_p low", kMinP, [](R& r) { r.min_p = 1e-5f; }},
      {"min_p 1, min_keep", kMinP, [](R& r) { r.min_p = 1.0f, r.min_keep = 7; }},
      {"xtc", kXtc, [](R& r) { r.xtc_probability = 0.5f, r.xtc_threshold = 0.005f; }},
      {"xtc by chance not", kXtc,
       [](R& r) { r.xtc_probability = 0.5f, r.xtc_threshold = 0.005f, r.xtc_share = 0.5f; }},
      {"xtc of all, min_keep", kXtc,
       [](R& r) { r.xtc_probability = 1.0f, r.xtc_threshold = 0.0f, r.min_keep = 5; }},
      {"temperature 0.6", kTemperature, [](R& r) { r.temperature = 0.6f; }},
      {"temperature 1.7", kTemperature, [](R& r) { r.temperature = 1.7f; }},
      {"temperature of next to nothing", kTemperature, [](R& r) { r.temperature = 1e-7f; }},
      {"dynamic temperature", kTemperature,
       [](R& r) { r.temperature = 1.1f, r.dynatemp_range = 0.7f, r.dynatemp_exponent = 1.6f; }},
  };
  return kSamplers;
}

void alone_cases(std::vector<CaseRow>& rows) {
  // Few tokens; peaked rows, whose best 128 have nearly all the weight; flat ones; all below zero.
  const std::pair<const char*, Logits> kinds[] = {{"n 90", {.n = 90}},
                                                  {"n 5000", {.n = 5000, .spread = 5.0f}},
                                                  {"n 5001, flat", {.n = 5001, .spread = 1.0f}},
                                                  {"n 40001", {.n = 40001, .center = -30.0f}}};
  for (const Alone& sampler : samplers()) {
    for (const auto& [title, logits] : kinds) {
      rows.push_back(
          {"sample_tokens", std::string(sampler.name) + ", " + title, [&sampler, logits = logits] {
             return drawn_case(logits, alone(sampler.step, sampler.set));
           }});
    }
  }
}

std::vector<LogitChange> every(int64_t n, int64_t stride, float value) {
  std::vector<LogitChange> made;
  for (int64_t token = 3; token < n; token += stride) {
    made.push_back({static_cast<int32_t>(token), value + 0.125f * static_cast<float>(token % 3)});
  }
  return made;
}

void change_cases(std::vector<CaseRow>& rows) {
  const auto penalized = [](SampleRow& row) {
    row.repeat_penalty = 1.3f, row.frequency_penalty = 0.3f, row.presence_penalty = 0.2f;
  };
  const auto favoured = [](SampleRow& row) {
    row.repeat_penalty = 0.7f, row.frequency_penalty = -1.5f, row.presence_penalty = -2.0f;
  };
  // Changes that a list holds, and more than that.
  for (const int64_t stride : {700, 100, 11}) {
    for (const bool greedy : {true, false}) {
      const std::string name = std::string(greedy ? "greedy" : "drawn") + ", changes of every " +
                               std::to_string(stride) + "th";
      rows.push_back(
          {"sample_tokens", name, [=] {
             constexpr int64_t kN = 20000;
             std::vector<Request> all;
             for (const auto& set : {+penalized, +favoured}) {
               all.push_back(request({kPenalties, kDry}, 0.43f, set));
               all.back().penalties = every(kN, stride, 1.0f);
               all.push_back(request({kPenalties, kDry}, 0.77f, set));
               all.back().biases = every(kN, 3 * stride, -1.0f);
               all.back().penalties = every(kN, stride, 2.0f);
               all.back().dry = every(kN, 2 * stride, 0.8f);
               all.push_back(request({kDry, kTopK, kPenalties, kTopP, kMinP}, 0.6f, set));
               all.back().row.top_k = 50, all.back().row.top_p = 0.9f;
               all.back().row.min_p = 0.01f;
               all.back().biases = every(kN, stride, 7.0f);
               all.back().penalties = every(kN, 2 * stride, 1.0f);
               all.back().dry = every(kN, 2 * stride, 2.0f);
               all.push_back(request({kPenalties, kTopP}, 0.9f, set));
               all.back().row.top_p = 0.8f;
               all.back().penalties = every(kN, stride, 1.0f);
             }
             for (Request& one : all) one.row.greedy = greedy ? 1 : 0;
             return drawn_case({.n = kN, .spread = 4.0f}, all);
           }});
    }
  }
  rows.push_back({"sample_tokens", "bias that picks, forbids or leaves nothing", [] {
                    std::vector<Request> all;
                    for (const int greedy : {0, 1}) {
                      all.push_back(request({}, 0.5f));
                      all.back().biases = {{41, 100.0f}};
                      all.push_back(request({kTopK}, 0.5f));
                      all.back().row.top_k = 20;
                      for (int32_t t = 0; t < 300; ++t) {
                        if (t != 41 && t != 170) all.back().biases.push_back({t, -kInfinity});
                      }
                      all.push_back(request({kTopP}, 0.5f));
                      all.back().row.top_p = 0.9f;
                      for (int32_t t = 0; t < 300; ++t)
                        all.back().biases.push_back({t, -kInfinity});
                      all.push_back(request({kMinP}, 0.5f));
                      all.back().row.min_p = 0.5f;
                      all.back().biases = {{299, 3e38f}, {298, -3e38f}};
                      for (Request& one : all) one.row.greedy = greedy;
                    }
                    return drawn_case({.n = 300}, all);
                  }});
  rows.push_back({"sample_tokens", "the best forbidden", [] {
                    // All that is listed, so that another decides; and one with nearly all weight.
                    std::vector<float> slope(6000), peak(6000);
                    for (size_t i = 0; i < slope.size(); ++i) {
                      slope[i] = 3.0f - 0.01f * static_cast<float>(i);
                      peak[i] = i == 77 ? 30.0f : 0.002f * static_cast<float>(i % 1000);
                    }
                    Request listed = request({kTopP}, 0.3f), best = request({kTopP}, 0.61f);
                    listed.row.top_p = best.row.top_p = 0.7f;
                    for (int32_t t = 0; t < 128; ++t) listed.biases.push_back({t, -kInfinity});
                    best.biases = {{77, -kInfinity}};
                    Request greedy = listed;
                    greedy.row.greedy = 1;
                    return sample_case({slope, peak, slope}, {listed, best, greedy});
                  }});
}

void chain_cases(std::vector<CaseRow>& rows) {
  const std::vector<SampleStep> usual = {kPenalties, kDry,  kTopNSigma, kTopK,       kTypicalP,
                                         kTopP,      kMinP, kXtc,       kTemperature};
  const auto mild = [](SampleRow& row) {
    row.top_n_sigma = 3.5f, row.top_k = 60, row.typical_p = 0.95f, row.top_p = 0.9f;
    row.min_p = 0.02f, row.xtc_probability = 0.5f, row.xtc_threshold = 0.1f, row.xtc_share = 0.2f;
    row.temperature = 0.8f, row.repeat_penalty = 1.1f;
  };
  const auto chain = [&rows](const std::string& name, const Logits& logits,
                             const std::vector<SampleStep>& steps,
                             const std::function<void(SampleRow&)>& set) {
    rows.push_back({"sample_tokens", name, [=] {
                      std::vector<Request> all;
                      for (const float share : {0.02f, 0.31f, 0.64f, 0.97f}) {
                        all.push_back(request(steps, share, set));
                        all.back().penalties = every(logits.n, 37, 1.0f);
                      }
                      return drawn_case(logits, all);
                    }});
  };
  const std::vector<SampleStep> backwards(usual.rbegin(), usual.rend());
  for (const int64_t n : {50, 3001, 128256}) {
    const std::string of = ", n " + std::to_string(n);
    chain("all in the usual order" + of, {.n = n}, usual, mild);
    chain("all in the usual order, in steps" + of, {.n = n, .step = 0.25f}, usual, mild);
    chain("all backwards" + of, {.n = n}, backwards, mild);
    chain("without top_n_sigma" + of, {.n = n}, {kPenalties, kTopK, kTopP, kMinP, kTemperature},
          mild);
    chain("temperature before top_p" + of, {.n = n}, {kTemperature, kTopP, kMinP}, mild);
    chain("top_p twice" + of, {.n = n}, {kTopP, kTemperature, kTopP}, mild);
    chain("dynamic temperature after min_p" + of, {.n = n}, {kMinP, kTemperature},
          [&](SampleRow& row) { row.min_p = 0.01f, row.dynatemp_range = 0.6f; });
    chain("nothing but a draw" + of, {.n = n}, {}, {});
    chain("penalties and a temperature" + of, {.n = n}, {kPenalties, kTemperature},
          [](SampleRow& row) { row.frequency_penalty = 0.4f, row.temperature = 0.7f; });
    for (const float mu : {0.01f, 3.0f, 9.0f}) {
      chain("mirostat mu " + std::to_string(mu) + of, {.n = n}, {kPenalties, kTemperature},
            [mu](SampleRow& row) { row.mirostat = 2, row.mirostat_mu = mu; });
    }
  }
}

void odd_cases(std::vector<CaseRow>& rows) {
  rows.push_back({"sample_tokens", "rows that ask for nothing", [] {
                    Request one = request({kTopK}, 0.5f);
                    one.row.top_k = 3;
                    return drawn_case({.n = 1000}, {{}, one, {}, one, {}});
                  }});
  rows.push_back({"sample_tokens", "one token", [] {
                    Request greedy = request({}, 0.5f), all = request({kTopK, kTopP, kXtc}, 0.9f);
                    greedy.row.greedy = 1;
                    all.row.top_k = 1, all.row.top_p = 0.5f, all.row.xtc_probability = 1.0f;
                    return drawn_case({.n = 1}, {greedy, all, request({}, 0.99f)});
                  }});
  rows.push_back({"sample_tokens", "a row that is not finite", [] {
                    OpCase made = drawn_case({.n = 40}, {request({}, 0.5f), request({}, 0.5f)});
                    // TopCandidates says so.
                    const auto& op = std::get<SampleTokens>(made.op);
                    for (CaseTensor& tensor : made.tensors) {
                      if (tensor.address != reinterpret_cast<uintptr_t>(op.tokens.data)) continue;
                      std::fill_n(tensor.initial.begin() + 41 * 4, 41 * 4, std::byte{0xff});
                    }
                    return made;
                  }});
  // Of equal ones the lowest tokens are taken, wherever they are.
  for (const size_t n : {100, 6000}) {
    rows.push_back({"sample_tokens", "all equal, n " + std::to_string(n), [n] {
                      const std::vector<float> flat(n, -2.5f);
                      std::vector<Request> all;
                      for (const auto& sampler : samplers()) {
                        all.push_back(request({sampler.step}, 0.123f, sampler.set));
                      }
                      all.push_back(request({}, 0.5f));
                      all.back().row.greedy = 1;
                      all.push_back(request({kPenalties}, 0.5f));
                      all.back().row.greedy = 1, all.back().row.presence_penalty = 1.0f;
                      all.back().penalties = {{0, 1.0f}, {1, 1.0f}};
                      return sample_case(std::vector(all.size(), flat), all);
                    }});
  }
  rows.push_back({"sample_tokens", "logits of every size", [] {
                    std::vector<float> logits(5000);
                    for (size_t i = 0; i < logits.size(); ++i) {
                      const float size = std::pow(10.0f, static_cast<float>(i % 76) - 37.5f);
                      logits[i * 7 % 5000] = i % 3 == 0 ? size : -size;
                    }
                    std::vector<Request> all;
                    for (const auto& sampler : samplers()) {
                      all.push_back(request({sampler.step}, 0.45f, sampler.set));
                    }
                    return sample_case(std::vector(all.size(), logits), all);
                  }});
}

}  // namespace

void sampling_check_cases(std::vector<CaseRow>& rows) {
  alone_cases(rows);
  change_cases(rows);
  chain_cases(rows);
  odd_cases(rows);
}

void sampling_bench_cases(std::vector<CaseRow>& rows) {
  constexpr int64_t kN = 128256;
  const auto bench = [&rows](const char* name, const Logits& logits, const Request& wanted) {
    for (const size_t num : {size_t{1}, size_t{64}}) {
      rows.push_back({"sample_tokens", std::to_string(num) + " x 128256, " + name,
                      [=] {
                        std::mt19937 random(5);
                        const std::vector<float> row = draw_logits(logits, random);
                        return sample_case(std::vector(num, row), std::vector(num, wanted));
                      },
                      static_cast<double>(num * 4 * kN)});
    }
  };
  Request usual =
      request({kPenalties, kTopK, kTopP, kMinP, kTemperature}, 0.4f, [](SampleRow& row) {
        row.repeat_penalty = 1.1f, row.top_k = 40, row.top_p = 0.95f, row.min_p = 0.05f;
        row.temperature = 0.8f;
      });
  usual.penalties = every(6400, 100, 1.0f);
  bench("top_k, top_p, min_p", {.n = kN}, usual);
  bench("top_p of a flat row", {.n = kN, .spread = 1.0f},
        request({kTopP}, 0.4f, [](SampleRow& row) { row.top_p = 0.95f; }));
  bench("typical_p", {.n = kN},
        request({kTypicalP}, 0.4f, [](SampleRow& row) { row.typical_p = 0.9f; }));
  Request penalized = request({kPenalties, kTemperature}, 0.4f, [](SampleRow& row) {
    row.frequency_penalty = 0.4f, row.temperature = 0.7f;
  });
  penalized.penalties = usual.penalties;
  bench("penalties and a draw", {.n = kN}, penalized);
}

}  // namespace realm
