// The decoder that Llama and its relatives are: embedding, layers of attention and feed-forward
// around a residual stream, final norm, output. Families differ in the settings below, which a
// family's file fills in from the model file; one that differs in more (latent attention) writes
// its own forward from blocks.h.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/blocks.h"
#include "models/experts.h"
#include "models/model.h"
#include "models/rope_frequencies.h"

namespace realm {

// What one layer does differently from the others.
struct LayerSettings {
  int64_t window = 0;    // positions attended to, 0: all
  int rope = 0;          // which of DecoderSettings::ropes, -1: no rotation
  bool experts = false;  // its feed-forward is a mixture of experts
};

struct DecoderSettings {
  RopePairs rope_pairs = RopePairs::kAdjacent;
  Activation activation = Activation::kSilu;
  NormKind norm = NormKind::kRms;
  AttentionParts attention = {};
  FeedForwardForm ffn_form = FeedForwardForm::kGated;
  // Norms before attention and feed-forward, or (and) after them, before the residual is added.
  bool pre_norms = true, post_norms = false;
  const char* ffn_norm_name = "ffn_norm";
  const char* post_attention_norm_name = "post_attention_norm";
  const char* post_ffn_norm_name = "post_ffw_norm";
  // Attention and feed-forward read the same residual and both add to it; with one norm for both
  // where there is no tensor of ffn_norm_name.
  bool parallel = false;
  float embedding_scale = 1.0f, residual_scale = 1.0f, logit_scale = 1.0f;
  float attention_scale = 0.0f;  // 0: 1 / sqrt(k_dim)
  float attention_soft_cap = 0.0f, logit_soft_cap = 0.0f;
  std::optional<ExpertSettings> experts = {};
  std::vector<RopeFrequencies> ropes = {};  // one, where it is left empty
  std::vector<LayerSettings> layers = {};   // all alike, where it is left empty
};

// Reads what `settings` leaves open (ropes, layers with the file's sliding window) and loads.
Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const TransformerParams& params,
                                            DecoderSettings settings);
// The same with the hyper-parameters every family has.
Result<std::unique_ptr<Model>> load_decoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            DecoderSettings settings);

// ARCH.attention.sliding_window; 0 where there is none or it is as wide as the context.
Result<int64_t> read_window(const Metadata& metadata, const std::string& arch,
                            int64_t trained_context);

}  // namespace realm
