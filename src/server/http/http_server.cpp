#include "server/http/http_server.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <utility>

#include "server/http/connection.h"

namespace realm::server {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;
using UnixProtocol = asio::local::stream_protocol;

constexpr auto kAcceptRetry = std::chrono::milliseconds(100);

Error cannot_listen(const std::string& address, const error_code& ec) {
  const bool is_argument = ec != asio::error::address_in_use;
  return Error{is_argument ? ErrorCode::kInvalidArgument : ErrorCode::kUnavailable,
               "cannot listen on " + address + ": " + ec.message()};
}

std::string url_host(const tcp::endpoint& endpoint) {
  const std::string address = endpoint.address().to_string();
  return endpoint.address().is_v6() ? "[" + address + "]" : address;
}

std::string remote_of(const tcp::socket& socket) {
  error_code ec;
  const auto endpoint = socket.remote_endpoint(ec);
  return ec ? "?" : endpoint.address().to_string();
}

std::string remote_of(const UnixProtocol::socket&) {
  return "unix";
}

void set_options(tcp::socket& socket) {
  error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
}

void set_options(UnixProtocol::socket&) {}

// Whether something answers on the socket file; where not, it is left over and may go.
bool is_served(asio::io_context& context, const std::string& path) {
  UnixProtocol::socket probe(context);
  error_code ec;
  probe.connect(UnixProtocol::endpoint(path), ec);
  return !ec;
}

}  // namespace

HttpServer::HttpServer(const HttpLimits& limits, HttpApplication& application,
                       std::vector<IoLoop*> loops)
    : limits_(limits), application_(application), retry_(loops.front()->context()) {
  for (IoLoop* loop : loops) loops_.push_back(std::make_unique<PerLoop>(PerLoop{loop, {}}));
}

HttpServer::~HttpServer() {
  if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const ListenOptions& options,
                                                       const HttpLimits& limits,
                                                       HttpApplication& application,
                                                       std::vector<IoLoop*> loops) {
  std::unique_ptr<HttpServer> server(new HttpServer(limits, application, std::move(loops)));
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return Error{ErrorCode::kInvalidArgument, "--tls-cert and --tls-key go together"};
  }
  if (!options.tls_cert.empty()) {
    server->tls_ = TRY(load_tls(options.tls_cert, options.tls_key));
  }
  TRY(options.unix_path.empty() ? server->listen_tcp(options)
                                : server->listen_unix(options.unix_path));
  return server;
}

Status HttpServer::listen_tcp(const ListenOptions& options) {
  asio::io_context& context = loops_.front()->loop->context();
  const std::string wanted = options.host + ":" + std::to_string(options.port);
  tcp::resolver resolver(context);
  error_code ec;
  const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service, ec);
  if (ec || found.empty()) return cannot_listen(wanted, ec);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp_.emplace(context);
  tcp_->open(endpoint.protocol(), ec);
  if (!ec) tcp_->set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) tcp_->bind(endpoint, ec);
  if (!ec) tcp_->listen(1024, ec);
  if (ec) return cannot_listen(wanted, ec);
  const tcp::endpoint bound = tcp_->local_endpoint(ec);
  address_ = std::string(tls_ ? "https://" : "http://") + url_host(bound) + ":" +
             std::to_string(bound.port());
  return {};
}

Status HttpServer::listen_unix(const std::string& path) {
  asio::io_context& context = loops_.front()->loop->context();
  error_code ec;
  if (path.size() >= sizeof(sockaddr_un{}.sun_path)) {
    return Error{ErrorCode::kInvalidArgument, "--unix: a socket's path has fewer than " +
                                                  std::to_string(sizeof(sockaddr_un{}.sun_path)) +
                                                  " bytes"};
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) {
      return Error{ErrorCode::kInvalidArgument,
                   "--unix: " + path + " is there already and is no socket"};
    }
    if (is_served(context, path)) {
      return Error{ErrorCode::kUnavailable, "--unix: another server listens on " + path};
    }
    ::unlink(path.c_str());
  }
  unix_.emplace(context);
  unix_->open(UnixProtocol(), ec);
  // Its owner alone may connect; a proxy under another user is let in by the folder's owner.
  const mode_t before = ::umask(0177);
  if (!ec) unix_->bind(UnixProtocol::endpoint(path), ec);
  ::umask(before);
  if (!ec) unix_path_ = path;
  if (!ec) unix_->listen(1024, ec);
  if (ec) return cannot_listen(path, ec);
  address_ = "unix:" + path;
  return {};
}

