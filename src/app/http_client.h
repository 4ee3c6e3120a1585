// One HTTP request to another program (a running server's admin address, a span collector), waited
// for. Sure of nothing the other side says: sizes and times are limited, redirects are not
// followed.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace realm {

struct HttpCall {
  std::string method = "GET";
  std::string url;                        // http://, https://, or unix:PATH followed by ":/target"
  std::vector<std::string> headers = {};  // "name: value"
  std::string body = {};
  std::chrono::milliseconds timeout{30'000};
};

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// Errors: kUnavailable where nobody answers, or not in time, or too much.
Result<HttpAnswer> send_http(const HttpCall& call);

}  // namespace realm
