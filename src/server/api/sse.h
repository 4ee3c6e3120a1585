// Server-sent events as bytes.
#pragma once

#include <string>
#include <string_view>

#include "server/http/message.h"

namespace realm::server {

inline constexpr std::string_view kSsePing = ": ping\n\n";
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";

inline std::string sse_data(std::string_view json) {
  std::string frame = "data: ";
  frame += json;
  frame += "\n\n";
  return frame;
}

inline std::string sse_event(std::string_view name, std::string_view json) {
  std::string frame = "event: ";
  frame += name;
  frame += "\ndata: ";
  frame += json;
  frame += "\n\n";
  return frame;
}

// No cache, and no proxy that gathers events (nginx's word for it).
inline HttpResponse sse_head() {
  return {.content_type = "text/event-stream; charset=utf-8",
          .headers = {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}}};
}

}  // namespace realm::server
