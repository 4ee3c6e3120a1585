#include "tenants/admin_api.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <vector>

namespace realm {
namespace json = boost::json;

namespace {

using Parameters = std::map<std::string, std::string, std::less<>>;

struct Target {
  std::string collection;  // "tenants"
  std::string name;        // after it; empty where there is none
  bool has_name = false;
  Parameters parameters;
};

Error wrong(std::string problem) {
  return Error{ErrorCode::kInvalidArgument, std::move(problem)};
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* first = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(first, first + 2, value, 16).ptr == first + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

Result<Target> parse_target(std::string_view text) {
  constexpr std::string_view kRoot = "/admin/";
  Target target;
  const size_t question = text.find('?');
  std::string_view path = text.substr(0, question);
  if (!path.starts_with(kRoot)) return Error{ErrorCode::kNotFound, "there is nothing here"};
  path.remove_prefix(kRoot.size());
  const size_t slash = path.find('/');
  target.collection = path.substr(0, slash);
  target.has_name = slash != std::string_view::npos;
  if (target.has_name) target.name = percent_decoded(path.substr(slash + 1));
  std::string_view query = question == std::string_view::npos ? "" : text.substr(question + 1);
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    const size_t equals = pair.find('=');
    const std::string value =
        equals == std::string_view::npos ? "" : percent_decoded(pair.substr(equals + 1));
    target.parameters[percent_decoded(pair.substr(0, equals))] = value;
  }
  return target;
}

Status check_parameters(const Target& target, std::initializer_list<std::string_view> known) {
  for (const auto& [name, value] : target.parameters) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return wrong("there is no parameter '" + name + "'");
    }
  }
  return {};
}

Result<std::optional<int64_t>> time_parameter(const Target& target, std::string_view name) {
  const auto found = target.parameters.find(name);
  if (found == target.parameters.end()) return std::optional<int64_t>();
  int64_t value = 0;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return wrong(std::string(name) + " must be milliseconds since 1970");
  }
  return std::optional<int64_t>(value);
}

std::string parameter(const Target& target, std::string_view name) {
  const auto found = target.parameters.find(name);
  return found == target.parameters.end() ? "" : found->second;
}

Result<json::object> parse_body(const std::string& body) {
  json::error_code error;
  json::parse_options options;
  options.max_depth = 4;
  json::value value = json::parse(body, error, {}, options);
  if (error || !value.is_object()) return wrong("the body must be a JSON object");
  return std::move(value.as_object());
}

Result<std::string> text_field(const json::value& value, std::string_view name) {
  if (!value.is_string()) return wrong(std::string(name) + " must be a string");
  return std::string(value.get_string());
}

json::value optional_number(const std::optional<int64_t>& value) {
  return value ? json::value(*value) : json::value(nullptr);
}

json::object to_json(const TenantRecord& tenant) {
  json::object out{
      {"name", tenant.name}, {"created_ms", tenant.created_ms}, {"suspended", tenant.suspended}};
  for (const QuotaField& field : quota_fields()) {
    std::visit([&](auto member) { out[field.name] = tenant.quotas.*member; }, field.member);
  }
  return out;
}

json::object to_json(const KeyRecord& key) {
  json::array models;
  for (const std::string& model : key.models) models.emplace_back(model);
  return {{"prefix", key.prefix},
          {"tenant", key.tenant_name},
          {"name", key.name},
          {"scopes", key.scopes.text()},
          {"models", std::move(models)},
          {"created_ms", key.created_ms},
          {"expires_ms", optional_number(key.expires_ms)},
          {"revoked_ms", optional_number(key.revoked_ms)}};
}

// The fields that a tenant's owner may set, out of a body.
Status read_tenant_fields(const json::object& body, Quotas& quotas, bool& suspended) {
  for (const auto& [key, value] : body) {
    const std::string name(key);
    if (name == "name") continue;
    if (name == "suspended") {
      if (!value.is_bool()) return wrong("suspended must be true or false");
      suspended = value.get_bool();
      continue;
    }
    const QuotaField* field = find_quota_field(name);
    if (field == nullptr) return wrong("a tenant has no field '" + name + "'");
    if (!value.is_number()) return wrong(name + " must be a number");
    TRY(set_quota(quotas, *field, value.to_number<double>()));
  }
  return {};
}

Result<json::object> tenants(TenantStore& store, const AdminRequest& request, const Target& target,
                             int64_t now_ms) {
  TRY(check_parameters(target, {}));
  if (!target.has_name && request.method == "GET") {
    json::array list;
    for (const TenantRecord& tenant : TRY(store.list_tenants())) list.push_back(to_json(tenant));
    return json::object{{"tenants", std::move(list)}};
  }
  if (!target.has_name && request.method == "POST") {
    const json::object body = TRY(parse_body(request.body));
    const json::value* name = body.if_contains("name");
    if (name == nullptr) return wrong("name is missing");
    Quotas quotas;
    bool suspended = false;
    TRY(read_tenant_fields(body, quotas, suspended));
    const std::string text = TRY(text_field(*name, "name"));
    TenantRecord tenant = TRY(store.create_tenant(text, quotas, now_ms));
    if (suspended) tenant = TRY(store.set_tenant(text, quotas, true));
    return to_json(tenant);
  }
  if (target.has_name && request.method == "GET") {
    return to_json(TRY(store.find_tenant(target.name)));
  }
  if (target.has_name && request.method == "PATCH") {
    TenantRecord tenant = TRY(store.find_tenant(target.name));
    const json::object body = TRY(parse_body(request.body));
    if (body.contains("name")) return wrong("a tenant's name cannot be changed");
    TRY(read_tenant_fields(body, tenant.quotas, tenant.suspended));
    return to_json(TRY(store.set_tenant(target.name, tenant.quotas, tenant.suspended)));
  }
  if (target.has_name && request.method == "DELETE") {
    TRY(store.remove_tenant(target.name, now_ms));
    return json::object{{"removed", target.name}};
  }
  return wrong(request.method + " is not answered here");
}

