// BERT, RoBERTa, DistilBERT and the embedding models made of them: learned positions, one kind of
// token, norms after each branch. RoBERTa's files hold the positions from the first one in use on.
#include "models/encoder.h"
#include "models/registry.h"

namespace realm {

Result<std::unique_ptr<Model>> load_bert(std::shared_ptr<const TensorDirectory> file,
                                         Backend& backend) {
  const TransformerParams params =
      TRY(read_transformer_params(file->metadata(), "bert", NormKind::kLayer));
  return load_encoder(std::move(file), backend, "bert", params,
                      {.learned_positions = true, .embedding_norm = true, .post_norms = true});
}

}  // namespace realm
