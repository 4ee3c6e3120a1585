// Listens, accepts, spreads connections over the I/O threads, and ends in an orderly way. The
// program makes one for each address (requests, administration); they may share loops.
#pragma once

#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "server/http/application.h"
#include "server/http/io_loop.h"
#include "server/http/limits.h"

namespace realm::server {

class Connection;

struct ListenOptions {
  std::string host = "127.0.0.1";  // a name or an address
  uint16_t port = 0;               // 0: a free one
  std::string unix_path = {};      // in place of host and port
  std::string tls_cert = {}, tls_key = {};
};

class HttpServer {
 public:
  // Listens, but serves nothing before start(). `application` and `loops` outlive the server, and
  // loops are stopped and joined before it goes. Errors name the address or file.
  static Result<std::unique_ptr<HttpServer>> listen(const ListenOptions& options,
                                                    const HttpLimits& limits,
                                                    HttpApplication& application,
                                                    std::vector<IoLoop*> loops);
  ~HttpServer();

  void start();
  // Stops accepting; idle connections end, busy ones after their answer. From any thread.
  void drain();
  // Ends every connection now.
  void abort();
  size_t num_connections() const { return num_connections_.load(); }

  // "http://127.0.0.1:8080", "unix:/run/realm.sock".
  const std::string& address() const { return address_; }

 private:
  struct PerLoop {
    IoLoop* loop;
    std::unordered_map<Connection*, std::shared_ptr<Connection>> connections;
  };

  HttpServer(const HttpLimits& limits, HttpApplication& application, std::vector<IoLoop*> loops);
  Status listen_tcp(const ListenOptions& options);
  Status listen_unix(const std::string& path);
  template <typename Acceptor>
  void accept(Acceptor& acceptor);
  void adopt(boost::asio::generic::stream_protocol::socket socket, std::string remote);

  HttpLimits limits_;
  HttpApplication& application_;
  std::vector<std::unique_ptr<PerLoop>> loops_;
  size_t next_loop_ = 0;
  std::unique_ptr<boost::asio::ssl::context> tls_;
  std::optional<boost::asio::ip::tcp::acceptor> tcp_;
  std::optional<boost::asio::local::stream_protocol::acceptor> unix_;
  boost::asio::steady_timer retry_;
  std::string unix_path_;
  std::string address_;
  std::atomic<size_t> num_connections_{0};
  std::atomic<bool> draining_{false};
};

}  // namespace realm::server
