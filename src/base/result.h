// Errors as values. Everything that can fail for an operating reason (bad file, bad request, no
// memory left in a pool, unsupported feature) returns Result<T>; programmer errors use CHECK
// (check.h). Codes are few because each maps once to an exit status (app/) and an HTTP status
// (server/); the message carries the detail: what is wrong, where, and what to do.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace realm {

enum class ErrorCode {
  kInvalidArgument,  // the request or an option is wrong
  kNotFound,         // a named thing (file, model, adapter, tensor) is not there
  kBadModel,         // a model, adapter or tokenizer file is not acceptable
  kUnsupported,      // well-formed, but this build or backend cannot do it
  kExhausted,        // a sized resource (pages, queue, quota, disk) is full
  kUnavailable,      // a device or service is broken or not there
  kCancelled,        // the caller asked to stop
  kIo,               // the operating system refused a read or write
};

struct Error {
  ErrorCode code;
  std::string message;

  // The same error with a prefix that says where it happened ("model.gguf: ...").
  [[nodiscard]] Error at(const std::string& where) const {
    return Error{code, where + ": " + message};
  }
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*std::get_if<1>(&state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT: implicit

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const& {
    CHECK(!ok());
    return *error_;
  }
  Error&& error() && {
    CHECK(!ok());
    return std::move(*error_);
  }
  void value() const {}

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

namespace internal {
inline void take_value(Result<void>&&) {}
template <typename T>
T take_value(Result<T>&& result) {
  return std::move(result).value();
}
}  // namespace internal
}  // namespace realm

// auto x = TRY(may_fail());   returns the error from the enclosing function, or yields the value.
#define TRY(expr)                                                           \
  __extension__({                                                           \
    auto realm_try_result = (expr);                                         \
    if (!realm_try_result.ok()) return std::move(realm_try_result).error(); \
    ::realm::internal::take_value(std::move(realm_try_result));             \
  })
