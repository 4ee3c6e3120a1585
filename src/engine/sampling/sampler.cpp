#include "engine/sampling/sampler.h"

#include <algorithm>
#include <limits>

#include "engine/sampling/portable_math.h"

namespace realm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kLn2 = 0.69314718055994530942;
// Below, weights but the greatest underflow, and apply_temperature's own rules decide.
constexpr float kLeastDeviceTemperature = 1e-4f;

// The slot at which the running sum of exp(logit - max) passes share * total, share in [0, 1).
size_t draw_slot(const Candidates& candidates, const SoftmaxScale& softmax, double share) {
  const std::span<const float> logits = candidates.logits();
  const std::span<const double> blocks = candidates.block_sums();
  double left = share * softmax.sum;
  size_t block = 0;
  while (block + 1 < blocks.size() && left >= blocks[block]) left -= blocks[block++];
  // A middle block has weight since its sum is above `left`; rounding may leave the last one
  // without.
  while (block > 0 && blocks[block] == 0.0) --block;
  // Within the block, rounding may carry the search past its last weight; that one it is then.
  size_t slot = block * kExpBlock;
  for (size_t i = slot; i < std::min((block + 1) * kExpBlock, logits.size()); ++i) {
    const float weight = exp_float(logits[i] - softmax.max_logit);
    if (weight <= 0.0f) continue;
    slot = i;
    if (left < weight) break;
    left -= weight;
  }
  return slot;
}

Error no_token_left() {
  return Error{ErrorCode::kInvalidArgument,
               "no token is left to choose from: logit_bias and the output's grammar forbid all "
               "that the model finds possible"};
}

// A share for a device; rounding may have made it 1.
float device_share(double share) {
  return std::min(static_cast<float>(share), 0x1.fffffep-1f);
}

// `logit`: of the token that was sampled; `best`: of the top ones.
void report_logprobs(const SoftmaxScale& softmax, float logit, std::span<const Candidate> best,
                     Sampled& sampled) {
  const double log_total = softmax.max_logit + log_double(softmax.sum);
  const auto logprob = [&](float of) {
    return of == -kInfinity ? kLowestLogprob
                            : std::max(static_cast<float>(of - log_total), kLowestLogprob);
  };
  sampled.logprob = logprob(logit);
  for (const Candidate& entry : best) sampled.top.push_back({entry.token, logprob(entry.logit)});
}

}  // namespace

Sampler::Sampler(SamplingParams params, TokenText token_text)
    : params_(std::move(params)),
      history_(params_, std::move(token_text)),
      mirostat_mu_(2.0 * params_.mirostat_tau) {
  if (params_.samplers.empty()) {
    for (const SamplerRow& row : samplers_table()) order_.push_back(&row);
  } else {
    for (const std::string& name : params_.samplers) {
      const SamplerRow* row = find_sampler(name);
      CHECK(row != nullptr);
      order_.push_back(row);
    }
  }
  const bool no_truncation = is_greedy() || params_.mirostat != 0;
  std::erase_if(order_, [&](const SamplerRow* row) {
    return !row->active(params_) || (no_truncation && row->truncates);
  });
  for (const auto& [token, bias] : params_.logit_bias) bias_[token] += bias;
  const bool only_temperature =
      std::all_of(order_.begin(), order_.end(),
                  [](const SamplerRow* row) { return row->apply == apply_temperature; });
  plain_draw_ = !is_greedy() && params_.mirostat == 0 && bias_.empty() && only_temperature &&
                (order_.empty() || (params_.dynatemp_range == 0.0f &&
                                    params_.temperature >= kLeastDeviceTemperature));
  plain_best_ = is_greedy() && bias_.empty() && only_temperature;
}

bool Sampler::is_greedy() const {
  return params_.temperature == 0.0f &&
         std::any_of(order_.begin(), order_.end(),
                     [](const SamplerRow* row) { return row->apply == apply_temperature; });
}

Status Sampler::narrow(std::span<const uint32_t> allowed, Candidates& candidates) const {
  if (!allowed.empty()) candidates.mask(allowed);
  candidates.adjust(bias_, [](float logit, float bias) {
    return std::min(logit + bias, std::numeric_limits<float>::max());
  });
  // Samplers always leave a token; bias and mask need not.
  if ((!allowed.empty() || !bias_.empty()) && candidates.max_logit() == -kInfinity &&
      !candidates.lacks()) {
    return no_token_left();
  }
  const Step step{params_, history_, step_};
  for (const SamplerRow* row : order_) {
    if (row->needs_all && candidates.has_rest()) candidates.lack();
    if (candidates.lacks()) return {};
    row->apply(candidates, step);
  }
  if (params_.mirostat != 0) apply_mirostat(candidates, mirostat_mu_);
  return {};
}

Result<Sampled> Sampler::sample(std::span<const float> logits, std::span<const uint32_t> allowed,
                                Candidates& scratch) const {
  TRY(scratch.reset(logits));
  TRY(narrow(allowed, scratch));

  Sampled sampled{};
  choose(scratch, sampled);
  if (params_.logprobs) {
    TRY(scratch.reset(logits));
    std::vector<Candidate> best;
    select_best(logits, {}, static_cast<size_t>(params_.top_logprobs), best);
    report_logprobs(scratch.softmax(), logits[static_cast<size_t>(sampled.token)], best, sampled);
  }
  return sampled;
}

