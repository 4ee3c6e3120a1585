#include "formats/quant_mix.h"

#include <charconv>
#include <string>
#include <system_error>
#include <utility>

#include "formats/quant/quant_table.h"

namespace realm {

// What a tensor does, as far as mixes care. Bits, so that a rule may name several.
enum Role : uint32_t {
  kOutput = 1u << 0,
  kEmbedding = 1u << 1,
  kAttnQ = 1u << 2,
  kAttnK = 1u << 3,
  kAttnV = 1u << 4,  // also fused q, k, v, and the k-v expansion of latent attention
  kAttnOut = 1u << 5,
  kFfnUp = 1u << 6,
  kFfnGate = 1u << 7,
  kFfnDown = 1u << 8,
  kOther = 1u << 9,
};

struct MixFacts {
  const MixModel& model;
  int layer;       // -1 outside of layers
  bool is_expert;  // one matrix per expert

  bool first(int divisor) const { return layer >= 0 && layer < model.num_layers / divisor; }
  bool early(int count) const { return layer >= 0 && layer < count; }
  bool middle() const { return layer >= model.num_layers / 8 && layer < 7 * model.num_layers / 8; }
  // The first and the last eighth, and every third layer between: where errors hurt most.
  bool sensitive() const {
    if (layer < 0) return false;
    const int eighth = model.num_layers / 8;
    return layer < eighth || layer >= 7 * model.num_layers / 8 || (layer - eighth) % 3 == 2;
  }
};

struct MixRule {
  uint32_t roles;
  DType type;
  bool (*when)(const MixFacts&);  // rules are tried in order; the first that holds decides
};

namespace {

using enum DType;

bool always(const MixFacts&) {
  return true;
}
bool sensitive(const MixFacts& f) {
  return f.sensitive();
}
bool middle(const MixFacts& f) {
  return f.middle();
}
bool first_eighth(const MixFacts& f) {
  return f.first(8);
}
bool first_sixteenth(const MixFacts& f) {
  return f.first(16);
}
bool first_two(const MixFacts& f) {
  return f.early(2);
}
bool first_four(const MixFacts& f) {
  return f.early(4);
}
bool eight_experts(const MixFacts& f) {
  return f.model.num_experts == 8;
}
bool eight_experts_sensitive(const MixFacts& f) {
  return eight_experts(f) && f.sensitive();
}
bool few_kv_heads(const MixFacts& f) {
  return f.model.gqa >= 4;
}
bool small_attention(const MixFacts& f) {
  return f.model.gqa >= 4 || f.model.num_experts >= 4;
}
bool no_imatrix(const MixFacts& f) {
  return !f.model.has_imatrix;
}
bool with_imatrix(const MixFacts& f) {
  return f.model.has_imatrix;
}
bool first_eighth_no_imatrix(const MixFacts& f) {
  return f.first(8) && !f.model.has_imatrix;
}
bool first_eighth_with_imatrix(const MixFacts& f) {
  return f.first(8) && f.model.has_imatrix;
}
bool not_expert(const MixFacts& f) {
  return !f.is_expert;
}
// Eight query heads share attn_v, so more bits there cost next to nothing (70B and its like).
bool deep_few_kv_heads(const MixFacts& f) {
  return f.model.num_layers == 80 && f.model.gqa == 8;
}

// With eight experts the attention is a small part of the file.
constexpr MixRule kSmallKv{kAttnK | kAttnV, kQ8_0, eight_experts};
constexpr MixRule kSmallAttnOut{kAttnOut, kQ5_K, eight_experts};

constexpr MixRule kBasicRules[] = {kSmallKv};
constexpr MixRule kQ4_0Rules[] = {kSmallKv, {kFfnDown, kQ4_1, first_eighth_with_imatrix}};
constexpr MixRule kQ5_0Rules[] = {kSmallKv, {kFfnDown, kQ5_1, first_eighth_with_imatrix}};
constexpr MixRule kQ2_KRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ4_K, few_kv_heads},
    {kAttnV | kFfnDown | kAttnOut, kQ3_K, always},
};
constexpr MixRule kQ2_K_SRules[] = {
    kSmallKv,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ4_K, few_kv_heads},
    {kFfnDown, kQ4_K, first_eighth},
};
constexpr MixRule kQ3_K_SRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
};
constexpr MixRule kQ3_K_MRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ5_K, first_two},
    {kFfnDown, kQ5_K, first_sixteenth},
    {kAttnV | kFfnDown | kAttnOut, kQ4_K, always},
};
constexpr MixRule kQ3_K_LRules[] = {
    kSmallKv,
    {kAttnOut, kQ3_K, eight_experts},
    {kAttnV | kFfnDown | kAttnOut, kQ5_K, always},
};
constexpr MixRule kQ4_K_SRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ5_K, first_four},
    {kFfnDown, kQ5_K, first_eighth},
};
constexpr MixRule kQ4_K_MRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV | kFfnDown, kQ6_K, sensitive},
    {kAttnV, kQ5_K, deep_few_kv_heads},
};
constexpr MixRule kQ5_K_MRules[] = {kSmallKv, {kAttnV | kFfnDown, kQ6_K, sensitive}};
constexpr MixRule kIQ1Rules[] = {
    {kEmbedding, kQ2_K, always},    {kAttnV, kQ4_K, small_attention}, {kAttnV, kQ2_K, always},
    {kAttnK, kQ4_K, eight_experts}, {kFfnDown, kQ2_K, first_eighth},  kSmallAttnOut,
    {kAttnOut, kIQ2_XXS, always},
};
constexpr MixRule kIQ2_XSRules[] = {
    {kEmbedding, kQ2_K, always},    {kAttnV, kQ4_K, small_attention}, {kAttnV, kQ2_K, always},
    {kAttnK, kQ4_K, eight_experts}, {kFfnDown, kQ2_K, first_eighth},  kSmallAttnOut,
};
constexpr MixRule kIQ2_SRules[] = {
    {kEmbedding, kIQ3_S, always},   {kAttnV, kQ4_K, small_attention}, {kAttnV, kIQ3_S, always},
    {kAttnK, kQ4_K, eight_experts}, {kFfnDown, kIQ3_S, first_eighth}, kSmallAttnOut,
    {kAttnOut, kIQ3_S, always},
};
constexpr MixRule kIQ3_XXSRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kEmbedding | kAttnOut, kIQ3_S, always},
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ4_K, few_kv_heads},
    {kAttnV, kIQ3_S, no_imatrix},
    {kAttnQ | kAttnK, kIQ2_S, with_imatrix},
    {kFfnDown, kQ4_K, first_eighth_no_imatrix},
    {kFfnDown, kQ3_K, no_imatrix},
};
constexpr MixRule kIQ3_XSRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ4_K, few_kv_heads},
    {kAttnQ | kAttnK, kIQ3_XXS, always},
    {kFfnUp | kFfnGate, kIQ3_XXS, middle},
};
constexpr MixRule kIQ3_SRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV, kQ4_K, few_kv_heads},
};
constexpr MixRule kIQ3_MRules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, deep_few_kv_heads},
    {kAttnV | kAttnOut, kQ4_K, always},
    {kFfnDown, kQ4_K, first_eighth},
    {kFfnDown, kQ4_K, eight_experts_sensitive},
};
constexpr MixRule kIQ4Rules[] = {
    kSmallKv,
    kSmallAttnOut,
    {kAttnV, kQ5_K, few_kv_heads},
    {kFfnDown, kQ5_K, first_eighth_no_imatrix},
};
constexpr MixRule kTernaryRules[] = {kSmallKv, {kEmbedding, kQ4_K, always}};
constexpr MixRule kMxfp4MoeRules[] = {{~0u, kQ8_0, not_expert}};
constexpr MixRule kMxfp4Rules[] = {{kEmbedding, kQ8_0, always}};

