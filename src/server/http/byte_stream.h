// A connected socket, plain (TCP or unix) or under TLS, as one interface, so that everything above
// is compiled once.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace realm::server {

using Socket = boost::asio::generic::stream_protocol::socket;

class ByteStream {
 public:
  using ReadHandler = std::function<void(const boost::system::error_code&, size_t)>;

  virtual ~ByteStream() = default;
  // What must come before the first byte; false where the client will not do it.
  virtual boost::asio::awaitable<bool> handshake() = 0;
  // One at a time. `handler` is called later, never from within.
  virtual void read_some(boost::asio::mutable_buffer buffer, ReadHandler handler) = 0;
  // All of it, or false.
  virtual boost::asio::awaitable<bool> write(boost::asio::const_buffer buffer) = 0;
  // Tells the client that nothing more comes.
  virtual boost::asio::awaitable<void> shutdown() = 0;
  // At once; pending reads and writes end with an error.
  virtual void close() = 0;
};

std::unique_ptr<ByteStream> make_plain_stream(Socket socket);
// `context` outlives the stream.
std::unique_ptr<ByteStream> make_tls_stream(Socket socket, boost::asio::ssl::context& context);

// TLS 1.2 and up with this certificate chain and key (PEM). Errors name the file.
Result<std::unique_ptr<boost::asio::ssl::context>> load_tls(const std::string& cert_path,
                                                            const std::string& key_path);

}  // namespace realm::server
