// `realm keys ACTION [PREFIX]`: what clients prove with who they are.
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

void add_keys(CLI::App& root, Commands& commands);

namespace {

struct KeysOptions {
  std::string action, prefix, tenant, name, scopes, expires;
  std::vector<std::string> models;
  bool json = false;
};

Result<AdminRequest> request_for(const KeysOptions& options) {
  const auto wrong = [&](const std::string& problem) {
    return Error{ErrorCode::kInvalidArgument, "'realm keys " + options.action + "' " + problem};
  };
  const bool describes = !options.name.empty() || !options.scopes.empty() ||
                         !options.expires.empty() || !options.models.empty();
  if (options.action != "create" && describes) {
    return wrong("takes no --name, --scopes, --model or --expires");
  }
  if (options.action == "revoke") {
    if (options.prefix.empty()) return wrong("needs the PREFIX of a key");
    if (!options.tenant.empty()) return wrong("takes no --tenant");
    return AdminRequest{"DELETE", "/admin/keys/" + percent_encoded(options.prefix)};
  }
  if (options.action == "list") {
    return AdminRequest{"GET", "/admin/keys?tenant=" + percent_encoded(options.tenant) +
                                   "&prefix=" + percent_encoded(options.prefix)};
  }
  if (!options.prefix.empty()) return wrong("takes no PREFIX: it is drawn");
  json::object body;
  if (!options.tenant.empty()) body["tenant"] = options.tenant;
  if (!options.name.empty()) body["name"] = options.name;
  if (!options.scopes.empty()) body["scopes"] = options.scopes;
  if (!options.expires.empty()) {
    body["expires_ms"] = TRY(parse_time(options.expires, unix_ms_now(), false));
  }
  if (!options.models.empty()) {
    json::array models;
    for (const std::string& model : options.models) models.emplace_back(model);
    body["models"] = std::move(models);
  }
  return AdminRequest{"POST", "/admin/keys", json::serialize(body)};
}

std::string state_of(const json::object& key) {
  if (!key.at("revoked_ms").is_null()) return "revoked";
  const json::value& expires = key.at("expires_ms");
  return expires.is_int64() && expires.get_int64() <= unix_ms_now() ? "expired" : "active";
}

std::string table(const json::array& keys) {
  std::vector<std::vector<std::string>> rows = {
      {"PREFIX", "tenant", "scopes", "models", "created", "expires", "state", "name"}};
  for (const json::value& value : keys) {
    const json::object& key = value.as_object();
    std::string models;
    for (const json::value& model : key.at("models").as_array()) {
      models += (models.empty() ? "" : ",") + shown(model);
    }
    rows.push_back({shown(key.at("prefix")), shown(key.at("tenant")), shown(key.at("scopes")),
                    models.empty() ? "all" : models, shown_time(key.at("created_ms")),
                    shown_time(key.at("expires_ms")), state_of(key), shown(key.at("name"))});
  }
  return aligned(rows);
}

Status run_keys(const Settings& settings, const KeysOptions& options) {
  const AdminRequest request = TRY(request_for(options));
  Administration administration = TRY(Administration::open(settings, options.action == "create"));
  const json::object answer = TRY(administration.ask(request));
  std::string out;
  if (options.json) {
    out = json::serialize(options.action == "list" ? answer.at("keys") : answer) + "\n";
  } else if (options.action == "list") {
    out = table(answer.at("keys").as_array());
  } else if (options.action == "revoke") {
    out = "revoked " + shown(answer.at("prefix")) + "\n";
  } else {
    std::fprintf(stderr, "realm: a key of tenant %s; it is shown this once:\n",
                 shown(answer.at("tenant")).c_str());
    out = shown(answer.at("key")) + "\n";
  }
  std::fputs(out.c_str(), stdout);
  return {};
}

}  // namespace

void add_keys(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "keys", "API keys of tenants, in a store or on a running server",
      {"realm keys create --tenant acme --name laptop --expires 90d",
       "realm keys create --scopes admin,metrics", "realm keys list --tenant acme",
       "realm keys revoke rk_3fJq", "realm keys list --server http://127.0.0.1:9090 --json"},
      {SettingGroup::kStore, SettingGroup::kAdmin});
  auto options = std::make_shared<KeysOptions>();
  command->add_option("ACTION", options->action, "what to do")
      ->type_name("{create,list,revoke}")
      ->check(CLI::IsMember({"create", "list", "revoke"}).description(""))
      ->required();
  command->add_option("PREFIX", options->prefix, "a key's prefix, or its beginning")->type_name("");
  command->add_option("--tenant", options->tenant, "whose key; the tenant 'default' unless given")
      ->type_name("NAME");
  command->add_option("--name", options->name, "a note of what the key is for")->type_name("TEXT");
  command
      ->add_option("--scopes", options->scopes,
                   "what it allows: inference (unless given), admin, metrics; several with commas")
      ->type_name("SCOPES");
  command->add_option("--model", options->models, "the only model it may use; repeatable")
      ->type_name("NAME")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--expires", options->expires, "when it ends: 30d, 12h, 2026-01-31")
      ->type_name("TIME");
  command->add_flag("--json", options->json, "print JSON");
  commands.on_run(command,
                  [&commands, options] { return run_keys(commands.settings(), *options); });
}

}  // namespace realm
