#include "server/api/served_model.h"

#include <algorithm>

namespace realm::server {
namespace {

bool is_called(const ServedModel& model, const std::string& name) {
  return model.id == name ||
         std::find(model.aliases.begin(), model.aliases.end(), name) != model.aliases.end();
}

}  // namespace

Status ModelSet::add(std::shared_ptr<ServedModel> model) {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names = model->aliases;
  names.push_back(model->id);
  const auto taken = [&](const std::string& name) {
    return std::count(names.begin(), names.end(), name) > 1 ||
           std::any_of(models_.begin(), models_.end(),
                       [&](const auto& known) { return is_called(*known, name); });
  };
  for (const std::string& name : names) {
    if (!taken(name)) continue;
    return Error{ErrorCode::kInvalidArgument,
                 "two models would be called '" + name + "': give one another name=PATH"};
  }
  models_.push_back(std::move(model));
  return {};
}

std::shared_ptr<ServedModel> ModelSet::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  if (name.empty()) return models_.size() == 1 ? models_.front() : nullptr;
  for (const auto& model : models_) {
    if (is_called(*model, name)) return model;
  }
  return nullptr;
}

std::vector<std::shared_ptr<ServedModel>> ModelSet::all() const {
  const std::lock_guard lock(mutex_);
  return models_;
}

std::shared_ptr<ServedModel> ModelSet::remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (auto it = models_.begin(); it != models_.end(); ++it) {
    if (!is_called(**it, name)) continue;
    std::shared_ptr<ServedModel> removed = std::move(*it);
    models_.erase(it);
    return removed;
  }
  return nullptr;
}

}  // namespace realm::server
