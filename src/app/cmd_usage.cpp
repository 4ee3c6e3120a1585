// `realm usage`: what was used, summed over the ledger.
#include <CLI/App.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <memory>

#include "app/administration.h"
#include "app/commands.h"
#include "base/clock.h"

namespace realm {
namespace json = boost::json;

void add_usage(CLI::App& root, Commands& commands);

namespace {

struct UsageOptions {
  std::string by = "tenant", tenant, key, model, since, until;
  bool json = false;
};

Result<AdminRequest> request_for(const UsageOptions& options) {
  std::string target = "/admin/usage?by=" + options.by;
  const std::pair<const char*, const std::string&> filters[] = {
      {"tenant", options.tenant}, {"key", options.key}, {"model", options.model}};
  for (const auto& [name, value] : filters) {
    if (!value.empty()) target += "&" + std::string(name) + "=" + percent_encoded(value);
  }
  const std::pair<const char*, const std::string&> times[] = {{"since_ms", options.since},
                                                              {"until_ms", options.until}};
  for (const auto& [name, value] : times) {
    if (value.empty()) continue;
    const int64_t time_ms = TRY(parse_time(value, unix_ms_now(), true));
    target += "&" + std::string(name) + "=" + std::to_string(time_ms);
  }
  return AdminRequest{"GET", target};
}

std::string table(const json::object& answer) {
  std::vector<std::string> columns;
  for (const json::value& dimension : answer.at("by").as_array()) {
    columns.push_back(shown(dimension));
  }
  for (const char* sum : {"requests", "prompt_tokens", "cached_tokens", "generated_tokens",
                          "queue_seconds", "run_seconds"}) {
    columns.emplace_back(sum);
  }
  std::vector<std::vector<std::string>> rows = {columns};
  for (const json::value& value : answer.at("usage").as_array()) {
    std::vector<std::string> row;
    for (const std::string& column : columns) {
      const std::string text = shown(value.as_object().at(column));
      row.push_back(text.empty() ? "-" : text);
    }
    rows.push_back(std::move(row));
  }
  return aligned(rows);
}

Status run_usage(const Settings& settings, const UsageOptions& options) {
  const AdminRequest request = TRY(request_for(options));
  Administration administration = TRY(Administration::open(settings, false));
  const json::object answer = TRY(administration.ask(request));
  const std::string out = options.json ? json::serialize(answer.at("usage")) + "\n" : table(answer);
  std::fputs(out.c_str(), stdout);
  return {};
}

}  // namespace

void add_usage(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("usage", "What was used, by tenant, key, model or day",
                   {"realm usage --since 30d", "realm usage --by day,model --tenant acme --json",
                    "realm usage --by key --server http://127.0.0.1:9090"},
                   {SettingGroup::kStore, SettingGroup::kAdmin});
  auto options = std::make_shared<UsageOptions>();
  command
      ->add_option("--by", options->by,
                   "tenant (unless given), key, model, adapter, outcome, day; several with commas; "
                   "empty for one sum")
      ->type_name("NAMES");
  command->add_option("--tenant", options->tenant, "only this tenant's")->type_name("NAME");
  command->add_option("--key", options->key, "only of the key with this prefix")
      ->type_name("PREFIX");
  command->add_option("--model", options->model, "only of this model")->type_name("NAME");
  command->add_option("--since", options->since, "from then on: 30d (back), 2026-01-31 (UTC)")
      ->type_name("TIME");
  command->add_option("--until", options->until, "up to then, not included")->type_name("TIME");
  command->add_flag("--json", options->json, "print a JSON list");
  commands.on_run(command,
                  [&commands, options] { return run_usage(commands.settings(), *options); });
}

}  // namespace realm
