#include "app/settings.h"

#include <CLI/App.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "app/config_file.h"
#include "app/nearest.h"
#include "base/file.h"
#include "formats/json.h"

namespace realm {
namespace {

constexpr size_t kMaxConfigBytes = size_t{1} << 20;

const SettingRow* find_row(std::string_view name) {
  for (const SettingRow& row : settings_table()) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::string variable_name(const SettingRow& row) {
  std::string name = "REALM_" + row.name;
  for (char& c : name) {
    if (c == '-') c = '_';
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return name;
}

// For messages: with the short form that the user may have typed.
std::string option_name(const SettingRow& row) {
  const bool has_short = row.synonyms.starts_with("-") && !row.synonyms.starts_with("--");
  return "--" + row.name + (has_short ? " (" + row.synonyms + ")" : "");
}

const char* group_title(SettingGroup group) {
  switch (group) {
    case SettingGroup::kGeneral:
      return "Program";
    case SettingGroup::kModel:
      return "Model";
    case SettingGroup::kGeneration:
      return "Answer";
    case SettingGroup::kSampling:
      return "Sampling";
    case SettingGroup::kStore:
      return "Store";
    case SettingGroup::kAdmin:
      return "Running server";
    case SettingGroup::kServer:
      return "Server";
  }
  return "";
}

std::string number(double value) {
  char text[32];
  const bool whole = value == std::floor(value) && std::abs(value) < 0x1p60;
  const auto end = whole ? std::to_chars(text, text + sizeof text, static_cast<int64_t>(value))
                         : std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

std::string range_of(const SettingRow& row) {
  return std::string(row.type == SettingType::kInt ? "a whole number of " : "a number ") +
         (row.type == SettingType::kInt ? number(row.min) + " to " + number(row.max)
          : row.min_excluded ? "above " + number(row.min) + " and at most " + number(row.max)
                             : "of " + number(row.min) + " to " + number(row.max));
}

Error wrong_value(const std::string& source, const std::string& wanted, const std::string& text) {
  std::string shown = text.substr(0, 60);
  if (shown.size() < text.size()) shown += "...";
  return Error{ErrorCode::kInvalidArgument,
               source + " must be " + wanted + ", not '" + shown + "'"};
}

template <typename T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A list in the environment or the file: a JSON array of strings, or one entry as it is.
Result<std::vector<std::string>> parse_list(const std::string& text, const std::string& source) {
  if (text.empty() || text.front() != '[') return std::vector<std::string>{text};
  const auto json = parse_json(text, source);
  std::vector<std::string> entries;
  if (json.ok() && json->is_array()) {
    for (const auto& entry : json->get_array()) {
      if (!entry.is_string()) return wrong_value(source, "a JSON array of strings", text);
      entries.emplace_back(entry.get_string());
    }
    return entries;
  }
  return wrong_value(source, "a JSON array of strings", text);
}

}  // namespace

void Settings::add_options(CLI::App& command, std::initializer_list<SettingGroup> groups) {
  for (const SettingRow& row : settings_table()) {
    if (std::find(groups.begin(), groups.end(), row.group) == groups.end()) continue;
    const std::string& name = row.name;
    std::string names = "--" + name;
    if (!row.synonyms.empty()) names += "," + row.synonyms;
    if (row.type == SettingType::kFlag) {
      command
          .add_flag(names, flag_texts_[name], row.help)  // judged like any other text
          ->group(group_title(row.group));
      continue;
    }
    CLI::Option* option = command.add_option(
        names,
        [this, name](const CLI::results_t& results) {
          flags_[name] = results;
          return true;
        },
        row.help);
    option->multi_option_policy(row.type == SettingType::kList ? CLI::MultiOptionPolicy::TakeAll
                                                               : CLI::MultiOptionPolicy::TakeLast);
    option->group(group_title(row.group));
    std::string placeholder = row.placeholder;
    for (size_t i = 0; i < row.choices.size(); ++i) {
      placeholder += (i == 0 ? "{" : ",") + row.choices[i];
    }
    if (!row.choices.empty()) placeholder += "}";
    option->type_name(placeholder);
    if (!row.fallback.empty()) option->default_str(row.fallback);
  }
}

Result<Settings::Value> Settings::parse(const SettingRow& row, const Given& given) {
  if (row.type == SettingType::kList) {
    // An option was repeated; the other sources have one text.
    if (given.texts.size() != 1 || given.source.starts_with("--")) return Value{given.texts};
    return Value{TRY(parse_list(given.texts[0], given.source))};
  }
  const std::string& text = given.texts.back();
  switch (row.type) {
    case SettingType::kInt: {
      const auto value = parse_number<int64_t>(text);
      if (!value || static_cast<double>(*value) < row.min ||
          static_cast<double>(*value) > row.max) {
        return wrong_value(given.source, range_of(row), text);
      }
      return Value{*value};
    }
    case SettingType::kFloat: {
      const auto value = parse_number<double>(text);
      const bool above_min = value && (row.min_excluded ? *value > row.min : *value >= row.min);
      if (!above_min || !(*value <= row.max)) {
        return wrong_value(given.source, range_of(row), text);
      }
      return Value{*value};
    }
    case SettingType::kChoice: {
      if (std::find(row.choices.begin(), row.choices.end(), text) == row.choices.end()) {
        std::string known;
        for (const std::string& choice : row.choices) {
          known += (known.empty() ? "one of " : ", ") + choice;
        }
        Error error = wrong_value(given.source, known, text);
        error.message += suggestion(text, row.choices);
        return error;
      }
      return Value{text};
    }
    case SettingType::kFlag: {
      if (text == "true" || text == "1" || text == "on" || text == "yes") return Value{true};
      if (text == "false" || text == "0" || text == "off" || text == "no") return Value{false};
      return wrong_value(given.source, "true or false", text);
    }
    case SettingType::kText:
    case SettingType::kList:
      break;
  }
  return Value{text};
}

Status Settings::read_config(const Environment& environment,
                             std::map<std::string, Given>& out) const {
  std::string path, source;
  if (const auto flag = flags_.find("config"); flag != flags_.end()) {
    path = flag->second.back();
    source = "--config";
  } else if (const char* variable = environment("REALM_CONFIG"); variable != nullptr) {
    path = variable;
    source = "REALM_CONFIG";
  } else {
    path = default_config_path(environment("XDG_CONFIG_HOME"), environment("HOME"));
  }
  if (path.empty()) return {};
  const auto text = read_text_file(path, kMaxConfigBytes);
  if (!text.ok()) {
    // Nobody asked for the file in the usual place.
    if (source.empty() && text.error().code == ErrorCode::kNotFound) return {};
    return source.empty() ? text.error() : text.error().at(source);
  }
  for (const ConfigLine& line : TRY(parse_config(*text, path))) {
    const std::string where = path + ":" + std::to_string(line.line);
    const SettingRow* row = find_row(line.name);
    if (row == nullptr || row->name == "config") {
      std::vector<std::string> names;
      for (const SettingRow& known : settings_table()) names.push_back(known.name);
      return Error{ErrorCode::kInvalidArgument, where + ": there is no setting '" + line.name +
                                                    "'" + suggestion(line.name, names)};
    }
    out[row->name] = {{line.value}, where + ": " + row->name};
  }
  return {};
}

Status Settings::resolve(const Environment& environment) {
  std::map<std::string, Given> given;
  TRY(read_config(environment, given));
  for (const SettingRow& row : settings_table()) {
    const std::string variable = variable_name(row);
    if (const char* text = environment(variable.c_str()); text != nullptr) {
      given[row.name] = {{text}, variable};
    }
    if (const auto flag = flag_texts_.find(row.name);
        flag != flag_texts_.end() && !flag->second.empty()) {
      given[row.name] = {{flag->second}, option_name(row)};
    }
    if (const auto flag = flags_.find(row.name); flag != flags_.end()) {
      given[row.name] = {flag->second, option_name(row)};
    }
    if (!given.contains(row.name) && !row.fallback.empty()) {
      given[row.name] = {{row.fallback}, "default"};
    }
    Resolved& resolved = values_[row.name];
    resolved = {};
    if (row.type == SettingType::kList) resolved.value = std::vector<std::string>{};
    if (const auto it = given.find(row.name); it != given.end()) {
      resolved.value = TRY(parse(row, it->second));
      resolved.source = it->second.source;
    }
  }
  return {};
}

template <typename T>
std::optional<T> Settings::find(std::string_view name) const {
  const auto it = values_.find(name);
  CHECK(it != values_.end());
  if (std::holds_alternative<std::monostate>(it->second.value)) return std::nullopt;
  const T* value = std::get_if<T>(&it->second.value);
  CHECK(value != nullptr);
  return *value;
}

std::optional<int64_t> Settings::find_int(std::string_view name) const {
  return find<int64_t>(name);
}

std::optional<double> Settings::find_float(std::string_view name) const {
  return find<double>(name);
}

std::optional<std::string> Settings::find_text(std::string_view name) const {
  return find<std::string>(name);
}

bool Settings::get_flag(std::string_view name) const {
  return find<bool>(name).value_or(false);
}

const std::vector<std::string>& Settings::get_list(std::string_view name) const {
  const auto it = values_.find(name);
  CHECK(it != values_.end());
  const auto* list = std::get_if<std::vector<std::string>>(&it->second.value);
  CHECK(list != nullptr);
  return *list;
}

std::string Settings::source(std::string_view name) const {
  const auto it = values_.find(name);
  CHECK(it != values_.end());
  return it->second.source;
}

}  // namespace realm