constexpr QuantMix kMixes[] = {
    {"F32", 0, kF32, kF32, {}},
    {"F16", 1, kF16, kF16, {}},
    {"BF16", 32, kBF16, kBF16, {}},
    {"Q8_0", 7, kQ8_0, kQ8_0, {}},
    {"Q6_K", 18, kQ6_K, kQ6_K, kBasicRules},
    {"Q5_K_M", 17, kQ5_K, kQ6_K, kQ5_K_MRules},
    {"Q5_K_S", 16, kQ5_K, kQ6_K, kBasicRules},
    {"Q5_1", 9, kQ5_1, kQ6_K, kBasicRules},
    {"Q5_0", 8, kQ5_0, kQ6_K, kQ5_0Rules},
    {"Q4_K_M", 15, kQ4_K, kQ6_K, kQ4_K_MRules},
    {"Q4_K_S", 14, kQ4_K, kQ6_K, kQ4_K_SRules},
    {"Q4_1", 3, kQ4_1, kQ6_K, kBasicRules},
    {"Q4_0", 2, kQ4_0, kQ6_K, kQ4_0Rules},
    {"IQ4_NL", 25, kIQ4_NL, kQ6_K, kIQ4Rules},
    {"IQ4_XS", 30, kIQ4_XS, kQ6_K, kIQ4Rules},
    {"MXFP4", 38, kMXFP4, kQ8_0, kMxfp4Rules},
    {"MXFP4_MOE", 38, kMXFP4, kQ8_0, kMxfp4MoeRules},
    {"Q3_K_L", 13, kQ3_K, kQ6_K, kQ3_K_LRules},
    {"Q3_K_M", 12, kQ3_K, kQ6_K, kQ3_K_MRules},
    {"Q3_K_S", 11, kQ3_K, kQ6_K, kQ3_K_SRules},
    {"IQ3_M", 27, kIQ3_S, kQ6_K, kIQ3_MRules},
    {"IQ3_S", 26, kIQ3_S, kQ6_K, kIQ3_SRules},
    {"IQ3_XS", 22, kIQ3_S, kQ6_K, kIQ3_XSRules},
    {"IQ3_XXS", 23, kIQ3_XXS, kQ5_K, kIQ3_XXSRules},
    {"Q2_K", 10, kQ2_K, kQ6_K, kQ2_KRules},
    {"Q2_K_S", 21, kQ2_K, kQ6_K, kQ2_K_SRules},
    {"IQ2_M", 29, kIQ2_S, kQ5_K, kIQ2_SRules},
    {"IQ2_S", 28, kIQ2_XS, kQ5_K, kIQ2_SRules},
    {"IQ2_XS", 20, kIQ2_XS, kQ5_K, kIQ2_XSRules},
    {"IQ2_XXS", 19, kIQ2_XXS, kQ5_K, kIQ2_XSRules},
    {"Q2_0", 41, kQ2_0, kQ6_K, kTernaryRules},
    {"TQ2_0", 37, kTQ2_0, kQ6_K, kTernaryRules},
    {"TQ1_0", 36, kTQ1_0, kQ6_K, kTernaryRules},
    {"IQ1_M", 31, kIQ1_M, kQ5_K, kIQ1Rules},
    {"IQ1_S", 24, kIQ1_S, kQ5_K, kIQ1Rules},
    {"Q1_0", 40, kQ1_0, kQ6_K, kBasicRules},
};