void Sampler::choose(Candidates& candidates, Sampled& sampled) const {
  if (is_greedy()) {
    sampled.token = candidates.best().token;
    return;
  }
  if (candidates.has_rest()) return candidates.lack();
  const SoftmaxScale softmax = candidates.softmax();
  const double share = uniform_draw(params_.seed, step_, DrawPurpose::kToken);
  const size_t slot = draw_slot(candidates, softmax, share);
  sampled.token = candidates.token(slot);
  sampled.surprise =
      (log_double(softmax.sum) - (candidates.logits()[slot] - softmax.max_logit)) / kLn2;
}

Result<std::optional<Sampled>> Sampler::sample(const RowSummary& row,
                                               std::span<const uint32_t> allowed,
                                               Candidates& scratch) const {
  const auto num_top = static_cast<size_t>(params_.logprobs ? params_.top_logprobs : 0);
  if (num_top > row.tokens.size() && row.tokens.size() < row.vocab) return std::optional<Sampled>();
  Sampled sampled{};
  float logit = row.drawn_logit;
  if (row.choice && allowed.empty()) {
    if (row.choice->token < 0) return no_token_left();
    sampled.token = row.choice->token;
    sampled.surprise = static_cast<double>(row.choice->surprise);
    logit = row.choice->logit;
  } else if (plain_draw_ && allowed.empty()) {
    sampled.token = row.drawn;
  } else {
    scratch.reset_to_best(row);
    TRY(narrow(allowed, scratch));
    if (!scratch.lacks()) choose(scratch, sampled);
    if (scratch.lacks()) return std::optional<Sampled>();
    const auto at = std::find(row.tokens.begin(), row.tokens.end(), sampled.token);
    logit = row.logits[static_cast<size_t>(at - row.tokens.begin())];
  }
  if (params_.logprobs) {
    std::vector<Candidate> best;
    for (size_t i = 0; i < std::min(num_top, row.tokens.size()); ++i) {
      best.push_back({row.logits[i], row.tokens[i]});
    }
    report_logprobs({row.logits[0], row.sum}, logit, best, sampled);
  }
  return std::optional<Sampled>(std::move(sampled));
}

DeviceDraw Sampler::device_draw() const {
  if (!plain_draw_) return {};
  return {.inverse_temperature = order_.empty() ? 1.0f : 1.0f / params_.temperature,
          .share = device_share(uniform_draw(params_.seed, step_, DrawPurpose::kToken))};
}

bool Sampler::device_row(SampleRow& row, std::vector<LogitChange>& changes,
                         size_t max_changes) const {
  if (!needs_chain()) return false;
  SampleRow chain;
  for (const SamplerRow* sampler : order_) {
    // The best is taken anyway.
    if (is_greedy() && sampler == order_.back() && sampler->step == SampleStep::kTemperature) break;
    if (chain.num_steps == SampleRow::kMostSteps) return false;
    chain.steps[chain.num_steps++] = sampler->step;
  }
  chain.chooses = 1;
  chain.greedy = is_greedy() ? 1 : 0;
  chain.token_share = device_share(uniform_draw(params_.seed, step_, DrawPurpose::kToken));
  chain.xtc_share = device_share(uniform_draw(params_.seed, step_, DrawPurpose::kXtc));
  chain.temperature = params_.temperature;
  chain.dynatemp_range = params_.dynatemp_range;
  chain.dynatemp_exponent = params_.dynatemp_exponent;
  chain.top_k = params_.top_k;
  chain.top_p = params_.top_p;
  chain.min_p = params_.min_p;
  chain.typical_p = params_.typical_p;
  chain.top_n_sigma = params_.top_n_sigma;
  chain.xtc_probability = params_.xtc_probability;
  chain.xtc_threshold = params_.xtc_threshold;
  chain.repeat_penalty = params_.repeat_penalty;
  chain.presence_penalty = params_.presence_penalty;
  chain.frequency_penalty = params_.frequency_penalty;
  chain.min_keep = params_.min_keep;
  chain.mirostat = is_greedy() ? 0 : params_.mirostat;
  chain.mirostat_mu = static_cast<float>(mirostat_mu_);
  if (!append_changes(chain, changes, max_changes)) return false;
  row = chain;
  return true;
}

// False, with nothing appended, where there are more than fit.
bool Sampler::append_changes(SampleRow& row, std::vector<LogitChange>& changes,
                             size_t max_changes) const {
  const auto has = [&](SampleStep step) {
    return std::any_of(order_.begin(), order_.end(),
                       [&](const SamplerRow* sampler) { return sampler->step == step; });
  };
  const size_t first = changes.size();
  const auto append = [&](const auto& values) {
    if (values.size() > max_changes - changes.size()) return false;
    for (const auto& [token, value] : values) changes.push_back({token, static_cast<float>(value)});
    return true;
  };
  const std::unordered_map<Token, int32_t> none;
  const auto dry = has(SampleStep::kDry) ? dry_penalties({params_, history_, step_})
                                         : std::unordered_map<Token, float>();
  const auto& seen = has(SampleStep::kPenalties) ? history_.counts() : none;
  if (!append(bias_) || !append(seen) || !append(dry)) {
    changes.resize(first);
    return false;
  }
  row.first_change = static_cast<int32_t>(first);
  row.num_biases = static_cast<int32_t>(bias_.size());
  row.num_penalties = static_cast<int32_t>(seen.size());
  row.num_dry = static_cast<int32_t>(dry.size());
  return true;
}

void Sampler::accept(const Sampled& sampled) {
  if (params_.mirostat != 0 && !is_greedy()) {
    mirostat_mu_ -= params_.mirostat_eta * (sampled.surprise - params_.mirostat_tau);
  }
  accept_forced(sampled.token);
}

void Sampler::accept_forced(Token token) {
  history_.push(token);
  ++step_;
}

}  // namespace realm
