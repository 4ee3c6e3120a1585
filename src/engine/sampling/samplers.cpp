#include "engine/sampling/samplers.h"

#include <array>

namespace realm {
namespace {

using P = SamplingParams;

constexpr auto kSamplers = std::to_array<SamplerRow>({
    {"penalties", "", penalties_active, apply_penalties, SampleStep::kPenalties, false},
    {"dry", "", dry_active, apply_dry, SampleStep::kDry, false},
    {"top_n_sigma", "", [](const P& p) { return p.top_n_sigma > 0.0f; }, apply_top_n_sigma,
     SampleStep::kTopNSigma, true, true},
    {"top_k", "", [](const P& p) { return p.top_k > 0; }, apply_top_k, SampleStep::kTopK, true},
    {"typical_p", "typ_p", [](const P& p) { return p.typical_p < 1.0f; }, apply_typical_p,
     SampleStep::kTypicalP, true, true},
    {"top_p", "", [](const P& p) { return p.top_p < 1.0f; }, apply_top_p, SampleStep::kTopP, true},
    {"min_p", "", [](const P& p) { return p.min_p > 0.0f; }, apply_min_p, SampleStep::kMinP, true},
    {"xtc", "", [](const P& p) { return p.xtc_probability > 0.0f && p.xtc_threshold <= 0.5f; },
     apply_xtc, SampleStep::kXtc, true, true},
    {"temperature", "", [](const P& p) { return p.temperature != 1.0f || p.dynatemp_range > 0.0f; },
     apply_temperature, SampleStep::kTemperature, false},
});

}  // namespace

std::span<const SamplerRow> samplers_table() {
  return kSamplers;
}

const SamplerRow* find_sampler(std::string_view name) {
  for (const SamplerRow& row : kSamplers) {
    if (name == row.name || (!row.alias.empty() && name == row.alias)) return &row;
  }
  return nullptr;
}

}  // namespace realm