struct Alias {
  std::string_view alias, name;
};
constexpr Alias kAliases[] = {{"q3_k", "q3_k_m"}, {"q4_k", "q4_k_m"}, {"q5_k", "q5_k_m"}};

// Matrices that stay F32: too small to matter, or known to lose quality at once.
constexpr std::string_view kKeptParts[] = {
    "_norm.weight",
    "ffn_gate_inp",
    "altup",
    "laurel",
    "position_embd",
    "token_types",
    "ssm_conv1d",
    "shortconv.conv",
    "attn_rel_b",
    "patch_embd",
    "time_mix_first",
    "time_mix_w0",
    "time_mix_w1",
    "time_mix_w2",
    "time_mix_v0",
    "time_mix_v1",
    "time_mix_v2",
    "time_mix_a0",
    "time_mix_a1",
    "time_mix_a2",
    "time_mix_g1",
    "time_mix_g2",
    "time_mix_decay_w1",
    "time_mix_decay_w2",
    "time_mix_lerp_fused",
    "per_layer_model_proj",
};

// For rows that are no multiple of the format's block: one of 32 elements and about the same size,
// or the next up.
struct Replacement {
  DType type, smaller_block;
};
constexpr Replacement kReplacements[] = {
    {kIQ1_S, kIQ4_NL}, {kIQ1_M, kIQ4_NL},   {kIQ2_XXS, kIQ4_NL}, {kIQ2_XS, kIQ4_NL},
    {kIQ2_S, kIQ4_NL}, {kIQ3_XXS, kIQ4_NL}, {kIQ3_S, kIQ4_NL},   {kIQ4_XS, kIQ4_NL},
    {kQ1_0, kQ4_0},    {kQ2_0, kQ4_0},      {kTQ1_0, kQ4_0},     {kTQ2_0, kQ4_0},
    {kQ2_K, kQ4_0},    {kQ3_K, kQ4_0},      {kQ4_K, kQ5_0},      {kQ5_K, kQ5_1},
    {kQ6_K, kQ8_0},
};

