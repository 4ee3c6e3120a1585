// Model files of real shapes with random weights: to measure speed and memory on models that nobody
// has to download. The weights are scaled so that activations stay near one, and the vocabulary is
// a valid byte-level BPE of the right size, so that such a file runs like any other (it babbles).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "formats/metadata.h"

namespace realm {

struct SynthPreset {
  const char* name;
  const char* architecture;  // GGUF's: "llama", "qwen3", "gemma2"
  int layers, hidden, ffn, heads, kv_heads, head_dim, vocab, context;
  double rope_theta;
  double norm_epsilon;
  bool tied;                                          // the output matrix is the embedding
  float llama3_rope_factor = 0;                       // 0: none
  int experts = 0, experts_used = 0, expert_ffn = 0;  // 0: dense
  int shared_experts = 0, dense_layers = 0;           // of DeepSeek
  int window = 0;                                     // 0: none
  float yarn_factor = 0;                              // 0: none
  int original_context = 0;
  // Latent attention: head_dim is then that of a query, n_rot of it rotated.
  int kv_rank = 0, n_rot = 0, v_dim = 0;
};

std::span<const SynthPreset> synth_presets();

struct SynthSettings {
  std::string preset;
  std::string type = "Q8_0";  // as GGUF users name them: quant_mix.h
  int layers = 0;             // 0: the preset's
  uint64_t seed = 1;
  // Called before each tensor with its index and their number.
  std::function<void(size_t, size_t)> on_tensor;
};

// Errors: kInvalidArgument for an unknown preset or type; those of write_gguf.
Status write_synthetic_model(const std::string& output, const SynthSettings& settings);

// The tokenizer.* keys of a byte-level BPE (pre "gpt-2") with `size` tokens, at least 1024: three
// control tokens, the 256 bytes, then lower-case words in order of length, each the merge of the
// word without its last letter and that letter.
void set_synthetic_vocabulary(int size, Metadata& metadata);

}  // namespace realm
