#include "formats/synth.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <numbers>

#include "formats/gguf.h"
#include "formats/quant/quant_table.h"
#include "formats/rope_factors.h"
#include "formats/row_encoder.h"

namespace realm {
namespace {

constexpr SynthPreset kPresets[] = {
    {"tinyllama", "llama", 22, 2048, 5632, 32, 4, 64, 32000, 2048, 1e4, 1e-5, false},
    {"llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 5e5, 1e-5, true, 32},
    {"llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 5e5, 1e-5, false, 8},
    {"llama-70b", "llama", 80, 8192, 28672, 64, 8, 128, 128256, 131072, 5e5, 1e-5, false, 8},
    {"mixtral-8x7b", "llama", 32, 4096, 14336, 32, 8, 128, 32000, 32768, 1e6, 1e-5, false, 0, 8, 2,
     14336},
    {"qwen2.5-7b", "qwen2", 28, 3584, 18944, 28, 4, 128, 152064, 32768, 1e6, 1e-6, false},
    {"qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 1e6, 1e-6, true},
    {"qwen3-1.7b", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, 40960, 1e6, 1e-6, true},
    {"qwen3-4b", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, 40960, 1e6, 1e-6, true},
    {"qwen3-8b", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, 40960, 1e6, 1e-6, false},
    {"qwen3-30b-a3b", "qwen3moe", 48, 2048, 6144, 32, 4, 128, 151936, 40960, 1e6, 1e-6, false, 0,
     128, 8, 768},
    {.name = "gemma2-9b",
     .architecture = "gemma2",
     .layers = 42,
     .hidden = 3584,
     .ffn = 14336,
     .heads = 16,
     .kv_heads = 8,
     .head_dim = 256,
     .vocab = 256000,
     .context = 8192,
     .rope_theta = 1e4,
     .norm_epsilon = 1e-6,
     .tied = true,
     .window = 4096},
    {.name = "gemma3-4b",
     .architecture = "gemma3",
     .layers = 34,
     .hidden = 2560,
     .ffn = 10240,
     .heads = 8,
     .kv_heads = 4,
     .head_dim = 256,
     .vocab = 262144,
     .context = 131072,
     .rope_theta = 1e6,
     .norm_epsilon = 1e-6,
     .tied = true,
     .window = 1024},
    {.name = "phi3-mini",
     .architecture = "phi3",
     .layers = 32,
     .hidden = 3072,
     .ffn = 8192,
     .heads = 32,
     .kv_heads = 32,
     .head_dim = 96,
     .vocab = 32064,
     .context = 4096,
     .rope_theta = 1e4,
     .norm_epsilon = 1e-5,
     .tied = false,
     .window = 2047},
    {.name = "gpt-oss-20b",
     .architecture = "gpt-oss",
     .layers = 24,
     .hidden = 2880,
     .ffn = 2880,
     .heads = 64,
     .kv_heads = 8,
     .head_dim = 64,
     .vocab = 201088,
     .context = 131072,
     .rope_theta = 150000,
     .norm_epsilon = 1e-5,
     .tied = false,
     .experts = 32,
     .experts_used = 4,
     .expert_ffn = 2880,
     .window = 128,
     .yarn_factor = 32,
     .original_context = 4096},
    {.name = "deepseek-v2-lite",
     .architecture = "deepseek2",
     .layers = 27,
     .hidden = 2048,
     .ffn = 10944,
     .heads = 16,
     .kv_heads = 1,
     .head_dim = 192,
     .vocab = 102400,
     .context = 163840,
     .rope_theta = 1e4,
     .norm_epsilon = 1e-6,
     .tied = false,
     .experts = 64,
     .experts_used = 6,
     .expert_ffn = 1408,
     .shared_experts = 2,
     .dense_layers = 1,
     .yarn_factor = 40,
     .original_context = 4096,
     .kv_rank = 512,
     .n_rot = 64,
     .v_dim = 128},
};

// Which tensors an architecture has besides those of Llama.
struct Traits {
  const char* architecture;
  bool qkv_bias = false, qk_norm = false, post_norms = false, fused = false;
  bool sinks_and_biases = false;  // gpt-oss
};
constexpr Traits kTraits[] = {
    {.architecture = "qwen2", .qkv_bias = true},
    {.architecture = "qwen3", .qk_norm = true},
    {.architecture = "qwen3moe", .qk_norm = true},
    {.architecture = "gemma2", .post_norms = true},
    {.architecture = "gemma3", .qk_norm = true, .post_norms = true},
    {.architecture = "phi3", .fused = true},
    {.architecture = "gpt-oss", .qkv_bias = true, .sinks_and_biases = true},
};
Traits traits_of(std::string_view architecture) {
  for (const Traits& traits : kTraits) {
    if (architecture == traits.architecture) return traits;
  }
  return {.architecture = "llama"};
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {  // splitmix64
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float normal() {
    const double u = (static_cast<double>(next() >> 11) + 1.0) * 0x1p-53;  // (0, 1]
    const double v = static_cast<double>(next() >> 11) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v));
  }

 private:
  uint64_t state_;
};

// A few encoded rows of one length. Drawing and encoding every weight of a large model would take
// longer than writing it; a matrix repeats these rows instead, each time in another order of
// blocks.
class RowPool {
 public:
  static constexpr int64_t kRows = 61;

  RowPool(const BlockFormat& format, int64_t row_elements, Random& random)
      : block_bytes_(static_cast<size_t>(format.block_bytes)),
        row_bytes_(realm::row_bytes(format, row_elements)),
        bytes_(row_bytes_ * kRows) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(row_elements));
    std::vector<float> values(static_cast<size_t>(row_elements));
    const std::vector<float> importance(values.size(), 1.0f);
    for (int64_t row = 0; row < kRows; ++row) {
      for (float& v : values) v = random.normal() * scale;
      format.encode(values.data(), bytes_.data() + static_cast<size_t>(row) * row_bytes_,
                    row_elements, format.needs_importance ? importance.data() : nullptr);
    }
  }

  size_t row_bytes() const { return row_bytes_; }

  void copy_row(uint64_t choice, std::byte* out) const {
    const std::byte* row = bytes_.data() + (choice % kRows) * row_bytes_;
    const size_t first = (choice / kRows) % (row_bytes_ / block_bytes_) * block_bytes_;
    std::memcpy(out, row + first, row_bytes_ - first);
    std::memcpy(out + (row_bytes_ - first), row, first);
  }

 private:
  size_t block_bytes_, row_bytes_;
  std::vector<std::byte> bytes_;
};

// Collects the tensors of a model in the order in which a step reads them.
class ModelPlan {
 public:
  ModelPlan(const SynthPreset& preset, const QuantMix& mix, int layers, uint64_t seed)
      : preset_(preset), traits_(traits_of(preset.architecture)), mix_(mix), random_(seed) {
    model_.num_layers = layers;
    model_.num_experts = preset.experts;
    model_.gqa = preset.heads / preset.kv_heads;
    model_.tied_output = preset.tied;
    model_.has_imatrix = true;  // of ones: that is what random weights deserve
  }

