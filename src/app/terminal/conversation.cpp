#include "app/terminal/conversation.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <charconv>

#include "app/nearest.h"
#include "base/file.h"
#include "formats/json.h"

namespace realm {
namespace {

namespace json = boost::json;

constexpr size_t kMaxFileBytes = size_t{64} << 20;
constexpr std::string_view kSeed = "seed", kMaxTokens = "max_tokens";

json::array to_json(std::span<const ChatMessage> messages) {
  json::array array;
  for (const ChatMessage& message : messages) {
    array.push_back({{"role", message.role}, {"content", message.content}});
  }
  return array;
}

Error invalid(std::string message) {
  return Error{ErrorCode::kInvalidArgument, std::move(message)};
}

std::string number(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value, std::chars_format::general, 6);
  return {text, end.ptr};
}

template <typename T>
bool parse(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Result<ChatMessage> message_from(const json::value& value, const std::string& where) {
  const auto object = JsonObject::from(value, where);
  if (!object.ok()) return invalid(object.error().message);
  auto role = object->get_string("role");
  auto content = object->get_string("content");
  if (!role.ok()) return invalid(role.error().message);
  if (!content.ok()) return invalid(content.error().message);
  if (*role != "user" && *role != "assistant" && *role != "system") {
    return invalid(where + ": the role '" + *role + "' is not one of system, user and assistant");
  }
  return ChatMessage{std::move(*role), std::move(*content)};
}

}  // namespace

std::vector<ChatMessage> Conversation::all_messages() const {
  std::vector<ChatMessage> all;
  if (!system.empty()) all.push_back({"system", system});
  all.insert(all.end(), messages.begin(), messages.end());
  return all;
}

std::string messages_json(std::span<const ChatMessage> messages) {
  return json::serialize(to_json(messages));
}

Status set_option(AnswerOptions& options, std::string_view given_name, std::string_view value) {
  std::string name(given_name);
  std::replace(name.begin(), name.end(), '-', '_');
  if (name == kSeed) {
    if (!parse(value, options.sampling.seed)) {
      return invalid("seed must be a whole number from 0, not '" + std::string(value) + "'");
    }
    return {};
  }
  if (name == kMaxTokens) {
    int64_t limit = 0;
    if (!parse(value, limit) || limit < -1) {
      return invalid("max_tokens must be a whole number from 0, or -1 for no limit, not '" +
                     std::string(value) + "'");
    }
    options.max_tokens = limit;
    return {};
  }
  const SamplingField* field = find_sampling_field(name);
  if (field == nullptr) {
    std::vector<std::string> known = {std::string(kSeed), std::string(kMaxTokens)};
    for (const SamplingField& row : sampling_fields()) known.emplace_back(row.name);
    return invalid("there is no setting '" + name + "'" + suggestion(name, known));
  }
  double parsed = 0.0;
  if (!parse(value, parsed)) {
    return invalid(std::string(field->name) + " must be a number, not '" + std::string(value) +
                   "'");
  }
  return set_sampling_field(options.sampling, *field, parsed);
}

std::string describe_options(const AnswerOptions& options) {
  std::string text = "seed " + std::to_string(options.sampling.seed) + "\nmax_tokens " +
                     std::to_string(options.max_tokens) + "\n";
  for (const SamplingField& field : sampling_fields()) {
    const double value = get_sampling_field(options.sampling, field);
    if (value != get_sampling_field({}, field) || field.name == "temperature") {
      text += std::string(field.name) + " " + number(value) + "\n";
    }
  }
  return text;
}

Status save_conversation(const Conversation& conversation, const std::string& path) {
  json::object options;
  const AnswerOptions& from = conversation.options;
  options[kSeed] = from.sampling.seed;
  options[kMaxTokens] = from.max_tokens;
  for (const SamplingField& field : sampling_fields()) {
    // Through text, so that 0.8f is saved as 0.8.
    options[field.name] = std::stod(number(get_sampling_field(from.sampling, field)));
  }
  const json::object root = {{"system", conversation.system},
                             {"messages", to_json(conversation.messages)},
                             {"options", std::move(options)}};
  AtomicFile file = TRY(AtomicFile::create(path));
  TRY(file.write(json::serialize(root)));
  TRY(file.write("\n"));
  return file.commit();
}

Result<Conversation> load_conversation(const std::string& path, const AnswerOptions& defaults) {
  const std::string text = TRY(read_text_file(path, kMaxFileBytes));
  const auto parsed = parse_json(text, path, {.max_bytes = kMaxFileBytes});
  if (!parsed.ok()) return invalid(parsed.error().message);
  const auto root = JsonObject::from(*parsed, path);
  if (!root.ok()) return invalid(root.error().message);

  Conversation conversation{{}, {}, defaults};
  auto system = root->get_string_or("system", "");
  if (!system.ok()) return invalid(system.error().message);
  conversation.system = std::move(*system);
  const auto messages = root->get_array("messages");
  if (!messages.ok()) return invalid(messages.error().message);
  for (size_t i = 0; i < (*messages)->size(); ++i) {
    const std::string where = path + ": messages[" + std::to_string(i) + "]";
    conversation.messages.push_back(TRY(message_from((**messages)[i], where)));
  }
  if (root->has("options")) {
    const auto options = root->get_object("options");
    if (!options.ok()) return invalid(options.error().message);
    for (const auto& entry : options->raw()) {
      const std::string value = json::serialize(entry.value());
      const Status set = set_option(conversation.options, std::string(entry.key()), value);
      if (!set.ok()) return set.error().at(path + ": options");
    }
  }
  return conversation;
}

}  // namespace realm