Result<NewKeyRequest> read_key_request(const json::object& body) {
  NewKeyRequest request;
  for (const auto& [key, value] : body) {
    const std::string name(key);
    if (name == "tenant") {
      request.tenant = TRY(text_field(value, name));
    } else if (name == "name") {
      request.name = TRY(text_field(value, name));
    } else if (name == "scopes") {
      const std::string scopes = TRY(text_field(value, name));
      request.scopes = TRY(Scopes::parse(scopes));
    } else if (name == "models") {
      if (!value.is_array()) return wrong("models must be an array of strings");
      for (const json::value& model : value.get_array()) {
        request.models.push_back(TRY(text_field(model, "each of models")));
      }
    } else if (name == "expires_ms") {
      if (value.is_null()) continue;
      if (!value.is_int64()) return wrong("expires_ms must be milliseconds since 1970");
      request.expires_ms = value.get_int64();
    } else {
      return wrong("a key has no field '" + name + "'");
    }
  }
  return request;
}

Result<json::object> keys(TenantStore& store, const AdminRequest& request, const Target& target,
                          int64_t now_ms) {
  TRY(check_parameters(target, {"tenant", "prefix"}));
  if (!target.has_name && request.method == "GET") {
    json::array list;
    const KeyFilter filter{.tenant = parameter(target, "tenant"),
                           .prefix = parameter(target, "prefix")};
    for (const KeyRecord& key : TRY(store.list_keys(filter))) list.push_back(to_json(key));
    return json::object{{"keys", std::move(list)}};
  }
  if (!target.has_name && request.method == "POST") {
    const json::object body = TRY(parse_body(request.body));
    const NewKeyRequest wanted = TRY(read_key_request(body));
    const CreatedKey created = TRY(store.create_key(wanted, now_ms));
    json::object out = to_json(created.record);
    out["key"] = created.text;
    return out;
  }
  if (target.has_name && request.method == "DELETE") {
    return to_json(TRY(store.revoke_key(target.name, now_ms)));
  }
  return wrong(request.method + " is not answered here");
}

Result<json::object> usage(TenantStore& store, const AdminRequest& request, const Target& target) {
  TRY(check_parameters(target, {"by", "tenant", "key", "model", "since_ms", "until_ms"}));
  if (target.has_name || request.method != "GET") {
    return wrong(request.method + " is not answered here");
  }
  // Not inside the braces below: leaving from there would leak the members made before.
  const std::optional<int64_t> since_ms = TRY(time_parameter(target, "since_ms"));
  const std::optional<int64_t> until_ms = TRY(time_parameter(target, "until_ms"));
  UsageQuery query{.tenant = parameter(target, "tenant"),
                   .key = parameter(target, "key"),
                   .model = parameter(target, "model"),
                   .since_ms = since_ms,
                   .until_ms = until_ms};
  json::array by;
  for (std::string rest = parameter(target, "by"); !rest.empty();) {
    const std::string word = rest.substr(0, rest.find(','));
    rest.erase(0, word.size() + 1);
    query.by.push_back(TRY(parse_usage_dimension(word)));
    by.emplace_back(word);
  }
  json::array rows;
  for (const UsageTotal& total : TRY(store.usage(query))) {
    json::object row;
    for (size_t i = 0; i < query.by.size(); ++i) {
      row[usage_dimension_name(query.by[i])] = total.group[i];
    }
    row["requests"] = total.requests;
    row["prompt_tokens"] = total.prompt_tokens;
    row["cached_tokens"] = total.cached_tokens;
    row["generated_tokens"] = total.generated_tokens;
    row["queue_seconds"] = static_cast<double>(total.queue_us) / 1e6;
    row["run_seconds"] = static_cast<double>(total.run_us) / 1e6;
    rows.push_back(std::move(row));
  }
  return json::object{{"by", std::move(by)}, {"usage", std::move(rows)}};
}

}  // namespace

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                          (c >= 'a' && c <= 'z') || c == '-' || c == '_' || c == '.';
    if (is_plain) {
      out += c;
    } else {
      out += {'%', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return out;
}

Result<std::string> administer(TenantStore& store, const AdminRequest& request, int64_t now_ms) {
  const Target target = TRY(parse_target(request.target));
  json::object out;
  if (target.collection == "tenants") {
    out = TRY(tenants(store, request, target, now_ms));
  } else if (target.collection == "keys") {
    out = TRY(keys(store, request, target, now_ms));
  } else if (target.collection == "usage") {
    out = TRY(usage(store, request, target));
  } else {
    return Error{ErrorCode::kNotFound, "there is nothing here"};
  }
  return json::serialize(out);
}

}  // namespace realm
