// `realm doctor`.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/doctor_command.h"

namespace realm {

void add_doctor(CLI::App& root, Commands& commands);

namespace {

std::string value_text(const Settings& settings, const SettingRow& row) {
  switch (row.type) {
    case SettingType::kInt:
      return std::to_string(settings.find_int(row.name).value_or(0));
    case SettingType::kFloat: {
      char text[32];
      std::snprintf(text, sizeof text, "%g", settings.find_float(row.name).value_or(0));
      return text;
    }
    case SettingType::kList: {
      std::string text;
      for (const std::string& entry : settings.get_list(row.name)) {
        text += (text.empty() ? "" : ", ") + entry;
      }
      return text;
    }
    case SettingType::kFlag:
      return settings.get_flag(row.name) ? "true" : "false";
    default:
      return settings.find_text(row.name).value_or("");
  }
}

std::vector<SettingInForce> settings_in_force(const Settings& settings) {
  std::vector<SettingInForce> result;
  for (const SettingRow& row : settings_table()) {
    const std::string source = settings.source(row.name);
    if (source.empty() || source == "default") continue;
    result.push_back({row.name, value_text(settings, row), source});
  }
  return result;
}

}  // namespace

void add_doctor(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("doctor", "Say what this machine offers, what is wrong and what to do",
                   {"realm doctor", "realm doctor --json | jq .findings"});
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print a JSON object");
  commands.on_run(command, [&commands, json]() -> Status {
    const DoctorReport report = TRY(examine(settings_in_force(commands.settings())));
    const std::string out = *json ? report.json() : report.text();
    std::fwrite(out.data(), 1, out.size(), stdout);
    return {};
  });
}

}  // namespace realm
