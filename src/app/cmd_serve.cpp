// `realm serve [MODEL...]`: the server.
#include <poll.h>

#include <CLI/App.hpp>
#include <boost/asio/ip/address.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "app/commands.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/serving.h"

namespace realm {

void add_serve(CLI::App& root, Commands& commands);

namespace {

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(host, ec);
  return !ec && address.is_loopback();
}

Result<ServingOptions> serving_options(const Settings& settings,
                                       const std::vector<std::string>& models) {
  ServingOptions options;
  for (const std::string& model : settings.get_list("model")) {
    options.models.push_back(parse_model_to_serve(model));
  }
  for (const std::string& model : models) options.models.push_back(parse_model_to_serve(model));
  options.model_options = model_options(settings, "");
  options.parallel = *settings.find_int("parallel");
  options.cache_tokens = settings.find_int("cache-tokens").value_or(0);
  options.max_queued = *settings.find_int("queue");
  options.step_tokens = *settings.find_int("step-tokens");
  options.listen = {.host = *settings.find_text("host"),
                    .port = static_cast<uint16_t>(*settings.find_int("port")),
                    .unix_path = settings.find_text("unix").value_or(""),
                    .tls_cert = settings.find_text("tls-cert").value_or(""),
                    .tls_key = settings.find_text("tls-key").value_or("")};
  options.limits.body_bytes_max = static_cast<size_t>(*settings.find_int("max-body-mb")) << 20;
  options.limits.connections_max = static_cast<size_t>(*settings.find_int("connections"));
  options.io_threads = static_cast<int>(*settings.find_int("io-threads"));
  options.drain = std::chrono::seconds(*settings.find_int("drain-seconds"));
  options.router.cors_origins = settings.get_list("cors-origin");
  if (options.listen.unix_path.empty() && !is_loopback(options.listen.host)) {
    return Error{ErrorCode::kInvalidArgument,
                 "--host " + options.listen.host +
                     ": without keys the server listens on loopback addresses and unix sockets "
                     "only, for everyone who reaches it may use it"};
  }
  options.router.local_hosts_only = options.listen.unix_path.empty();
  return options;
}

// Until SIGINT or SIGTERM; a second one ends the program at once.
void wait_for(const InterruptScope& interrupt) {
  pollfd waiting{.fd = interrupt.fd(), .events = POLLIN, .revents = 0};
  while (!interrupt.flag().load()) {
    if (::poll(&waiting, 1, -1) < 0 && errno != EINTR) return;
  }
}

Status serve(const Settings& settings, const std::vector<std::string>& models) {
  ServingOptions options = TRY(serving_options(settings, models));
  InterruptScope interrupt;
  const auto serving = TRY(Serving::create(std::move(options)));
  serving->start();
  std::fprintf(stderr,
               "realm: no keys are configured: everyone on this machine may use the server\n");
  std::printf("listening on %s\n", serving->address().c_str());
  std::fflush(stdout);
  wait_for(interrupt);
  std::fprintf(stderr, "realm: ending; running requests may finish (again to end at once)\n");
  serving->stop();
  return {};
}

}  // namespace

void add_serve(CLI::App&, Commands& commands) {
  CLI::App* command = commands.add(
      "serve", "Serve models over HTTP",
      {"realm serve", "realm serve model.gguf --port 9000",
       "realm serve small=a.gguf large=b.gguf --parallel 64",
       "realm serve model.gguf --host localhost --tls-cert cert.pem --tls-key key.pem"},
      {SettingGroup::kServer, SettingGroup::kModel});
  auto models = std::make_shared<std::vector<std::string>>();
  command
      ->add_option("MODEL", *models,
                   "[NAME=]PATH: models and what requests call them; the embedded realm-tiny where "
                   "none is given")
      ->type_name("");
  commands.on_run(command, [&commands, models] { return serve(commands.settings(), *models); });
}

}  // namespace realm