  Result<std::vector<GgufTensorSource>> build() {
    if (preset_.llama3_rope_factor > 0) add_rope_factors();
    TRY(add_matrix("token_embd.weight", {preset_.vocab, preset_.hidden}));
    for (int layer = 0; layer < model_.num_layers; ++layer) {
      const bool dense = preset_.experts == 0 || layer < preset_.dense_layers;
      TRY(add_layer("blk." + std::to_string(layer) + ".", dense));
    }
    add_ones("output_norm.weight", preset_.hidden);
    if (!preset_.tied) TRY(add_matrix("output.weight", {preset_.vocab, preset_.hidden}));
    return std::move(sources_);
  }

 private:
  Status add_layer(const std::string& prefix, bool dense) {
    const int64_t hidden = preset_.hidden;
    add_ones(prefix + "attn_norm.weight", hidden);
    TRY(preset_.kv_rank > 0 ? add_latent_attention(prefix) : add_attention(prefix));
    if (traits_.post_norms) {
      add_ones(prefix + "post_attention_norm.weight", hidden);
      add_ones(prefix + "post_ffw_norm.weight", hidden);
    }
    add_ones(prefix + (traits_.sinks_and_biases ? "post_attention_norm.weight" : "ffn_norm.weight"),
             hidden);
    if (!dense) return add_experts(prefix);
    return add_ffn(prefix, preset_.ffn, "");
  }

  Status add_attention(const std::string& prefix) {
    const int64_t hidden = preset_.hidden, q = int64_t{preset_.heads} * preset_.head_dim;
    const int64_t kv = int64_t{preset_.kv_heads} * preset_.head_dim;
    if (traits_.fused) {
      TRY(add_matrix(prefix + "attn_qkv.weight", {q + 2 * kv, hidden}));
    } else {
      TRY(add_matrix(prefix + "attn_q.weight", {q, hidden}));
      TRY(add_matrix(prefix + "attn_k.weight", {kv, hidden}));
      TRY(add_matrix(prefix + "attn_v.weight", {kv, hidden}));
    }
    TRY(add_matrix(prefix + "attn_output.weight", {hidden, q}));
    if (traits_.qkv_bias) {
      add_zeros(prefix + "attn_q.bias", {q});
      add_zeros(prefix + "attn_k.bias", {kv});
      add_zeros(prefix + "attn_v.bias", {kv});
    }
    if (traits_.sinks_and_biases) {
      add_zeros(prefix + "attn_output.bias", {hidden});
      add_zeros(prefix + "attn_sinks.weight", {preset_.heads});
    }
    if (traits_.qk_norm) {
      add_ones(prefix + "attn_q_norm.weight", preset_.head_dim);
      add_ones(prefix + "attn_k_norm.weight", preset_.head_dim);
    }
    return {};
  }

