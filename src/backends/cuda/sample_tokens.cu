// A token for each row by its chain of samplers (ops/sample_row.h), a block a row. Nearly all rows
// are decided by a list in shared memory: the best as TopCandidates left them and the tokens whose
// logits the request changes, with a bound and the weight of the rest. Where a sampler needs to
// know more, the chain starts again over the whole row, a copy of it with each token that is
// dropped at -infinity; a pass over 128,000 logits takes some 10 us, and a sampler a few of them.
//
// Both are slots in the order of their tokens, to which the same samplers apply, and a row of which
// little is left goes on as a list.
#include <cfloat>

#include "backends/cuda/context.cuh"
#include "backends/cuda/token_slots.cuh"
#include "ops/sample_row.h"

namespace realm::cuda {
namespace {

constexpr int kListedFirst = 512;  // slots of the list with which a row is begun, at most
constexpr double kLn2 = 0.69314718055994530942;
static_assert(TopCandidates::kMost < kListedFirst && kListedFirst <= kSorted);

// Tokens of the row that are not slots.
struct Rest {
  bool any = false;
  uint64_t below = 0;         // their keys are below this, had they slots
  float most = 0;             // none has a greater logit
  bool weight_known = false;  // no logit of theirs has changed
  double weight = 0;          // of exp(logit - reference)
  float reference = 0;
};

struct Inputs {
  const float *x, *values, *sums;
  const int32_t* tokens;
  const SampleRow* row;
  const LogitChange* changes;
  float* work;
  int n, k;
};

struct Choice {
  int token;
  float surprise;
};

class Chain : Slots {
 public:
  __device__ Chain(SlotMemory& memory, const Inputs& inputs)
      : Slots(memory), in_(inputs), row_(*inputs.row) {}

  // Whether a list holds what is needed of the row at first.
  __device__ bool fits_list() const { return in_.k + num_changes() <= kListedFirst; }

  __device__ void begin_with_list() {
    const int thread = static_cast<int>(threadIdx.x), num = in_.k + num_changes();
    for (int i = thread; i < in_.k; i += kSlotThreads) s_.tokens[i] = in_.tokens[1 + i];
    __syncthreads();
    int padded = 2;
    while (padded < num) padded *= 2;
    for (int i = thread; i < padded; i += kSlotThreads) {
      const int token = i < in_.k ? s_.tokens[i] : i < num ? new_token(i - in_.k) : -1;
      s_.keys[i] = token < 0 ? 0 : listing(token, in_.x[token]);
    }
    list(padded);
    uint64_t weight = 0;
    for_slots([&](int i, float logit) {
      if (tokens_[i] == in_.tokens[in_.k]) s_.place = i;
      weight += weight_of(logit, in_.values[0]);
    });
    weight = sum(s_, weight);
    rest_.any = count_ < in_.n;
    rest_.most = in_.values[in_.k - 1];
    rest_.below = make_key(rest_.most, s_.place);
    rest_.weight_known = true;
    rest_.weight = fmax(in_.sums[0] - static_cast<double>(weight) / kOne, 0.0);
    rest_.reference = in_.values[0];
  }

  __device__ void begin_with_row() {
    for (int i = static_cast<int>(threadIdx.x); i < in_.n; i += kSlotThreads)
      in_.work[i] = in_.x[i];
    logits_ = in_.work;
    tokens_ = nullptr;
    count_ = in_.n;
    rest_ = {};
    sorted_ = lacks_ = false;
    __syncthreads();
  }

  // What the result is worth nothing for: the slots do not decide.
  __device__ bool lacks() const { return lacks_; }

  __device__ Choice choose() {
    adjust(0, row_.num_biases,
           [](float logit, float bias) { return fminf(__fadd_rn(logit, bias), FLT_MAX); });
    find_best();
    if (best_ == 0) return {-2, 0.0f};
    for (int i = 0; i < row_.num_steps && !lacks_; ++i) apply(row_.steps[i]);
    if (row_.mirostat != 0 && !lacks_) mirostat();
    if (lacks_) return {};
    if (row_.greedy != 0) return {token_of(slot_of(best_)), 0.0f};
    return draw();
  }

