// The rows of settings.h. Sampling rows come from the engine's own table of fields; this file adds
// what a person at a terminal expects as defaults, those of llama.cpp's programs, where an API's
// neutral ones would ramble.
#include <algorithm>

#include "app/settings.h"

namespace realm {
namespace {

struct SamplingDefault {
  std::string_view field;
  std::string_view value;
};
constexpr SamplingDefault kSamplingDefaults[] = {
    {"temperature", "0.8"}, {"top_k", "40"}, {"top_p", "0.95"}, {"min_p", "0.05"}};

std::string dashed(std::string_view name) {
  std::string text(name);
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

SettingRow sampling_row(const SamplingField& field) {
  SettingRow row{};
  row.name = dashed(field.name);
  if (!field.alias.empty()) row.synonyms = "--" + dashed(field.alias);
  row.group = SettingGroup::kSampling;
  const bool is_float = std::holds_alternative<float SamplingParams::*>(field.member);
  row.type = is_float ? SettingType::kFloat : SettingType::kInt;
  row.placeholder = is_float ? "X" : "N";
  row.min = field.min;
  row.max = field.max;
  row.min_excluded = field.min_excluded;
  row.help = field.help;
  for (const SamplingDefault& entry : kSamplingDefaults) {
    if (entry.field == field.name) row.fallback = entry.value;
  }
  if (row.fallback.empty()) {
    std::string value = std::to_string(get_sampling_field({}, field));
    while (value.back() == '0') value.pop_back();
    if (value.back() == '.') value.pop_back();
    row.fallback = value;
  }
  return row;
}

// Of tenants, keys and usage: where they are kept, or which server to ask.
std::vector<SettingRow> store_rows() {
  using enum SettingGroup;
  return {{.name = "store",
           .synonyms = {},
           .group = kStore,
           .type = SettingType::kText,
           .fallback = {},
           .placeholder = "FILE",
           .choices = {},
           .help = "tenants, keys and usage; ~/.local/share/realm/realm.db unless set"},
          {.name = "server",
           .synonyms = {},
           .group = kAdmin,
           .type = SettingType::kText,
           .fallback = {},
           .placeholder = "URL",
           .choices = {},
           .help = "admin address of a running server, in place of a store"},
          {.name = "admin-key",
           .synonyms = {},
           .group = kAdmin,
           .type = SettingType::kText,
           .fallback = {},
           .placeholder = "KEY",
           .choices = {},
           .help = "a key with the scope admin, for --server; better in REALM_ADMIN_KEY"}};
}

// Of `realm serve`: name, type, default, placeholder, least and most, help.
std::vector<SettingRow> server_rows() {
  using enum SettingType;
  struct Row {
    const char* name;
    SettingType type;
    const char* fallback;
    const char* placeholder;
    double min, max;
    const char* help;
  };
  constexpr Row kRows[] = {
      {"model", kList, "", "[NAME=]PATH", 0, 0, "a model to serve, as the argument; repeatable"},
      {"host", kText, "127.0.0.1", "ADDRESS", 0, 0, "address to listen on"},
      {"port", kInt, "8080", "N", 0, 65535, "port to listen on; 0 picks a free one"},
      {"unix", kText, "", "PATH", 0, 0, "listen on a unix socket in place of host and port"},
      {"tls-cert", kText, "", "FILE", 0, 0, "PEM certificate chain: speak TLS"},
      {"tls-key", kText, "", "FILE", 0, 0, "PEM key of the certificate"},
      {"parallel", kInt, "32", "N", 1, 1024, "requests of one model that run at once"},
      {"cache-tokens", kInt, "", "TOKENS", 1, 0x1p28,
       "KV cache of each model, for all its requests; a quarter of the free memory unless set, or "
       "what "
       "--gpu-memory leaves, between one context and one for each parallel request"},
      {"gpu-memory", kFloat, "0.9", "SHARE", 0.01, 1,
       "part of the GPU's memory that may be in use once a model and its cache are loaded"},
      {"swap-gb", kFloat, "2", "GB", 0, 10000,
       "host memory for KV cache that has to leave a GPU, used where copying it back is faster "
       "than "
       "computing it again; at most an eighth of what is free"},
      {"queue", kInt, "1024", "N", 0, 1e6, "requests that may wait for each model"},
      {"step-tokens", kInt, "", "N", 1, 65536,
       "most tokens of one step of a model; 512 unless set, 2048 on a GPU"},
      {"step-stretch", kFloat, "2", "X", 1.05, 1000,
       "a step with prompts beside running answers may take so many times as long as without; four "
       "times that for the first 512 tokens of a prompt of at most 1024, if its tenant has no more "
       "waiting"},
      {"step-floor-ms", kInt, "5", "MS", 0, 60000,
       "a step with prompts may last so long, whatever --step-stretch says"},
      {"io-threads", kInt, "1", "N", 1, 64, "threads for connections"},
      {"connections", kInt, "8192", "N", 1, 1e6, "connections open at once"},
      {"max-body-mb", kInt, "8", "N", 1, 1024, "largest body of a request"},
      {"head-seconds", kInt, "10", "N", 1, 3600, "time that a client gets for a request's headers"},
      {"body-seconds", kInt, "60", "N", 1, 3600, "and for its body"},
      {"drain-seconds", kInt, "30", "N", 0, 86400,
       "time that running requests get to finish on SIGTERM"},
      {"cors-origin", kList, "", "ORIGIN", 0, 0,
       "web pages of this origin may use the server; repeatable, none unless set"},
      {"admin", kText, "", "ADDRESS", 0, 0,
       "administration and /metrics on PORT, HOST:PORT or unix:PATH; none unless set"},
      {"usage-flush-ms", kInt, "1000", "MS", 0, 60000,
       "how long usage rows gather before they are written; 0 writes them before answers end"},
      {"tenant-labels", kInt, "100", "N", 0, 10000,
       "tenants with series of their own in /metrics; the others are summed up"},
      {"otlp-endpoint", kText, "", "URL", 0, 0,
       "export spans to this OpenTelemetry collector (OTLP over HTTP); none unless set"},
  };
  std::vector<SettingRow> rows;
  for (const Row& row : kRows) {
    rows.push_back({.name = row.name,
                    .synonyms = {},
                    .group = SettingGroup::kServer,
                    .type = row.type,
                    .fallback = row.fallback,
                    .placeholder = row.placeholder,
                    .choices = {},
                    .min = row.min,
                    .max = row.max,
                    .help = row.help});
  }
  return rows;
}

std::vector<SettingRow> make_table() {
  using enum SettingGroup;
  using enum SettingType;
  constexpr double kIntMax = std::numeric_limits<int32_t>::max();
  std::vector<SettingRow> rows = {
      {.name = "config",
       .synonyms = {},
       .group = kGeneral,
       .type = kText,
       .fallback = {},
       .placeholder = "FILE",
       .choices = {},
       .help = "configuration file in place of ~/.config/realm/realm.conf"},
      {.name = "log-level",
       .synonyms = {},
       .group = kGeneral,
       .type = kChoice,
       .fallback = "warn",
       .placeholder = {},
       .choices = {"trace", "debug", "info", "warn", "error", "off"},
       .help = "what is logged to stderr"},
      {.name = "log-format",
       .synonyms = {},
       .group = kGeneral,
       .type = kChoice,
       .fallback = "text",
       .placeholder = {},
       .choices = {"text", "json"},
       .help = "lines to read, or a JSON object each to search"},
      {.name = "backend",
       .synonyms = {},
       .group = kModel,
       .type = kChoice,
       .fallback = "auto",
       .placeholder = {},
       .choices = {"auto", "cpu", "cuda"},
       .help =
           "what the model runs on; auto is the GPU where there is one that this build can use"},
      {.name = "gpu-layers",
       .synonyms = {},
       .group = kModel,
       .type = kText,
       .fallback = "auto",
       .placeholder = "N|auto",
       .choices = {},
       .help = "layers of the model that the GPU takes, counted from the last, the processor the "
               "others; auto is as many as fit"},
      {.name = "threads",
       .synonyms = "-t",
       .group = kModel,
       .type = kInt,
       .fallback = {},
       .placeholder = "N",
       .choices = {},
       .min = 1,
       .max = 1024,
       .help = "CPU threads; all cores unless set"},
      {.name = "ctx",
       .synonyms = "-c",
       .group = kModel,
       .type = kInt,
       .fallback = {},
       .placeholder = "TOKENS",
       .choices = {},
       .min = 1,
       .max = kIntMax,
       .help = "context length; what the model was trained for, at most 8192, unless set"},
      {.name = "kv-type",
       .synonyms = {},
       .group = kModel,
       .type = kChoice,
       .fallback = "f16",
       .placeholder = {},
       .choices = {"f32", "f16", "q8_0"},
       .help = "type of the KV cache"},
      {.name = "cpu-isa",
       .synonyms = {},
       .group = kModel,
       .type = kChoice,
       .fallback = "auto",
       .placeholder = {},
       .choices = {"auto", "scalar", "avx2", "avx512", "amx", "neon"},
       .help = "instruction set of the CPU kernels, to find faults; results are the same (on amx "
               "to some 1e-5, for BF16 weights and for 16 heads or more to a KV head)"},
      {.name = "compute",
       .synonyms = {},
       .group = kModel,
       .type = kChoice,
       .fallback = "auto",
       .placeholder = {},
       .choices = {"auto", "bf16", "fp16", "fp8"},
       .help = "what products multiply on a GPU (auto: bf16): fp16 has three more bits and cuts "
               "activations beyond 65504; fp8, on Hopper for prompts and large batches, is less "
               "exact; neither is faster than bf16. The CPU has its own way and takes auto only"},
      {.name = "batch-invariant",
       .synonyms = {},
       .group = kModel,
       .type = kFlag,
       .fallback = {},
       .placeholder = {},
       .choices = {},
       .help = "on a GPU, the same bits for a request whatever runs beside it; slower in small "
               "batches (the CPU is always so)"},
      {.name = "no-mmap",
       .synonyms = {},
       .group = kModel,
       .type = kFlag,
       .fallback = {},
       .placeholder = {},
       .choices = {},
       .help = "read the model into memory in place of mapping its file"},
      {.name = "mlock",
       .synonyms = {},
       .group = kModel,
       .type = kFlag,
       .fallback = {},
       .placeholder = {},
       .choices = {},
       .help = "keep the weights in memory, never paged out (CPU)"},
      {.name = "lora",
       .synonyms = {},
       .group = kModel,
       .type = kList,
       .fallback = {},
       .placeholder = "NAME=PATH[:SCALE]",
       .choices = {},
       .help = "apply an adapter; repeatable"},
      {.name = "max-tokens",
       .synonyms = "-n",
       .group = kGeneration,
       .type = kInt,
       .fallback = "-1",
       .placeholder = "N",
       .choices = {},
       .min = -1,
       .max = kIntMax,
       .help = "end the answer after this many tokens; -1 is no limit"},
      {.name = "stop",
       .synonyms = {},
       .group = kGeneration,
       .type = kList,
       .fallback = {},
       .placeholder = "TEXT",
       .choices = {},
       .help = "end the answer before this text; repeatable"},
      {.name = "seed",
       .synonyms = "-s",
       .group = kSampling,
       .type = kInt,
       .fallback = "-1",
       .placeholder = "N",
       .choices = {},
       .min = -1,
       .max = 0x1p53,
       .help = "the same seed gives the same text; -1 draws one"},
  };
  for (const SamplingField& field : sampling_fields()) {
    // Reports, not choices of a token: the API's.
    if (field.name == "logprobs" || field.name == "top_logprobs") continue;
    rows.push_back(sampling_row(field));
  }
  rows.push_back({.name = "logit-bias",
                  .synonyms = {},
                  .group = kSampling,
                  .type = kText,
                  .fallback = {},
                  .placeholder = "JSON",
                  .choices = {},
                  .help = "added to the logits of tokens, as {\"15043\": -1.5, \"2\": false}; "
                          "false forbids the token"});
  rows.push_back({.name = "dry-sequence-breaker",
                  .synonyms = {},
                  .group = kSampling,
                  .type = kList,
                  .fallback = {},
                  .placeholder = "TEXT",
                  .choices = {},
                  .help = "text over which dry-multiplier sees no repetition; repeatable"});
  rows.push_back({.name = "samplers",
                  .synonyms = {},
                  .group = kSampling,
                  .type = kList,
                  .fallback = {},
                  .placeholder = "NAME",
                  .choices = {},
                  .help = "samplers to apply, in this order; repeatable, or names with commas"});
  for (SettingRow& row : store_rows()) rows.push_back(std::move(row));
  for (SettingRow& row : server_rows()) rows.push_back(std::move(row));
  return rows;
}

}  // namespace

std::span<const SettingRow> settings_table() {
  static const std::vector<SettingRow> table = make_table();
  return table;
}

}  // namespace realm
