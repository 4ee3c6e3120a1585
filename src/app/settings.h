// Everything that can be set, once: one row of the table gives a setting its option, its
// environment variable REALM_NAME, its line in the configuration file, its default, range and help.
// A value comes from the option, else the environment, else the file, else the default. Commands
// say which groups of settings they take; cli.cpp resolves them before the command runs. The
// sampling rows are those of engine/sampling/params.h.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "engine/sampling/params.h"

namespace CLI {
class App;
}

namespace realm {

enum class SettingGroup {
  kGeneral,
  kModel,
  kGeneration,
  kSampling,
  kServer,
  kStore,
  kAdmin,
};
enum class SettingType { kInt, kFloat, kText, kChoice, kList, kFlag };

struct SettingRow {
  std::string name;      // "top-k": option --top-k, variable REALM_TOP_K, file "top-k = 40"
  std::string synonyms;  // further option names, "-n" or "--temp,--t"
  SettingGroup group;
  SettingType type;
  std::string fallback;              // the default as it would be written; empty: unset
  std::string placeholder;           // what help shows as the value
  std::vector<std::string> choices;  // kChoice
  double min = 0, max = 0;           // kInt, kFloat
  bool min_excluded = false;
  std::string help;
};

std::span<const SettingRow> settings_table();

class Settings {
 public:
  using Environment = std::function<const char*(const char* name)>;

  // Adds the options of these groups to a command.
  void add_options(CLI::App& command, std::initializer_list<SettingGroup> groups);

  // After the command line is parsed. Errors: kInvalidArgument naming the option, variable or file
  // and line; kNotFound where the file that --config names is not there.
  Status resolve(const Environment& environment);

  // Empty where unset. Requires a name of the table and the row's own type; kChoice reads as text.
  std::optional<int64_t> find_int(std::string_view name) const;
  std::optional<double> find_float(std::string_view name) const;
  std::optional<std::string> find_text(std::string_view name) const;
  bool get_flag(std::string_view name) const;  // false where unset
  const std::vector<std::string>& get_list(std::string_view name) const;
  // Where the value came from, for `realm doctor` and error messages: "--ctx", "REALM_CTX",
  // "/etc/realm.conf:3", "default", or empty where unset.
  std::string source(std::string_view name) const;

 private:
  using Value =
      std::variant<std::monostate, bool, int64_t, double, std::string, std::vector<std::string>>;
  // What the command line says of settings of type kFlag; the parser writes here. Empty: nothing.
  std::map<std::string, std::string, std::less<>> flag_texts_;
  struct Resolved {
    Value value;
    std::string source;
  };
  struct Given {
    std::vector<std::string> texts;  // one, or all of a repeated kList option
    std::string source;
  };

  static Result<Value> parse(const SettingRow& row, const Given& given);
  Status read_config(const Environment& environment, std::map<std::string, Given>& out) const;
  template <typename T>
  std::optional<T> find(std::string_view name) const;

  std::map<std::string, std::vector<std::string>> flags_;  // as the command line gave them
  std::map<std::string, Resolved, std::less<>> values_;
};

// The request that generation commands make of the settings: sampling, seed, bias. A seed is drawn
// where none is set.
Result<SamplingParams> sampling_params(const Settings& settings);

}  // namespace realm