 private:
  __device__ int num_changes() const { return row_.num_biases + row_.num_penalties + row_.num_dry; }
  // The token of a change, if it is not among the best, which are in s_.tokens, nor of a change
  // before it; else -1.
  __device__ int new_token(int change) const {
    const int token = in_.changes[change].token;
    bool is_new = token >= 0 && token < in_.n;
    for (int i = 0; i < in_.k; ++i) is_new = is_new && s_.tokens[i] != token;
    for (int i = 0; i < change; ++i) is_new = is_new && in_.changes[i].token != token;
    return is_new ? token : -1;
  }

  // Goes on with a list where little is left of a whole row.
  __device__ void shrink() {
    uint64_t number = 0;
    for_slots([&](int, float) { ++number; });
    const auto left = static_cast<int>(sum(s_, number));
    if (left > kSorted) return;
    int padded = 2;
    while (padded < left) padded *= 2;
    for (int i = static_cast<int>(threadIdx.x); i < padded; i += kSlotThreads) s_.keys[i] = 0;
    if (threadIdx.x == 0) s_.num_keys = 0;
    __syncthreads();
    for_slots([&](int token, float logit) {
      s_.keys[atomicAdd(&s_.num_keys, 1)] = listing(token, logit);
    });
    list(padded);
    find_best();
  }

  __device__ void find_best() {
    Slots::find_best();
    if (rest_.any && best_ < rest_.below) lacks_ = true;
  }

  // logit = change(logit, value) for the tokens of a run of changes.
  template <typename Change>
  __device__ void adjust(int first, int num, Change change) {
    const LogitChange* changes = in_.changes + first;
    if (tokens_ == nullptr) {
      for (int j = static_cast<int>(threadIdx.x); j < num; j += kSlotThreads) {
        const auto [token, value] = changes[j];
        if (token < 0 || token >= count_ || logits_[token] == -INFINITY) continue;
        logits_[token] = change(logits_[token], value);
      }
    } else {
      for_slots([&](int i, float logit) {
        for (int j = 0; j < num; ++j) {
          if (changes[j].token == tokens_[i]) logits_[i] = change(logit, changes[j].value);
        }
      });
    }
    __syncthreads();
  }

  // Of the softmax over slots and rest, in units of the best's.
  __device__ uint64_t total_weight() {
    const uint64_t weight = slots_weight();
    if (!rest_.any) return weight;
    // What is left of a sum in single precision when nearly all of it has gone says little.
    if (!rest_.weight_known || rest_.reference - max_ > 2.0f) lacks_ = true;
    const double scale = exp(static_cast<double>(rest_.reference) - max_);
    return lacks_ ? weight : weight + static_cast<uint64_t>(rest_.weight * scale * kOne);
  }

  // Drops what `kept` is false of; whether there was any.
  template <typename Kept>
  __device__ bool keep(Kept kept) {
    bool dropped = rest_.any;
    rest_ = {};
    for_slots([&](int i, float logit) {
      if (kept(i, logit)) return;
      logits_[i] = -INFINITY;
      dropped = true;
    });
    const bool any = __syncthreads_or(dropped) != 0;
    if (any && tokens_ == nullptr) shrink();
    return any;
  }

  // What is better than or at `key` by logit.
  __device__ bool keep_down_to(uint64_t key) {
    if (rest_.any && key < rest_.below) {
      lacks_ = true;
      return false;
    }
    return keep([&](int i, float logit) { return make_key(logit, i) >= key; });
  }

  __device__ void keep_best(int64_t k) {
    if (k >= in_.n) return;
    const uint64_t key = cut(ByLogit{}, {0, k});
    if (key == 0 && !rest_.any) return;  // there are no more than k
    if (keep_down_to(key)) sorted_ = true;
  }

  __device__ void keep_from(double limit, int min_keep) {
    const uint64_t key = key_from(limit);
    if (min_keep > 0 && (!rest_.any || key >= rest_.below)) {
      const Amount reached = amount_within(ByLogit{}, key, ~uint64_t{0}, false);
      if (reached.count < min_keep) return keep_best(min_keep);
    }
    keep_down_to(key);
  }

  __device__ Amount share_of(float share, uint64_t total) const {
    return {static_cast<uint64_t>(ceil(static_cast<double>(share) * static_cast<double>(total))),
            max(row_.min_keep, 1)};
  }