bool contains(std::string_view name, std::string_view part) {
  return name.find(part) != std::string_view::npos;
}

Role role_of(std::string_view name) {
  if (name == "output.weight") return kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return kEmbedding;
  constexpr std::pair<std::string_view, Role> kParts[] = {
      {"attn_qkv.weight", kAttnV}, {"attn_kv_b.weight", kAttnV}, {"attn_v.weight", kAttnV},
      {"attn_k.weight", kAttnK},   {"attn_q.weight", kAttnQ},    {"attn_output.weight", kAttnOut},
      {"ffn_up", kFfnUp},          {"ffn_gate", kFfnGate},       {"ffn_down", kFfnDown},
  };
  for (const auto& [part, role] : kParts) {
    if (contains(name, part)) return role;
  }
  return kOther;
}

// "blk.12.ffn_up.weight" -> 12; -1 where the name is not of a layer.
int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  int layer = -1;
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, layer);
  return error == std::errc() && rest != end && *rest == '.' && layer >= 0 ? layer : -1;
}

bool stays_float(std::string_view name, size_t rank) {
  if (rank < 2 || !name.ends_with("weight")) return true;
  for (const std::string_view part : kKeptParts) {
    if (contains(name, part)) return true;
  }
  return false;
}

bool divides(DType type, int64_t row) {
  return row % find_block_format(type)->block_elements == 0;
}

DType fit_to_row(DType type, int64_t row) {
  if (divides(type, row)) return type;
  for (const Replacement& replacement : kReplacements) {
    if (replacement.type == type && divides(replacement.smaller_block, row)) {
      return replacement.smaller_block;
    }
  }
  return kF16;
}

DType type_by_rules(const QuantMix& mix, const MixFacts& facts, Role role, int64_t row) {
  const bool is_output = role == kOutput || (role == kEmbedding && facts.model.tied_output);
  if (is_output) return divides(mix.base, row) ? mix.output : kQ8_0;
  for (const MixRule& rule : mix.rules) {
    if ((rule.roles & role) != 0 && rule.when(facts)) return rule.type;
  }
  return mix.base;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

}  // namespace

std::span<const QuantMix> quant_mixes() {
  return kMixes;
}

const QuantMix* find_quant_mix(std::string_view name) {
  std::string wanted = lower(name);
  for (const Alias& alias : kAliases) {
    if (wanted == alias.alias) wanted = alias.name;
  }
  for (const QuantMix& mix : kMixes) {
    if (wanted == lower(mix.name)) return &mix;
  }
  return nullptr;
}

Result<DType> choose_type(const QuantMix& mix, const MixModel& model, const MixOptions& options,
                          std::string_view name, std::span<const int64_t> shape, DType current) {
  if (find_block_format(current) == nullptr) return current;
  if (stays_float(name, shape.size())) return kF32;
  const Role role = role_of(name);
  const bool is_output = role == kOutput || (role == kEmbedding && model.tied_output);
  if (options.keep_output && is_output) return current;

  const MixFacts facts{model, layer_of(name), shape.size() >= 3};
  const bool plain = mix.base == kF32 || mix.base == kF16 || mix.base == kBF16;
  const int64_t row = shape.back();
  const DType wanted = options.pure || plain ? mix.base : type_by_rules(mix, facts, role, row);
  const DType type = fit_to_row(wanted, row);

  const BlockFormat* format = find_block_format(type);
  if (format->needs_importance && !model.has_imatrix && role != kOutput && role != kEmbedding) {
    return Error{ErrorCode::kInvalidArgument,
                 std::string(mix.name) + " stores " + std::string(name) + " as " + format->name +
                     ", which needs an importance matrix; make one with `realm imatrix` and pass "
                     "it with --imatrix"};
  }
  return type;
}

}  // namespace realm
