#include "server/http/byte_stream.h"

#include <openssl/ssl.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace realm::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

void close_socket(Socket& socket) {
  error_code ignored;  // there is nothing left to do about it
  socket.close(ignored);
}

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(Socket socket) : socket_(std::move(socket)) {}

  asio::awaitable<bool> handshake() override { co_return true; }

  void read_some(asio::mutable_buffer buffer, ReadHandler handler) override {
    socket_.async_read_some(buffer, std::move(handler));
  }

  asio::awaitable<bool> write(asio::const_buffer buffer) override {
    const auto [ec, n] = co_await asio::async_write(socket_, buffer, kAwait);
    co_return !ec;
  }

  asio::awaitable<void> shutdown() override {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    co_return;
  }

  void close() override { close_socket(socket_); }

 private:
  Socket socket_;
};

class TlsStream final : public ByteStream {
 public:
  TlsStream(Socket socket, asio::ssl::context& context) : stream_(std::move(socket), context) {}

  asio::awaitable<bool> handshake() override {
    const auto [ec] = co_await stream_.async_handshake(asio::ssl::stream_base::server, kAwait);
    co_return !ec;
  }

  void read_some(asio::mutable_buffer buffer, ReadHandler handler) override {
    stream_.async_read_some(buffer, std::move(handler));
  }

  asio::awaitable<bool> write(asio::const_buffer buffer) override {
    const auto [ec, n] = co_await asio::async_write(stream_, buffer, kAwait);
    co_return !ec;
  }

  asio::awaitable<void> shutdown() override {
    // Says goodbye without waiting for the client's: that could take for ever.
    ::SSL_set_shutdown(stream_.native_handle(), SSL_RECEIVED_SHUTDOWN);
    co_await stream_.async_shutdown(kAwait);
    error_code ignored;
    stream_.next_layer().shutdown(Socket::shutdown_send, ignored);
  }

  void close() override { close_socket(stream_.next_layer()); }

 private:
  asio::ssl::stream<Socket> stream_;
};

}  // namespace

std::unique_ptr<ByteStream> make_plain_stream(Socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

std::unique_ptr<ByteStream> make_tls_stream(Socket socket, asio::ssl::context& context) {
  return std::make_unique<TlsStream>(std::move(socket), context);
}

Result<std::unique_ptr<asio::ssl::context>> load_tls(const std::string& cert_path,
                                                     const std::string& key_path) {
  auto context = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  error_code ec;
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                           asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 |
                           asio::ssl::context::no_tlsv1_1 | SSL_OP_NO_RENEGOTIATION |
                           SSL_OP_CIPHER_SERVER_PREFERENCE,
                       ec);
  if (ec) return Error{ErrorCode::kUnavailable, "TLS: " + ec.message()};
  context->use_certificate_chain_file(cert_path, ec);
  if (ec) {
    return Error{ErrorCode::kInvalidArgument,
                 "--tls-cert: " + cert_path + " is no readable PEM certificate: " + ec.message()};
  }
  context->use_private_key_file(key_path, asio::ssl::context::pem, ec);
  if (ec) {
    return Error{
        ErrorCode::kInvalidArgument,
        "--tls-key: " + key_path + " is no readable PEM key of the certificate: " + ec.message()};
  }
  return context;
}

}  // namespace realm::server