  Status add_latent_attention(const std::string& prefix) {
    const int64_t hidden = preset_.hidden, heads = preset_.heads, rank = preset_.kv_rank;
    TRY(add_matrix(prefix + "attn_q.weight", {heads * preset_.head_dim, hidden}));
    TRY(add_matrix(prefix + "attn_kv_a_mqa.weight", {rank + preset_.n_rot, hidden}));
    add_ones(prefix + "attn_kv_a_norm.weight", rank);
    TRY(add_matrix(prefix + "attn_k_b.weight", {heads, rank, preset_.head_dim - preset_.n_rot}));
    TRY(add_matrix(prefix + "attn_v_b.weight", {heads, preset_.v_dim, rank}));
    return add_matrix(prefix + "attn_output.weight", {hidden, heads * preset_.v_dim});
  }

  Status add_ffn(const std::string& prefix, int64_t ffn, const std::string& suffix) {
    const int64_t hidden = preset_.hidden;
    if (traits_.fused) {
      TRY(add_matrix(prefix + "ffn_up" + suffix + ".weight", {2 * ffn, hidden}));
    } else {
      TRY(add_matrix(prefix + "ffn_gate" + suffix + ".weight", {ffn, hidden}));
      TRY(add_matrix(prefix + "ffn_up" + suffix + ".weight", {ffn, hidden}));
    }
    return add_matrix(prefix + "ffn_down" + suffix + ".weight", {hidden, ffn});
  }

  Status add_experts(const std::string& prefix) {
    const int64_t hidden = preset_.hidden, experts = preset_.experts, ffn = preset_.expert_ffn;
    TRY(add_matrix(prefix + "ffn_gate_inp.weight", {experts, hidden}));
    TRY(add_matrix(prefix + "ffn_gate_exps.weight", {experts, ffn, hidden}));
    TRY(add_matrix(prefix + "ffn_up_exps.weight", {experts, ffn, hidden}));
    TRY(add_matrix(prefix + "ffn_down_exps.weight", {experts, hidden, ffn}));
    if (traits_.sinks_and_biases) {
      add_zeros(prefix + "ffn_gate_inp.bias", {experts});
      add_zeros(prefix + "ffn_gate_exps.bias", {experts, ffn});
      add_zeros(prefix + "ffn_up_exps.bias", {experts, ffn});
      add_zeros(prefix + "ffn_down_exps.bias", {experts, hidden});
    }
    if (preset_.shared_experts == 0) return {};
    return add_ffn(prefix, preset_.shared_experts * ffn, "_shexp");
  }

  void add_floats(const std::string& name, std::vector<float> values) {
    const int64_t size = static_cast<int64_t>(values.size());
    sources_.push_back({name, DType::kF32, {size}, [v = std::move(values)](const ByteSink& sink) {
                          return sink(std::as_bytes(std::span(v)));
                        }});
  }

  void add_ones(const std::string& name, int64_t size) {
    add_floats(name, std::vector<float>(static_cast<size_t>(size), 1.0f));
  }

  void add_zeros(const std::string& name, std::vector<int64_t> shape) {
    int64_t size = 1;
    for (const int64_t d : shape) size *= d;
    add_floats(name, std::vector<float>(static_cast<size_t>(size), 0.0f));
    sources_.back().shape = std::move(shape);
  }

  void add_rope_factors() {
    Llama3Rope rope;
    rope.theta = preset_.rope_theta;
    rope.head_dim = preset_.head_dim;
    rope.factor = preset_.llama3_rope_factor;
    add_floats("rope_freqs.weight", llama3_frequency_factors(rope));
  }

