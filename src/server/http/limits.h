// What a client may cost before it has said anything worth an answer: sizes and times. Every read
// and write of a connection runs against one of these.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace realm::server {

struct HttpLimits {
  size_t header_bytes_max = 32 << 10;  // request line and headers
  size_t headers_max = 100;
  size_t target_bytes_max = 8 << 10;
  size_t body_bytes_max = 32 << 20;
  size_t connections_max = 8192;
  // Bytes of a stream that wait for a slow client before its request is held back, and a bound on
  // what is read ahead of a pipelined request.
  size_t backlog_bytes_max = 256 << 10;
  size_t read_ahead_bytes_max = 64 << 10;
  size_t websocket_message_bytes_max = 4 << 20;

  std::chrono::milliseconds handshake_ms_max{10'000};  // TLS
  std::chrono::milliseconds head_ms_max{10'000};       // from a request's first byte to its headers
  std::chrono::milliseconds body_ms_max{60'000};
  std::chrono::milliseconds idle_ms_max{75'000};   // between two requests
  std::chrono::milliseconds write_ms_max{30'000};  // without taking 64 KiB of what is sent
  std::chrono::milliseconds linger_ms_max{2'000};  // for a refused client to stop sending
  std::chrono::milliseconds ping_ms{15'000};       // silence after which a stream sends a comment
};

}  // namespace realm::server