  __device__ void apply(SampleStep step) {
    switch (step) {
      case SampleStep::kPenalties:
        return penalties();
      case SampleStep::kDry:
        return dry();
      case SampleStep::kTopNSigma:
        return top_n_sigma();
      case SampleStep::kTopK:
        return keep_best(row_.top_k);
      case SampleStep::kTypicalP:
        return typical_p();
      case SampleStep::kTopP:
        return top_p();
      case SampleStep::kMinP:
        return keep_from(max_ + log(static_cast<double>(row_.min_p)), row_.min_keep);
      case SampleStep::kXtc:
        return xtc();
      case SampleStep::kTemperature:
        return temperature();
    }
  }

  // No operations are fused here, as on the host.
  __device__ void penalties() {
    const float repeat = row_.repeat_penalty, frequency = row_.frequency_penalty,
                presence = row_.presence_penalty;
    adjust(row_.num_biases, row_.num_penalties, [=](float logit, float count) {
      const float scaled = logit > 0.0f ? __fdiv_rn(logit, repeat) : __fmul_rn(logit, repeat);
      const float penalized = __fsub_rn(__fsub_rn(scaled, __fmul_rn(count, frequency)), presence);
      return fminf(fmaxf(penalized, -FLT_MAX), FLT_MAX);
    });
    find_best();
  }

  __device__ void dry() {
    adjust(row_.num_biases + row_.num_penalties, row_.num_dry,
           [](float logit, float value) { return fmaxf(__fsub_rn(logit, value), -FLT_MAX); });
    find_best();
  }

  __device__ void top_n_sigma() {
    if (rest_.any) {
      lacks_ = true;
      return;
    }
    double total = 0, squares = 0;
    uint64_t number = 0;
    for_slots([&](int, float logit) {
      total += logit;
      ++number;
    });
    const auto count = static_cast<double>(sum(s_, number));
    const double mean = sum(s_, total) / count;
    for_slots([&](int, float logit) { squares += (logit - mean) * (logit - mean); });
    const double deviation = sqrt(sum(s_, squares) / count);
    keep_from(max_ - row_.top_n_sigma * deviation, row_.min_keep);
  }

  __device__ void typical_p() {
    if (rest_.any) {
      lacks_ = true;
      return;
    }
    const uint64_t total = total_weight();
    const double whole = static_cast<double>(total) / kOne;
    const ByTypicality rank{.center = max_ + log(whole) - entropy(total),
                            .lowest = max_ + kWeightless};
    // 0 where min_keep is more than there are: those that have any weight stay.
    const uint64_t key = max(cut(rank, share_of(row_.typical_p, total)), uint64_t{1});
    keep([&](int i, float logit) { return rank.key(i, logit) >= key; });
    sorted_ = true;
    find_best();
  }

  __device__ void top_p() {
    const uint64_t total = total_weight();
    if (lacks_) return;
    const uint64_t key = cut(ByLogit{}, share_of(row_.top_p, total));
    keep_down_to(key);
    sorted_ = true;
  }

  __device__ void xtc() {
    if (row_.xtc_share >= row_.xtc_probability) return;
    if (rest_.any) {
      lacks_ = true;
      return;
    }
    const double whole = static_cast<double>(total_weight()) / kOne;
    const double lowest = max_ + kWeightless, threshold = row_.xtc_threshold;
    const uint64_t limit =
        key_from(threshold > 0.0 ? fmax(max_ + log(threshold * whole), lowest) : lowest);
    // Of the tokens at or above the limit only the last stays.
    uint64_t last = ~uint64_t{0}, likely = 0, kept = 0;
    for_slots([&](int i, float logit) {
      const uint64_t key = make_key(logit, i);
      if (key < limit) return;
      last = min(last, key);
      ++likely;
    });
    last = least(s_, last);
    if (sum(s_, likely) < 2) return;
    const auto stays = [&](int i, float logit) {
      return logit >= lowest && make_key(logit, i) <= last;
    };
    for_slots([&](int i, float logit) { kept += stays(i, logit) ? 1 : 0; });
    if (sum(s_, kept) < static_cast<uint64_t>(max(row_.min_keep, 1))) return;
    keep(stays);
    find_best();
  }

  __device__ double normalized_entropy() {
    uint64_t number = 0;
    for_slots([&](int, float) { ++number; });
    number = sum(s_, number);
    if (number < 2) return 0.0;
    const double share = entropy(total_weight()) / log(static_cast<double>(number));
    return fmin(fmax(share, 0.0), 1.0);
  }

