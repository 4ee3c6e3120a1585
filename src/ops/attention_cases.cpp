#include <algorithm>
#include <cmath>

#include "formats/quant/quant_table.h"
#include "ops/case_builder.h"
#include "ops/case_list.h"
#include "ops/kv_types.h"

namespace realm {
namespace {

// One sequence of the batch: `cached` positions before its first token of this step.
struct Run {
  int32_t cached, tokens;
};

// Runs [first, end) whose tables of pages begin with the same pages.
struct Group {
  int32_t first, end, pages;
};

struct Setup {
  std::vector<Run> runs = {};
  int64_t heads = 4, kv_heads = 2, k_dim = 64, v_dim = 64;
  DType cache = DType::kF16;
  float soft_cap = 0;
  int64_t window = 0;
  int32_t reach = -1;  // of an encoder's tokens to either side; -1: causal
  bool sinks = false, slopes = false;
  int64_t q_gap = 0;            // bytes between the tokens of q
  bool values_in_keys = false;  // the first v_dim columns of them
  std::vector<Group> groups = {};
  bool tells_groups = true;  // the op
};

int32_t pages_of(const Run& run) {
  return (run.cached + run.tokens + kPageTokens - 1) / kPageTokens;
}

Group group_of(const Setup& s, int32_t run) {
  for (const Group& group : s.groups) {
    if (run >= group.first && run < group.end) return group;
  }
  return {run, run + 1, 0};
}

OpCase make_attention(const Setup& s) {
  CaseBuilder b(71);
  int32_t tokens = 0, num_pages = 0, max_pages = 1;
  for (const Run& run : s.runs) {
    tokens += run.tokens;
    num_pages += pages_of(run);
    max_pages = std::max(max_pages, pages_of(run));
  }
  for (const Group& group : s.groups) num_pages -= (group.end - group.first - 1) * group.pages;
  num_pages = std::max(num_pages, 1);
  // Pages lie anywhere; entries past a sequence's end name none.
  const std::vector<int32_t> pages = b.distinct(num_pages, num_pages);
  std::vector<int32_t> positions, oldest, seq_start = {0}, page_table, shared;
  size_t next_page = 0;
  for (size_t i = 0; i < s.runs.size(); ++i) {
    const Run& run = s.runs[i];
    const Group group = group_of(s, static_cast<int32_t>(i));
    shared.insert(shared.end(), {group.first, group.end, group.pages});
    for (int32_t t = 0; t < run.tokens; ++t) {
      const int32_t own = run.cached + t, last = run.cached + run.tokens - 1;
      positions.push_back(s.reach < 0 ? own : std::min(own + s.reach, last));
      oldest.push_back(std::max(own - s.reach, 0));
    }
    seq_start.push_back(seq_start.back() + run.tokens);
    for (int32_t p = 0; p < max_pages; ++p) {
      const bool is_shared = static_cast<int32_t>(i) > group.first && p < group.pages;
      page_table.push_back(is_shared ? page_table[static_cast<size_t>(group.first * max_pages + p)]
                           : p < pages_of(run) ? pages[next_page++]
                                               : -1);
    }
  }
  const auto num_sequences = static_cast<int64_t>(s.runs.size());
  Attention op{.q = b.floats({tokens, s.heads, s.k_dim}, {s.q_gap, 0}),
               .k_cache = b.cache(s.cache, num_pages, s.kv_heads, s.k_dim),
               .v_cache = {},
               .positions = b.ints(positions),
               .seq_start = b.ints(seq_start),
               .page_table = b.ints(page_table, num_sequences, max_pages),
               .sinks = {},
               .out = b.output({tokens, s.heads, s.v_dim}),
               .scale = 1.0f / std::sqrt(static_cast<float>(s.k_dim)),
               .soft_cap = s.soft_cap,
               .window = s.window};
  if (s.values_in_keys) {
    op.v_cache = op.k_cache;
    op.v_cache.shape[3] = s.v_dim;
  } else {
    op.v_cache = b.cache(s.cache, num_pages, s.kv_heads, s.v_dim);
  }
  if (s.sinks) op.sinks = b.floats({s.heads});
  if (s.reach >= 0) op.oldest = b.ints(oldest);
  if (s.slopes) op.slopes = b.floats({s.heads}, {}, 0.1f);
  if (!s.groups.empty() && s.tells_groups) op.shared = b.ints(shared, num_sequences, 3);
  return b.finish(op);
}

// A token each of sequences that begin with the same pages.
template <typename Add>
void add_shared_check_cases(Add&& add) {
  // Groups of different sizes, sequences of none between them. A sequence's own pages: the one that
  // its token is the first of, many, some.
  std::vector<Run> runs;
  for (const int32_t cached :
       {256, 256 + 31, 700, 256, 300, 1600, 1601, 40, 32, 4000, 64, 67, 900}) {
    runs.push_back({cached, 1});
  }
  const std::vector<Group> groups = {{0, 5, 8}, {5, 7, 50}, {10, 13, 2}};
  for (const KvType& kv : kv_types()) {
    const std::string name = find_block_format(kv.dtype)->name;
    const auto with = [&](int64_t heads, int64_t kv_heads, int64_t dim) {
      return Setup{.runs = runs,
                   .heads = heads,
                   .kv_heads = kv_heads,
                   .k_dim = dim,
                   .v_dim = dim,
                   .cache = kv.dtype,
                   .groups = groups};
    };
    for (const int64_t dim : {int64_t{64}, int64_t{128}}) {
      const std::string size = ", head size " + std::to_string(dim);
      add(name + " shared pages, 4 heads for one" + size, with(8, 2, dim));
      add(name + " shared pages, 16 heads for one" + size, with(16, 1, dim));
    }
    add(name + " shared pages, a head for each", with(3, 3, 128));
    Setup altered = with(14, 2, 64);
    altered.soft_cap = 30.0f;
    altered.sinks = true;
    altered.q_gap = 256;
    add(name + " shared pages, cap and sinks, strided q", altered);
    // More rows than a tile has, and a long way to go.
    add(name + " shared pages of 70 sequences", {.runs = std::vector<Run>(70, Run{40 * 32 + 45, 1}),
                                                 .heads = 4,
                                                 .kv_heads = 1,
                                                 .k_dim = 128,
                                                 .v_dim = 128,
                                                 .cache = kv.dtype,
                                                 .groups = {{0, 70, 41}}});
  }
  Setup windowed{.runs = runs, .groups = groups};
  windowed.window = 100;
  add("shared pages and a window", windowed);
  add("shared pages, head size 256",
      {.runs = runs, .heads = 8, .k_dim = 256, .v_dim = 256, .groups = groups});
  add("shared pages of 300 sequences", {.runs = std::vector<Run>(300, Run{130, 1}),
                                        .heads = 2,
                                        .kv_heads = 1,
                                        .groups = {{0, 100, 4}, {100, 290, 3}}});
  add("shared pages of many pairs",
      {.runs = std::vector<Run>(128, Run{100, 1}), .heads = 2, .kv_heads = 1, .groups = [] {
         std::vector<Group> pairs;
         for (int32_t i = 0; i < 128; i += 2) {
           pairs.push_back({i, i + 2, 1 + i % 3});
         }
         return pairs;
       }()});
  add("shared pages, a long way and a long one's own",
      {.runs = {{9000, 1}, {14000, 1}}, .kv_heads = 1, .groups = {{0, 2, 200}}});
}

}  // namespace

void attention_check_cases(std::vector<CaseRow>& rows) {
  const auto add = [&rows](const std::string& name, const Setup& setup) {
    rows.push_back({"attention", name, [setup] { return make_attention(setup); }});
  };
  add_shared_check_cases(add);
  for (const KvType& kv : kv_types()) {
    const DType cache = kv.dtype;
    const std::string name = find_block_format(cache)->name;
    add(name + " first token", {.runs = {{0, 1}}, .cache = cache});
    add(name + " prefill over pages", {.runs = {{0, 75}}, .cache = cache});
    add(name + " prefill continued mid-page", {.runs = {{45, 40}}, .cache = cache});
    add(name + " at a page's end", {.runs = {{31, 1}, {32, 1}, {63, 2}}, .cache = cache});
    add(name + " mixed batch",
        {.runs = {{100, 1}, {0, 33}, {7, 1}, {64, 5}}, .heads = 8, .cache = cache});
    add(name + " beyond a split", {.runs = {{kAttentionSplit + 40, 2}, {3, 1}}, .cache = cache});
  }
  // Groups of heads: alone, within a register tile, across several, more than a tile holds.
  add("one head for each", {.runs = {{20, 3}}, .heads = 3, .kv_heads = 3});
  add("32 heads for one",
      {.runs = {{20, 3}}, .heads = 32, .kv_heads = 1, .k_dim = 32, .v_dim = 32});
  add("seven heads for one", {.runs = {{40, 9}}, .heads = 14, .kv_heads = 2});
  add("71 heads for one", {.runs = {{33, 3}}, .heads = 71, .kv_heads = 1});
  add("128 heads for one, two chunks",
      {.runs = {{20, 2}}, .heads = 128, .kv_heads = 1, .k_dim = 48, .v_dim = 32});
  add("one head, many tokens", {.runs = {{5, 230}}, .heads = 2, .kv_heads = 2});
  // Head sizes.
  add("sizes differ", {.runs = {{50, 6}}, .k_dim = 96, .v_dim = 32});
  add("smallest heads", {.runs = {{50, 6}}, .k_dim = 16, .v_dim = 16});
  add("largest heads", {.runs = {{33, 2}}, .heads = 2, .kv_heads = 1, .k_dim = 256, .v_dim = 256});
  for (const int64_t dim : {int64_t{72}, int64_t{80}, int64_t{100}, int64_t{112}, int64_t{6}}) {
    for (const auto& [kv_name, cache] : kv_types()) {
      const BlockFormat& format = *find_block_format(cache);
      if (dim % format.block_elements != 0) continue;
      add(std::string(format.name) + " head size " + std::to_string(dim),
          {.runs = {{30, 5}, {64, 1}}, .k_dim = dim, .v_dim = dim, .cache = cache});
    }
  }
  add("odd sizes differ", {.runs = {{30, 40}}, .k_dim = 40, .v_dim = 100});
  add("q8_0 sizes differ", {.runs = {{30, 12}}, .k_dim = 192, .v_dim = 128, .cache = DType::kQ8_0});
  add("latent attention of 16 heads", {.runs = {{40, 1}},
                                       .heads = 16,
                                       .kv_heads = 1,
                                       .k_dim = 576,
                                       .v_dim = 512,
                                       .values_in_keys = true});
  for (const auto& [kv_name, cache] : kv_types()) {
    add(std::string(kv_name) + " values in keys", {.runs = {{40, 9}},
                                                   .heads = 20,
                                                   .kv_heads = 1,
                                                   .k_dim = 160,
                                                   .v_dim = 128,
                                                   .cache = cache,
                                                   .values_in_keys = true});
  }
  // A token of each of several sequences: short beside long, more than are cut together at once.
  for (const KvType& kv : kv_types()) {
    const std::string name = find_block_format(kv.dtype)->name;
    for (const int64_t dim : {int64_t{64}, int64_t{128}, int64_t{256}}) {
      const Setup s{.runs = {{700, 1}, {0, 1}, {31, 1}, {32, 1}, {1999, 1}, {64, 1}},
                    .heads = 8,
                    .k_dim = dim,
                    .v_dim = dim,
                    .cache = kv.dtype};
      add(name + " one token each, head size " + std::to_string(dim), s);
    }
    add(name + " one token each, 16 heads for one", {.runs = {{90, 1}, {300, 1}, {5, 1}},
                                                     .heads = 16,
                                                     .kv_heads = 1,
                                                     .k_dim = 128,
                                                     .v_dim = 128,
                                                     .cache = kv.dtype});
    add(name + " one token each, window, cap and sinks, strided q",
        {.runs = {{200, 1}, {7, 1}, {1000, 1}},
         .cache = kv.dtype,
         .soft_cap = 30.0f,
         .window = 70,
         .sinks = true,
         .q_gap = 256});
    add(name + " many tokens of two sequences, head size 128",
        {.runs = {{170, 90}, {0, 130}}, .heads = 8, .k_dim = 128, .v_dim = 128, .cache = kv.dtype});
    add(name + " many tokens, window, cap and sinks",
        {.runs = {{300, 70}}, .cache = kv.dtype, .soft_cap = 30.0f, .window = 90, .sinks = true});
  }
  // What a GPU has kernels of its own for: parts of positions, more rows than a tile, sinks over
  // parts.
  for (const KvType& kv : kv_types()) {
    const DType cache = kv.dtype;
    const std::string name = find_block_format(cache)->name;
    add(name + " latent attention, long and short", {.runs = {{700, 1}, {5, 1}, {300, 40}},
                                                     .heads = 16,
                                                     .kv_heads = 1,
                                                     .k_dim = 576,
                                                     .v_dim = 512,
                                                     .cache = cache,
                                                     .values_in_keys = true});
    add(name + " latent attention, one token each", {.runs = {{700, 1}, {5, 1}, {1030, 1}},
                                                     .heads = 20,
                                                     .kv_heads = 1,
                                                     .k_dim = 576,
                                                     .v_dim = 512,
                                                     .cache = cache,
                                                     .values_in_keys = true});
    add(name + " head size 96, sinks and slopes far on", {.runs = {{900, 1}, {40, 1}},
                                                          .k_dim = 96,
                                                          .v_dim = 96,
                                                          .cache = cache,
                                                          .sinks = true,
                                                          .slopes = true});
    add(name + " head size 96, many tokens",
        {.runs = {{333, 70}, {0, 40}}, .k_dim = 96, .v_dim = 96, .cache = cache});
    add(name + " keys of 192, values of 128",
        {.runs = {{300, 70}, {90, 1}}, .k_dim = 192, .v_dim = 128, .cache = cache});
    add(name + " head size 256, window, cap and sinks", {.runs = {{400, 60}, {0, 9}},
                                                         .k_dim = 256,
                                                         .v_dim = 256,
                                                         .cache = cache,
                                                         .soft_cap = 20.0f,
                                                         .window = 150,
                                                         .sinks = true});
    add(name + " head size 256, many tokens", {.runs = {{290, 100}},
                                               .heads = 2,
                                               .kv_heads = 1,
                                               .k_dim = 256,
                                               .v_dim = 256,
                                               .cache = cache});
    add(name + " 48 heads for one, one token", {.runs = {{600, 1}},
                                                .heads = 48,
                                                .kv_heads = 1,
                                                .k_dim = 128,
                                                .v_dim = 128,
                                                .cache = cache});
    add(name + " slopes, many tokens", {.runs = {{150, 90}}, .cache = cache, .slopes = true});
    add(name + " both ways, within reach of 40",
        {.runs = {{0, 150}, {0, 5}}, .heads = 32, .kv_heads = 1, .cache = cache, .reach = 40});
  }
  // Prompts of several tiles of positions, of the head size that most models have.
  add("head size 128 over many pages",
      {.runs = {{300, 70}, {129, 3}, {0, 200}}, .heads = 8, .k_dim = 128, .v_dim = 128});
  // So many heads that the CPU may work otherwise.
  for (const KvType& kv : kv_types()) {
    const DType cache = kv.dtype;
    const std::string name = find_block_format(cache)->name;
    add(name + " 32 heads for two",
        {.runs = {{100, 1}, {0, 33}, {7, 1}, {kAttentionSplit - 3, 6}, {64, 5}},
         .heads = 32,
         .kv_heads = 2,
         .k_dim = 128,
         .v_dim = 128,
         .cache = cache});
  }
  add("17 heads for one, odd sizes, window, cap, sinks, slopes, strided q", {.runs = {{130, 9}},
                                                                             .heads = 17,
                                                                             .kv_heads = 1,
                                                                             .k_dim = 140,
                                                                             .v_dim = 116,
                                                                             .cache = DType::kF16,
                                                                             .soft_cap = 30.0f,
                                                                             .window = 70,
                                                                             .sinks = true,
                                                                             .slopes = true,
                                                                             .q_gap = 64});
  add("32 heads for one, both ways within reach", {.runs = {{0, 150}, {0, 5}},
                                                   .heads = 32,
                                                   .kv_heads = 1,
                                                   .k_dim = 72,
                                                   .v_dim = 72,
                                                   .reach = 40});
  add("one token of 300 sequences",
      {.runs = std::vector<Run>(300, Run{40, 1}), .heads = 2, .kv_heads = 1});
  add("one token of one long sequence", {.runs = {{9000, 1}}, .heads = 4, .kv_heads = 1});
  // Long ones by themselves, so that their own size is what errors are held against.
  for (const int64_t dim : {int64_t{64}, int64_t{128}, int64_t{256}}) {
    add("700 positions, head size " + std::to_string(dim),
        {.runs = {{600, 100}}, .heads = 2, .kv_heads = 1, .k_dim = dim, .v_dim = dim});
  }
  add("window of 200 far on, head size 128",
      {.runs = {{500, 150}}, .heads = 2, .kv_heads = 1, .k_dim = 128, .v_dim = 128, .window = 200});
  // What changes scores.
  add("window of 1", {.runs = {{40, 4}}, .window = 1});
  add("window of 40", {.runs = {{100, 20}, {0, 50}}, .window = 40});
  add("window wider than the text", {.runs = {{10, 4}}, .window = 4096});
  add("window ending in a later split", {.runs = {{kAttentionSplit + 20, 40}}, .window = 48});
  add("window and many tokens", {.runs = {{0, 200}}, .heads = 2, .kv_heads = 2, .window = 33});
  add("soft cap", {.runs = {{40, 4}}, .soft_cap = 5.0f});
  add("sinks", {.runs = {{40, 4}, {0, 2}}, .sinks = true});
  add("sinks beyond a split", {.runs = {{kAttentionSplit + 9, 2}}, .sinks = true});
  add("slopes", {.runs = {{70, 40}, {0, 2}}, .slopes = true});
  add("slopes, seven heads for one",
      {.runs = {{33, 20}}, .heads = 14, .kv_heads = 2, .slopes = true});
  add("both ways", {.runs = {{0, 40}, {0, 1}, {0, 97}}, .reach = 4096});
  add("both ways within reach", {.runs = {{0, 150}, {0, 5}}, .kv_heads = 4, .reach = 8});
  add("both ways over two splits", {.runs = {{0, kAttentionSplit + 40}}, .heads = 2, .reach = 70});
  add("window, cap and sinks, strided q",
      {.runs = {{70, 4}}, .soft_cap = 30.0f, .window = 33, .sinks = true, .q_gap = 256});
  add("nothing", {.runs = {}});
}

void attention_bench_cases(std::vector<CaseRow>& rows) {
  const auto add = [&rows](const std::string& name, const Setup& s) {
    const BlockFormat& format = *find_block_format(s.cache);
    double bytes = 0, flops = 0;
    for (const Run& run : s.runs) {
      const double positions = run.cached + run.tokens;
      const auto dims = static_cast<double>(s.k_dim + s.v_dim);
      const auto cached = static_cast<double>(s.values_in_keys ? s.k_dim : s.k_dim + s.v_dim);
      bytes += positions * static_cast<double>(s.kv_heads) * cached * format.block_bytes /
               format.block_elements;
      flops += 2.0 * (run.cached + (run.tokens + 1) / 2.0) * run.tokens *
               static_cast<double>(s.heads) * dims;
    }
    for (const Group& group : s.groups) {
      bytes -= static_cast<double>(group.end - group.first - 1) * group.pages * kPageTokens *
               static_cast<double>(s.kv_heads) * static_cast<double>(s.k_dim + s.v_dim) *
               format.block_bytes / format.block_elements;
    }
    rows.push_back({"attention", name, [s] { return make_attention(s); }, bytes, flops});
  };
  const Setup llama_8b{.heads = 32, .kv_heads = 8, .k_dim = 128, .v_dim = 128};
  const Setup llama_1b{.heads = 32, .kv_heads = 8};
  const Setup tinyllama{.heads = 32, .kv_heads = 4};
  const auto with = [](Setup s, std::vector<Run> runs, DType cache) {
    s.runs = std::move(runs);
    s.cache = cache;
    return s;
  };
  for (const auto& [kv_name, cache] : kv_types()) {
    if (cache == DType::kF32) continue;
    const std::string name = find_block_format(cache)->name;
    add(name + " decode at 4096", with(llama_8b, {{4095, 1}}, cache));
    add(name + " decode at 32768", with(llama_8b, {{32767, 1}}, cache));
    add(name + " 1B decode at 32768", with(llama_1b, {{32767, 1}}, cache));
    add(name + " tinyllama decode at 32768", with(tinyllama, {{32767, 1}}, cache));
    add(name + " prefill 512", with(llama_8b, {{0, 512}}, cache));
    add(name + " prefill 512 at 8192", with(llama_8b, {{7680, 512}}, cache));
    add(name + " 1B prefill 512 at 8192", with(llama_1b, {{7680, 512}}, cache));
    add(name + " decode of 8 at 1024", with(llama_8b, std::vector<Run>(8, Run{1023, 1}), cache));
    add(name + " decode of 128 at 512", with(llama_8b, std::vector<Run>(128, Run{511, 1}), cache));
  }
  // One system prompt for many; and as where the op is not told so.
  for (const auto& [kv_name, cache] : kv_types()) {
    if (cache == DType::kF32) continue;
    for (const auto& [sequences, tokens] :
         {std::pair{8, 2000}, {32, 2000}, {32, 8000}, {128, 2000}, {128, 8000}}) {
      if (cache != DType::kF16 && (sequences != 32 || tokens != 8000)) continue;
      Setup s = with(llama_8b,
                     std::vector<Run>(static_cast<size_t>(sequences), Run{tokens + 199, 1}), cache);
      s.groups = {{0, sequences, tokens / static_cast<int32_t>(kPageTokens)}};
      const std::string name = std::string(find_block_format(cache)->name) + " " +
                               std::to_string(sequences) + " share " + std::to_string(tokens) +
                               " of " + std::to_string(tokens + 200);
      add(name, s);
      s.tells_groups = false;
      add(name + ", untold", s);
    }
  }
  const Setup latent{
      .heads = 128, .kv_heads = 1, .k_dim = 576, .v_dim = 512, .values_in_keys = true};
  const Setup latent_lite{
      .heads = 16, .kv_heads = 1, .k_dim = 576, .v_dim = 512, .values_in_keys = true};
  const Setup head_96{.heads = 32, .kv_heads = 32, .k_dim = 96, .v_dim = 96};
  const Setup head_256{.heads = 16, .kv_heads = 8, .k_dim = 256, .v_dim = 256};
  for (const auto& [kv_name, cache] : kv_types()) {
    if (cache == DType::kF32) continue;
    const std::string name = find_block_format(cache)->name;
    add(name + " latent attention decode at 4096", with(latent, {{4095, 1}}, cache));
    add(name + " latent attention of 16 heads, decode at 32768",
        with(latent_lite, {{32767, 1}}, cache));
    add(name + " latent attention decode of 64 at 1024",
        with(latent, std::vector<Run>(64, Run{1023, 1}), cache));
    add(name + " latent attention prefill 512 at 4096", with(latent, {{3584, 512}}, cache));
    add(name + " head size 256, prefill 512 at 4096", with(head_256, {{3584, 512}}, cache));
    add(name + " head size 96, decode at 4096", with(head_96, {{4095, 1}}, cache));
    add(name + " head size 96, prefill 512 at 4096", with(head_96, {{3584, 512}}, cache));
  }
}

}  // namespace realm
