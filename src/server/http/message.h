// A request and a response as plain data, free of the library that parses them: what handlers see.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace realm::server {

struct HttpHeader {
  std::string name;  // lower case in requests
  std::string value;
};

struct HttpRequest {
  std::string method;  // "POST"
  std::string target;  // as sent, less scheme and authority
  std::string path;    // up to '?', not decoded: routes match bytes
  std::string query;   // after '?'
  std::vector<HttpHeader> headers;
  std::string body;
  std::string remote;  // the client's address; "unix" on a unix socket
  bool is_http_1_0 = false;
  bool keep_alive = true;
  bool wants_upgrade = false;  // to a WebSocket

  // The first of this name (lower case), or null.
  const std::string* find(std::string_view name) const;
  size_t count(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers = {};
  std::string body = {};
};

// What is wrong with a request that cannot be read.
struct HttpProblem {
  int status;
  std::string message;
};

std::string_view status_text(int status);

// "%2F" and the like; an escape that is none is kept. '+' stays.
std::string decode_percent(std::string_view text);

// "Thu, 26 Nov 2026 04:40:00 GMT", made anew once a second.
const std::string& http_date();

}  // namespace realm::server