  __device__ void temperature() {
    double divisor = row_.temperature;
    if (row_.dynatemp_range > 0.0f && row_.temperature > 0.0f) {
      if (rest_.any) {
        lacks_ = true;
        return;
      }
      const double low = fmax(0.0f, row_.temperature - row_.dynatemp_range);
      const double high = static_cast<double>(row_.temperature) + row_.dynatemp_range;
      divisor = low + (high - low) *
                          pow(normalized_entropy(), static_cast<double>(row_.dynatemp_exponent));
    }
    // As on the host: where a draw could not notice another token, or the division overflows.
    if (divisor < 1e-6 || fabs(static_cast<double>(max_)) > FLT_MAX * divisor) {
      return keep_best(1);
    }
    const auto by = static_cast<float>(divisor);
    for_slots([&](int i, float logit) { logits_[i] = __fdiv_rn(logit, by); });
    __syncthreads();
    if (rest_.any) {
      // Different logits may have become equal.
      rest_.most = __fdiv_rn(rest_.most, by);
      rest_.below = (uint64_t{key_of(rest_.most)} + 1) << 32;
      rest_.weight_known = false;
    }
    find_best();
  }

  __device__ void mirostat() {
    const double whole = static_cast<double>(total_weight()) / kOne;
    if (lacks_) return;
    keep_from(max_ + log(whole) - row_.mirostat_mu * kLn2, 1);
  }

  __device__ Choice draw() {
    if (rest_.any) {
      lacks_ = true;
      return {};
    }
    const uint64_t total = total_weight();
    const auto share =
        static_cast<uint64_t>(static_cast<double>(row_.token_share) * static_cast<double>(total));
    const Amount wanted{min(share, total - 1) + 1, 1};
    const int slot = slot_of(sorted_ ? cut(ByLogit{}, wanted) : cut(ByToken{}, wanted));
    const double surprise = log(static_cast<double>(total) / kOne) - (logits_[slot] - max_);
    return {token_of(slot), static_cast<float>(surprise / kLn2)};
  }

  const Inputs& in_;
  const SampleRow& row_;
  Rest rest_;
  bool sorted_ = false;
  bool lacks_ = false;
};

struct Views {
  Rows x, values, tokens, sums, settings, work, facts;
  const LogitChange* changes;
  int32_t* chosen;
  int n, k;
};

__global__ void __launch_bounds__(kSlotThreads) sample_tokens(const Views views) {
  __shared__ SlotMemory s;
  may_start_next();
  wait_for_inputs();
  const int64_t row = blockIdx.x;
  const auto* wanted = reinterpret_cast<const SampleRow*>(views.settings.row(row));
  const Inputs in{.x = views.x.row(row),
                  .values = views.values.row(row),
                  .sums = views.sums.row(row),
                  .tokens = reinterpret_cast<const int32_t*>(views.tokens.row(row)),
                  .row = wanted,
                  .changes = views.changes + wanted->first_change,
                  .work = views.work.row(row),
                  .n = views.n,
                  .k = views.k};
  Choice choice{-1, 0.0f};
  if (wanted->chooses != 0 && in.tokens[0] >= 0) {  // else nothing is asked for, or not finite
    Chain chain(s, in);
    for (bool whole = !chain.fits_list();; whole = true) {
      if (whole) {
        chain.begin_with_row();
      } else {
        chain.begin_with_list();
      }
      choice = chain.choose();
      if (!chain.lacks()) break;
    }
  }
  if (threadIdx.x != 0) return;
  views.chosen[row] = choice.token;
  views.facts.row(row)[0] = choice.token >= 0 ? in.x[choice.token] : 0.0f;
  views.facts.row(row)[1] = choice.surprise;
}

}  // namespace

Status run(Context& context, const SampleTokens& op) {
  if (op.x.dim(0) == 0) return {};
  const Views views{.x = Rows(op.x),
                    .values = Rows(op.values),
                    .tokens = Rows(op.tokens),
                    .sums = Rows(op.sums),
                    .settings = Rows(op.settings),
                    .work = Rows(op.work),
                    .facts = Rows(op.facts),
                    .changes = op.changes.as<const LogitChange>(),
                    .chosen = op.chosen.as<int32_t>(),
                    .n = static_cast<int>(op.x.dim(1)),
                    .k = static_cast<int>(op.values.dim(1))};
  return launch("sample_tokens", sample_tokens, static_cast<unsigned>(op.x.dim(0)), kSlotThreads, 0,
                context.stream, views);
}

}  // namespace realm::cuda
