#include "models/experts.h"

namespace realm {
namespace {

constexpr int64_t kMaxExperts = 65536;
constexpr int64_t kMaxDim = int64_t{1} << 20;

// gating_func: 1 softmax, 2 sigmoid, 3 softmax of the chosen.
Result<RouterScore> read_score(const Metadata& metadata, const std::string& arch,
                               RouterScore fallback) {
  switch (TRY(metadata.get_int_or(arch + ".expert_gating_func", 0, 0, 3))) {
    case 1:
      return RouterScore::kSoftmax;
    case 2:
      return RouterScore::kSigmoid;
    case 3:
      return RouterScore::kSoftmaxOfChosen;
    default:
      return fallback;
  }
}

Result<Linear> load_stack(WeightLoader& loader, const std::string& name, int64_t rows,
                          int64_t columns, const ExpertSettings& settings) {
  Linear stack;
  stack.weight =
      TRY(loader.stack(name + ".weight", settings.experts, rows, columns, settings.used));
  if (settings.bias == Bias::kRequired || loader.has(name + ".bias")) {
    stack.bias = TRY(loader.table(name + ".bias", settings.experts, rows));
  }
  return stack;
}

}  // namespace

Result<ExpertSettings> read_expert_settings(const Metadata& metadata, const std::string& arch,
                                            int64_t ffn, const ExpertSettings& defaults) {
  ExpertSettings s = defaults;
  s.experts = TRY(metadata.get_int(arch + ".expert_count", 1, kMaxExperts));
  s.used = TRY(metadata.get_int(arch + ".expert_used_count", 1, s.experts));
  s.ffn = TRY(metadata.get_int_or(arch + ".expert_feed_forward_length", ffn, 1, kMaxDim));
  const int64_t shared = TRY(metadata.get_int_or(arch + ".expert_shared_count", 0, 0, 1024));
  const int64_t shared_ffn = shared > 0 ? shared * s.ffn : defaults.shared_ffn;
  s.shared_ffn =
      TRY(metadata.get_int_or(arch + ".expert_shared_feed_forward_length", shared_ffn, 0, kMaxDim));
  s.score = TRY(read_score(metadata, arch, defaults.score));
  s.num_groups = TRY(metadata.get_int_or(arch + ".expert_group_count", 1, 0, s.experts));
  if (s.num_groups == 0) s.num_groups = 1;
  s.num_groups_used =
      TRY(metadata.get_int_or(arch + ".expert_group_used_count", s.num_groups, 0, s.num_groups));
  if (s.num_groups_used == 0) s.num_groups_used = s.num_groups;
  if (s.experts % s.num_groups != 0 || s.used > s.experts / s.num_groups * s.num_groups_used) {
    return Error{ErrorCode::kBadModel,
                 arch + ".expert_group_count: " + std::to_string(s.num_groups) + " groups of " +
                     std::to_string(s.experts) + " experts, " + std::to_string(s.num_groups_used) +
                     " of them used, do not hold the " + std::to_string(s.used) +
                     " experts a token uses"};
  }
  if (s.score == RouterScore::kSigmoid) s.group_score = GroupScore::kSumOfTopTwo;
  s.normalize = TRY(metadata.get_bool_or(arch + ".expert_weights_norm", defaults.normalize));
  // Files of models without a scale give 0.
  const double scale = TRY(metadata.get_float_or(arch + ".expert_weights_scale", defaults.scale));
  if (scale < 0.0) {
    return Error{ErrorCode::kBadModel,
                 arch + ".expert_weights_scale: " + std::to_string(scale) + " is below 0"};
  }
  s.scale = scale == 0.0 ? defaults.scale : static_cast<float>(scale);
  return s;
}

Result<ExpertWeights> load_experts(WeightLoader& loader, const std::string& prefix, int64_t hidden,
                                   const ExpertSettings& s) {
  ExpertWeights w;
  w.router = TRY(load_linear(loader, prefix + "ffn_gate_inp", s.experts, hidden, s.bias));
  if (s.choice_bias)
    w.choice_bias = TRY(loader.flat_vector(prefix + "exp_probs_b.bias", s.experts));
  if (!s.plain) w.gate = TRY(load_stack(loader, prefix + "ffn_gate_exps", s.ffn, hidden, s));
  w.up = TRY(load_stack(loader, prefix + "ffn_up_exps", s.ffn, hidden, s));
  w.down = TRY(load_stack(loader, prefix + "ffn_down_exps", hidden, s.ffn, s));
  if (s.shared_ffn > 0) {
    w.shared = TRY(load_feed_forward(loader, prefix, hidden, s.shared_ffn,
                                     s.plain ? FeedForwardForm::kPlain : FeedForwardForm::kGated,
                                     "_shexp"));
  }
  if (s.shared_gate) {
    w.shared_gate.weight = TRY(loader.row(prefix + "ffn_gate_inp_shexp.weight", hidden));
  }
  return w;
}

namespace {

// The products of the chosen experts, [T, used, ffn], act(gate) * up of them, then down.
TensorView add_chosen(ProgramBuilder& builder, const ExpertWeights& w, const ExpertSettings& s,
                      const TensorView& x, const TensorView& ids) {
  const int64_t tokens = x.dim(0), hidden = x.dim(1);
  ExpertMatMul in{.x = x.reshaped({tokens, 1, hidden}), .ids = ids, .num_parts = 0, .parts = {}};
  TensorView outs[2];
  for (const Linear* linear : {&w.gate, &w.up}) {
    if (linear->empty()) continue;
    outs[in.num_parts] = builder.scratch({tokens, s.used, s.ffn});
    in.parts[in.num_parts] = {
        .weight = linear->weight, .bias = linear->bias, .out = outs[in.num_parts]};
    ++in.num_parts;
  }
  builder.add(in);
  const TensorView first = outs[0].reshaped({tokens * s.used, s.ffn});
  builder.add(
      GatedActivation{.gate = first,
                      .up = s.plain ? TensorView{} : outs[1].reshaped({tokens * s.used, s.ffn}),
                      .out = first,
                      .activation = s.activation});
  const TensorView made = builder.scratch({tokens, s.used, hidden});
  ExpertMatMul down{.x = outs[0], .ids = ids, .num_parts = 1, .parts = {}};
  down.parts[0] = {.weight = w.down.weight, .bias = w.down.bias, .out = made};
  builder.add(down);
  return made;
}

void add_shared(ProgramBuilder& builder, const ExpertWeights& w, const ExpertSettings& s,
                const TensorView& x, const TensorView& out) {
  if (w.shared_gate.empty()) {
    add_feed_forward(builder, w.shared, s.activation, x, out, true);
    return;
  }
  // A gate of its own: a router with one expert, whose weight is the sigmoid.
  const int64_t tokens = x.dim(0), hidden = x.dim(1);
  const TensorView made = builder.scratch({tokens, hidden});
  add_feed_forward(builder, w.shared, s.activation, x, made, false);
  const TensorView logit = builder.scratch({tokens, 1});
  add_linear(builder, x, w.shared_gate, logit);
  const TensorView ids = builder.scratch({tokens, 1}, DType::kI32);
  const TensorView weight = builder.scratch({tokens, 1});
  builder.add(SelectExperts{
      .logits = logit, .bias = {}, .ids = ids, .weights = weight, .score = RouterScore::kSigmoid});
  builder.add(CombineExperts{
      .x = made.reshaped({tokens, 1, hidden}), .weights = weight, .out = out, .accumulate = true});
}

}  // namespace

void add_experts(ProgramBuilder& builder, const ExpertWeights& w, const ExpertSettings& s,
                 const TensorView& x, const TensorView& out, bool accumulate) {
  const int64_t tokens = x.dim(0);
  const TensorView logits = builder.scratch({tokens, s.experts});
  add_linear(builder, x, w.router, logits);
  const TensorView ids = builder.scratch({tokens, s.used}, DType::kI32);
  const TensorView weights = builder.scratch({tokens, s.used});
  builder.add(SelectExperts{.logits = logits,
                            .bias = w.choice_bias,
                            .ids = ids,
                            .weights = weights,
                            .score = s.score,
                            .group_score = s.group_score,
                            .num_groups = s.num_groups,
                            .num_groups_used = s.num_groups_used,
                            .normalize = s.normalize,
                            .scale = s.scale});
  const TensorView made = add_chosen(builder, w, s, x, ids);
  builder.add(CombineExperts{.x = made, .weights = weights, .out = out, .accumulate = accumulate});
  if (s.shared_ffn > 0) add_shared(builder, w, s, x, out);
}

}  // namespace realm
