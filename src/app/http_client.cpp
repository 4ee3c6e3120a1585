#include "app/http_client.h"

#include <curl/curl.h>

#include <memory>
#include <mutex>

namespace realm {
namespace {

constexpr size_t kBodyMax = size_t{64} << 20;

size_t take_body(char* data, size_t size, size_t count, void* context) {
  auto& body = *static_cast<std::string*>(context);
  if (body.size() + size * count > kBodyMax) return 0;  // ends the transfer
  body.append(data, size * count);
  return size * count;
}

}  // namespace

Result<HttpAnswer> send_http(const HttpCall& call) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 curl_easy_cleanup);
  if (curl == nullptr) return Error{ErrorCode::kUnavailable, "cannot make an HTTP request"};
  std::string url = call.url;
  if (url.starts_with("unix:")) {
    const size_t end = url.find(":/", 5 + 1);
    if (end == std::string::npos) {
      return Error{ErrorCode::kInvalidArgument, url + ": no target after the socket's path"};
    }
    curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, url.substr(5, end - 5).c_str());
    url = "http://localhost" + url.substr(end + 1);
  }
  curl_slist* headers = nullptr;
  for (const std::string& header : call.headers)
    headers = curl_slist_append(headers, header.c_str());
  headers = curl_slist_append(headers, "expect:");  // no waiting for leave to send the body
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> owner(headers,
                                                                          curl_slist_free_all);
  HttpAnswer answer;
  char problem[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, call.method.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers);
  if (!call.body.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(call.body.size()));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, call.body.data());
  }
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT_MS, static_cast<long>(call.timeout.count()));
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer.body);
  curl_easy_setopt(curl.get(), CURLOPT_ERRORBUFFER, problem);
  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) {
    const std::string why = problem[0] != '\0' ? problem : curl_easy_strerror(code);
    return Error{ErrorCode::kUnavailable, call.url + ": no answer: " + why};
  }
  long status = 0;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

}  // namespace realm