  Status add_matrix(const std::string& name, std::vector<int64_t> shape) {
    const DType type = TRY(choose_type(mix_, model_, {}, name, shape, DType::kF32));
    const BlockFormat& format = *find_block_format(type);
    const int64_t row = shape.back();
    int64_t rows = 1;
    for (const int64_t d : shape) rows *= d;
    rows /= row;
    std::shared_ptr<const RowPool>& pool = pools_[{format.type, row}];
    if (pool == nullptr) pool = std::make_shared<const RowPool>(format, row, random_);
    auto produce = [pool, rows, seed = random_.next()](const ByteSink& sink) -> Status {
      constexpr size_t kChunkBytes = size_t{4} << 20;
      const int64_t chunk_rows =
          std::clamp<int64_t>(static_cast<int64_t>(kChunkBytes / pool->row_bytes()), 1, rows);
      std::vector<std::byte> chunk(static_cast<size_t>(chunk_rows) * pool->row_bytes());
      Random random(seed);
      for (int64_t done = 0; done < rows; done += chunk_rows) {
        const int64_t count = std::min(chunk_rows, rows - done);
        for (int64_t r = 0; r < count; ++r) {
          pool->copy_row(random.next(), chunk.data() + static_cast<size_t>(r) * pool->row_bytes());
        }
        TRY(sink(std::span(chunk).first(static_cast<size_t>(count) * pool->row_bytes())));
      }
      return {};
    };
    sources_.push_back({name, format.type, std::move(shape), std::move(produce)});
    return {};
  }

  const SynthPreset& preset_;
  const Traits traits_;
  const QuantMix& mix_;
  MixModel model_;
  Random random_;
  std::map<std::pair<DType, int64_t>, std::shared_ptr<const RowPool>> pools_;
  std::vector<GgufTensorSource> sources_;
};

Metadata metadata_of(const SynthPreset& preset, int layers, const QuantMix& mix) {
  const std::string arch = preset.architecture;
  Metadata m;
  m.set_string("general.architecture", arch);
  m.set_string("general.type", "model");
  m.set_string("general.name", std::string("synthetic ") + preset.name);
  const auto set = [&](const char* key, int value) {
    m.set_uint32(arch + key, static_cast<uint32_t>(value));
  };
  set(".block_count", layers);
  set(".context_length", preset.context);
  set(".embedding_length", preset.hidden);
  set(".feed_forward_length", preset.ffn);
  set(".attention.head_count", preset.heads);
  set(".attention.head_count_kv", preset.kv_heads);
  const bool latent = preset.kv_rank > 0;
  set(".attention.key_length", latent ? preset.kv_rank + preset.n_rot : preset.head_dim);
  set(".attention.value_length", latent ? preset.kv_rank : preset.head_dim);
  set(".rope.dimension_count", latent ? preset.n_rot : preset.head_dim);
  set(".vocab_size", preset.vocab);
  if (latent) {
    set(".attention.kv_lora_rank", preset.kv_rank);
    set(".attention.key_length_mla", preset.head_dim);
    set(".attention.value_length_mla", preset.v_dim);
    set(".leading_dense_block_count", std::min(preset.dense_layers, layers));
    m.set_float32(arch + ".rope.scaling.yarn_log_multiplier", 0.0707f);
  }
  if (preset.window > 0) set(".attention.sliding_window", preset.window);
  if (preset.yarn_factor > 0) {
    m.set_string(arch + ".rope.scaling.type", "yarn");
    m.set_float32(arch + ".rope.scaling.factor", preset.yarn_factor);
    set(".rope.scaling.original_context_length", preset.original_context);
  }
  if (preset.shared_experts > 0) set(".expert_shared_count", preset.shared_experts);
  m.set_float32(arch + ".attention.layer_norm_rms_epsilon",
                static_cast<float>(preset.norm_epsilon));
  m.set_float32(arch + ".rope.freq_base", static_cast<float>(preset.rope_theta));
  if (preset.experts > 0) {
    set(".expert_count", preset.experts);
    set(".expert_used_count", preset.experts_used);
    set(".expert_feed_forward_length", preset.expert_ffn);
  }
  m.set_uint32("general.file_type", mix.file_type);
  m.set_uint32("general.quantization_version", 2);
  set_synthetic_vocabulary(preset.vocab, m);
  return m;
}

}  // namespace

std::span<const SynthPreset> synth_presets() {
  return kPresets;
}

Status write_synthetic_model(const std::string& output, const SynthSettings& settings) {
  const SynthPreset* preset = nullptr;
  std::string known;
  for (const SynthPreset& p : kPresets) {
    if (settings.preset == p.name) preset = &p;
    known += (known.empty() ? "" : ", ") + std::string(p.name);
  }
  if (preset == nullptr) {
    return Error{ErrorCode::kInvalidArgument,
                 "no preset '" + settings.preset + "'; there are " + known};
  }
  constexpr int kMaxLayers = 1000;
  if (settings.layers < 0 || settings.layers > kMaxLayers) {
    return Error{ErrorCode::kInvalidArgument, "layers must be in 1.." + std::to_string(kMaxLayers)};
  }
  const QuantMix& mix = *TRY(named_mix(settings.type));
  const int layers = settings.layers > 0 ? settings.layers : preset->layers;
  const auto sources = TRY(ModelPlan(*preset, mix, layers, settings.seed).build());
  return write_gguf(output, metadata_of(*preset, layers, mix), sources, settings.on_tensor);
}

}  // namespace realm
