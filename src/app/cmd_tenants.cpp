// `realm tenants ACTION [NAME]`: who is served, and what each may use.
#include <CLI/App.hpp>
#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <map>
#include <memory>

#include "app/administration.h"
#include "app/commands.h"
#include "tenants/quotas.h"

namespace realm {
namespace json = boost::json;

void add_tenants(CLI::App& root, Commands& commands);

namespace {

struct TenantsOptions {
  std::string action, name;
  std::map<std::string, double> quotas;  // as given
  bool suspend = false, resume = false, json = false;
};

std::string option_of(std::string_view quota) {
  std::string name = "--" + std::string(quota);
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

json::object given_fields(const TenantsOptions& options) {
  json::object body;
  for (const auto& [name, value] : options.quotas) {
    const bool is_integer = value == static_cast<double>(static_cast<int64_t>(value));
    body[name] = is_integer ? json::value(static_cast<int64_t>(value)) : json::value(value);
  }
  if (options.suspend || options.resume) body["suspended"] = options.suspend;
  return body;
}

Result<AdminRequest> request_for(const TenantsOptions& options) {
  const auto wrong = [&](const std::string& problem) {
    return Error{ErrorCode::kInvalidArgument, "'realm tenants " + options.action + "' " + problem};
  };
  const bool changes = options.action == "create" || options.action == "set";
  const json::object fields = given_fields(options);
  if (options.action == "list" && !options.name.empty()) return wrong("takes no NAME");
  if (options.action != "list" && options.name.empty()) return wrong("needs a NAME");
  if (!changes && !fields.empty()) return wrong("takes no quotas");
  if (options.action == "set" && fields.empty()) {
    return wrong("needs something to set, as --weight 2");
  }
  const std::string one = "/admin/tenants/" + percent_encoded(options.name);
  if (options.action == "list") return AdminRequest{"GET", "/admin/tenants"};
  if (options.action == "show") return AdminRequest{"GET", one};
  if (options.action == "rm") return AdminRequest{"DELETE", one};
  if (options.action == "set") return AdminRequest{"PATCH", one, json::serialize(fields)};
  json::object body = fields;
  body["name"] = options.name;
  return AdminRequest{"POST", "/admin/tenants", json::serialize(body)};
}

std::string quota_text(const json::value& value) {
  return value.is_int64() && value.get_int64() == kNoLimit ? "-" : shown(value);
}

std::string table(const json::array& tenants) {
  std::vector<std::string> titles = {"NAME"};
  for (const QuotaField& field : quota_fields()) titles.emplace_back(field.name);
  titles.emplace_back("state");
  std::vector<std::vector<std::string>> rows = {titles};
  for (const json::value& value : tenants) {
    const json::object& tenant = value.as_object();
    std::vector<std::string> row = {shown(tenant.at("name"))};
    for (const QuotaField& field : quota_fields()) row.push_back(quota_text(tenant.at(field.name)));
    row.emplace_back(tenant.at("suspended").as_bool() ? "suspended" : "active");
    rows.push_back(std::move(row));
  }
  return aligned(rows);
}

std::string details(const json::object& tenant) {
  std::vector<std::vector<std::string>> rows = {
      {"name", shown(tenant.at("name"))},
      {"created", shown_time(tenant.at("created_ms"))},
      {"state", tenant.at("suspended").as_bool() ? "suspended" : "active"}};
  for (const QuotaField& field : quota_fields()) {
    rows.push_back({std::string(field.name), quota_text(tenant.at(field.name))});
  }
  return aligned(rows);
}

Status run_tenants(const Settings& settings, const TenantsOptions& options) {
  const AdminRequest request = TRY(request_for(options));
  Administration administration = TRY(Administration::open(settings, options.action == "create"));
  const json::object answer = TRY(administration.ask(request));
  std::string out;
  if (options.json) {
    out = json::serialize(options.action == "list" ? answer.at("tenants") : answer) + "\n";
  } else if (options.action == "list") {
    out = table(answer.at("tenants").as_array());
  } else if (options.action == "rm") {
    out = "removed " + options.name + "\n";
  } else {
    out = details(answer);
  }
  std::fputs(out.c_str(), stdout);
  return {};
}

}  // namespace

void add_tenants(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "tenants", "Tenants and their quotas, in a store or on a running server",
      {"realm tenants create acme --weight 2 --tokens-per-minute 100000",
       "realm tenants set acme --concurrent-requests 8 --suspend", "realm tenants list --json",
       "realm tenants show acme --server http://127.0.0.1:9090 --admin-key rk_..."},
      {SettingGroup::kStore, SettingGroup::kAdmin});
  auto options = std::make_shared<TenantsOptions>();
  command->add_option("ACTION", options->action, "what to do")
      ->type_name("{create,list,show,set,rm}")
      ->check(CLI::IsMember({"create", "list", "show", "set", "rm"}).description(""))
      ->required();
  command->add_option("NAME", options->name, "the tenant")->type_name("");
  for (const QuotaField& field : quota_fields()) {
    command
        ->add_option_function<double>(
            option_of(field.name),
            [options, name = std::string(field.name)](const double& value) {
              options->quotas[name] = value;
            },
            std::string(field.help))
        ->type_name("N");
  }
  CLI::Option* suspend = command->add_flag("--suspend", options->suspend, "refuse its keys");
  command->add_flag("--resume", options->resume, "accept its keys again")->excludes(suspend);
  command->add_flag("--json", options->json, "print JSON");
  commands.on_run(command,
                  [&commands, options] { return run_tenants(commands.settings(), *options); });
}

}  // namespace realm