template <typename Acceptor>
void HttpServer::accept(Acceptor& acceptor) {
  acceptor.async_accept([this, &acceptor](const error_code& ec, auto socket) {
    if (draining_.load() || ec == asio::error::operation_aborted) return;
    if (ec) {
      // Mostly no descriptors left: connections that end free some.
      spdlog::warn("cannot accept a connection: {}", ec.message());
      retry_.expires_after(kAcceptRetry);
      retry_.async_wait([this, &acceptor](const error_code& cancelled) {
        if (!cancelled) accept(acceptor);
      });
      return;
    }
    set_options(socket);
    std::string remote = remote_of(socket);
    adopt(std::move(socket), std::move(remote));
    accept(acceptor);
  });
}

void HttpServer::adopt(Socket socket, std::string remote) {
  if (num_connections_.load() >= limits_.connections_max) {
    spdlog::warn("a connection was turned away: {} are open", limits_.connections_max);
    return;  // closes it
  }
  PerLoop& home = *loops_[next_loop_++ % loops_.size()];
  ++num_connections_;
  // A socket belongs to the loop it was accepted on; its descriptor can move.
  error_code ec;
  const auto protocol = socket.local_endpoint(ec).protocol();
  const int descriptor = socket.release(ec);
  if (ec) {
    --num_connections_;
    return;
  }
  home.loop->post([this, &home, protocol, descriptor, remote = std::move(remote)] {
    Socket moved(home.loop->context());
    error_code assign_error;
    moved.assign(protocol, descriptor, assign_error);
    if (assign_error) {
      ::close(descriptor);
      --num_connections_;
      return;
    }
    auto stream = tls_ && unix_path_.empty() ? make_tls_stream(std::move(moved), *tls_)
                                             : make_plain_stream(std::move(moved));
    auto connection =
        std::make_shared<Connection>(Connection::Shared{.application = application_,
                                                        .limits = limits_,
                                                        .loop = *home.loop,
                                                        .ended =
                                                            [this, &home](Connection* ended) {
                                                              home.connections.erase(ended);
                                                              --num_connections_;
                                                            }},
                                     std::move(stream), remote);
    home.connections.emplace(connection.get(), connection);
    connection->start();
    if (draining_.load()) connection->drain();
  });
}

void HttpServer::start() {
  loops_.front()->loop->post([this] {
    if (tcp_) accept(*tcp_);
    if (unix_) accept(*unix_);
  });
}

void HttpServer::drain() {
  draining_.store(true);
  loops_.front()->loop->post([this] {
    error_code ignored;
    if (tcp_) tcp_->close(ignored);
    if (unix_) unix_->close(ignored);
    retry_.cancel();
  });
  for (const auto& home : loops_) {
    home->loop->post([&home = *home] {
      std::vector<std::shared_ptr<Connection>> all;
      for (const auto& [key, connection] : home.connections) all.push_back(connection);
      for (const auto& connection : all) connection->drain();
    });
  }
}

void HttpServer::abort() {
  for (const auto& home : loops_) {
    home->loop->post([&home = *home] {
      std::vector<std::shared_ptr<Connection>> all;
      for (const auto& [key, connection] : home.connections) all.push_back(connection);
      for (const auto& connection : all) connection->abort();
    });
  }
}

}  // namespace realm::server
