#include "scheduler/fake_runner.h"

#include <algorithm>
#include <thread>

#include "base/check.h"

namespace realm {
namespace {

constexpr uint64_t kStart = 0x243f6a8885a308d3u;

uint64_t mix(uint64_t h, uint64_t value) {
  h = (h ^ value) * 0xff51afd7ed558ccdu;
  h ^= h >> 32;
  h *= 0xc4ceb9fe1a85ec53u;
  return h ^ (h >> 29);
}

}  // namespace

FakeRunner::FakeRunner(FakeOptions options)
    : options_(std::move(options)),
      pool_(options_.num_pages),
      cache_(static_cast<size_t>(options_.num_pages) * kPageTokens, 0),
      host_(static_cast<size_t>(options_.limits.host_pages) * kPageTokens, 0) {
  CHECK(options_.first_token >= 0 && options_.first_token < options_.limits.vocab_size);
}

// What one cached token "is": a digest of itself and everything before it.
uint64_t FakeRunner::digest_after(uint64_t before, Token token) {
  return mix(before, static_cast<uint64_t>(token) + 1);
}

Sampled FakeRunner::sample(uint64_t digest, const Sampler& sampler) const {
  const SamplingParams& params = sampler.params();
  const uint64_t drawn = mix(digest, params.seed);
  const auto choices = static_cast<uint64_t>(options_.limits.vocab_size - options_.first_token);
  Sampled sampled{.token = options_.first_token + static_cast<Token>(drawn % choices),
                  .logprob = 0,
                  .top = {},
                  .surprise = 0};
  if (params.logprobs) {
    sampled.logprob = -static_cast<float>(drawn >> 40) / static_cast<float>(1 << 24);
    for (int32_t i = 0; i < params.top_logprobs && i < options_.limits.vocab_size; ++i) {
      const auto token = static_cast<Token>((sampled.token + i) % options_.limits.vocab_size);
      sampled.top.push_back({token, sampled.logprob - static_cast<float>(i)});
    }
  }
  return sampled;
}

Token FakeRunner::next_token(std::span<const Token> tokens, const Sampler& sampler) const {
  uint64_t digest = kStart;
  for (const Token token : tokens) digest = digest_after(digest, token);
  return sample(digest, sampler).token;
}

Status FakeRunner::constrain(TokenConstraint& constraint, Sampled& sampled) const {
  const std::span<const uint32_t> allowed = TRY(constraint.allowed());
  if (allowed.empty()) return {};
  const auto vocab = static_cast<Token>(options_.limits.vocab_size);
  for (Token i = 0; i < vocab; ++i) {
    const Token token = (sampled.token + i) % vocab;
    if ((allowed[static_cast<size_t>(token / 32)] >> (token % 32) & 1) == 0) continue;
    sampled.token = token;
    return {};
  }
  return Error{ErrorCode::kInvalidArgument, "the output's grammar allows no token"};
}

Status FakeRunner::swap(std::span<const PageSwap> swaps) {
  for (const PageSwap& swap : swaps) {
    CHECK(swap.page >= 0 && swap.page < options_.num_pages);
    CHECK(swap.slot >= 0 && swap.slot < options_.limits.host_pages);
    const auto page = cache_.begin() + swap.page * kPageTokens;
    const auto slot = host_.begin() + swap.slot * kPageTokens;
    if (swap.out) {
      std::copy_n(page, kPageTokens, slot);
      std::fill_n(page, kPageTokens, 0);  // it is another's from here on
    } else {
      std::copy_n(slot, kPageTokens, page);
    }
  }
  return {};
}

Status FakeRunner::run(std::span<const StepWork> work, std::span<StepOutput> out,
                       const Meanwhile& meanwhile) {
  CHECK(work.size() == out.size());
  CHECK(!work.empty() && static_cast<int64_t>(work.size()) <= options_.limits.max_sequences);
  if (options_.before_step) TRY(options_.before_step(work));
  int64_t tokens = 0, sampled = 0;
  for (size_t i = 0; i < work.size(); ++i) {
    Sequence& sequence = *work[i].sequence;
    const int64_t start = sequence.length();
    const auto count = static_cast<int64_t>(work[i].tokens.size());
    CHECK(count > 0 && start + count <= options_.limits.context);
    CHECK(pages_for(start + count) <= static_cast<int64_t>(sequence.pages().size()));
    const auto place = [&](int64_t position) -> uint64_t& {
      const PageId page = sequence.pages()[static_cast<size_t>(position / kPageTokens)];
      return cache_[static_cast<size_t>(page * kPageTokens + position % kPageTokens)];
    };
    uint64_t digest = start == 0 ? kStart : place(start - 1);
    for (int64_t t = 0; t < count; ++t) {
      digest = digest_after(digest, work[i].tokens[static_cast<size_t>(t)]);
      place(start + t) = digest;
    }
    sequence.append(work[i].tokens);
    out[i].status = {};
    tokens += count;
    if (work[i].sampler == nullptr) continue;
    ++sampled;
    out[i].sampled = sample(digest, *work[i].sampler);
    if (work[i].constraint != nullptr) {
      out[i].status = constrain(*work[i].constraint, out[i].sampled);
    }
  }
  CHECK(tokens <= options_.limits.max_step_tokens && sampled <= options_.limits.max_sampled);
  const auto cost = options_.step_cost_base + options_.step_cost_per_token * tokens;
  if (meanwhile) meanwhile();
  if (cost.count() > 0) std::this_thread::sleep_for(cost);
  return options_.after_step ? options_.after_step(work) : Status();
}

}  // namespace realm
