// The encoder that BERT and its relatives are: embedding, layers of attention both ways and
// feed-forward around a residual stream. It makes no text; its hidden states are pooled into
// embeddings. Families differ in the settings below.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "models/blocks.h"
#include "models/model.h"
#include "models/rope_frequencies.h"

namespace realm {

struct EncoderLayerSettings {
  int rope = -1;       // which of EncoderSettings::ropes, -1: no rotation
  bool local = false;  // attends within EncoderSettings::reach only
};

struct EncoderSettings {
  Activation activation = Activation::kGelu;
  NormKind norm = NormKind::kLayer;
  AttentionParts attention = {};
  FeedForwardForm ffn_form = FeedForwardForm::kPlain;
  bool learned_positions = false;  // position_embd, and token_types where the file has it
  bool embedding_norm = false;     // token_embd_norm
  // Norms after each branch, with the residual in them (BERT), or before it and once at the end.
  bool post_norms = false;
  bool first_attention_norm = true;  // without it layer 0 reads the embedding as it is
  int64_t reach = 0;
  std::vector<RopeFrequencies> ropes = {};
  std::vector<EncoderLayerSettings> layers = {};  // all alike and global, where it is left empty
};

Result<std::unique_ptr<Model>> load_encoder(std::shared_ptr<const TensorDirectory> file,
                                            Backend& backend, const std::string& architecture,
                                            const TransformerParams& params,
                                            EncoderSettings settings);

}  // namespace realm
