// `realm serve [MODEL...]`: the server.
#include <poll.h>

#include <CLI/App.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "app/administration.h"
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/model_settings.h"
#include "app/serving.h"

namespace realm {

void add_serve(CLI::App& root, Commands& commands);

namespace {

// "9090", "127.0.0.1:9090", "[::1]:9090" or "unix:PATH".
Result<server::ListenOptions> parse_admin(const std::string& text) {
  server::ListenOptions listen;
  if (text.starts_with("unix:") && text.size() > 5) {
    listen.unix_path = text.substr(5);
    return listen;
  }
  const size_t colon = text.rfind(':');
  const std::string port = colon == std::string::npos ? text : text.substr(colon + 1);
  if (colon != std::string::npos) listen.host = text.substr(0, colon);
  if (listen.host.starts_with('[') && listen.host.ends_with(']')) {
    listen.host = listen.host.substr(1, listen.host.size() - 2);
  }
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), listen.port);
  if (error != std::errc() || end != port.data() + port.size() || listen.host.empty()) {
    return Error{ErrorCode::kInvalidArgument,
                 "--admin must be PORT, HOST:PORT or unix:PATH, not '" + text.substr(0, 100) + "'"};
  }
  return listen;
}

// The store that --store names, else the usual one where it is there.
std::string store_to_use(const Settings& settings) {
  if (const auto path = settings.find_text("store")) return *path;
  const auto usual = store_path(settings);
  std::error_code ignored;
  return usual.ok() && std::filesystem::exists(*usual, ignored) ? *usual : "";
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
  options.step_tokens = settings.find_int("step-tokens").value_or(0);
  options.step_stretch = *settings.find_float("step-stretch");
  options.step_floor = std::chrono::milliseconds(*settings.find_int("step-floor-ms"));
  options.swap_gb = *settings.find_float("swap-gb");
  options.gpu_memory = *settings.find_float("gpu-memory");
  options.listen = {.host = *settings.find_text("host"),
                    .port = static_cast<uint16_t>(*settings.find_int("port")),
                    .unix_path = settings.find_text("unix").value_or(""),
                    .tls_cert = settings.find_text("tls-cert").value_or(""),
                    .tls_key = settings.find_text("tls-key").value_or("")};
  options.limits.body_bytes_max = static_cast<size_t>(*settings.find_int("max-body-mb")) << 20;
  options.limits.connections_max = static_cast<size_t>(*settings.find_int("connections"));
  options.limits.head_ms_max = std::chrono::seconds(*settings.find_int("head-seconds"));
  options.limits.body_ms_max = std::chrono::seconds(*settings.find_int("body-seconds"));
  options.io_threads = static_cast<int>(*settings.find_int("io-threads"));
  options.drain = std::chrono::seconds(*settings.find_int("drain-seconds"));
  options.router.cors_origins = settings.get_list("cors-origin");
  if (const auto admin = settings.find_text("admin")) {
    options.admin = TRY(parse_admin(*admin));
    options.admin->tls_cert = options.listen.tls_cert;
    options.admin->tls_key = options.listen.tls_key;
    if (!options.admin->unix_path.empty()) {
      options.admin->tls_cert.clear();
      options.admin->tls_key.clear();
    }
  }
  options.store_path = store_to_use(settings);
  options.ledger.flush_interval = std::chrono::milliseconds(*settings.find_int("usage-flush-ms"));
  options.tenant_labels_max = static_cast<size_t>(*settings.find_int("tenant-labels"));
  options.otlp_endpoint = settings.find_text("otlp-endpoint").value_or("");
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
  if (serving->is_open()) {
    std::fprintf(stderr,
                 "realm: no keys are configured: everyone on this machine may use the server\n");
  }
  std::printf("listening on %s\n", serving->address().c_str());
  if (const std::string admin = serving->admin_address(); !admin.empty()) {
    std::printf("administration on %s\n", admin.c_str());
  }
  std::fflush(stdout);
  wait_for(interrupt);
  std::fprintf(stderr, "realm: ending; running requests may finish (again to end at once)\n");
  return serving->stop();
}

}  // namespace

void add_serve(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("serve", "Serve models over HTTP",
                   {"realm serve", "realm serve model.gguf --port 9000",
                    "realm serve small=a.gguf large=b.gguf --parallel 64",
                    "realm serve model.gguf --host localhost --tls-cert cert.pem --tls-key key.pem",
                    "realm serve model.gguf --store realm.db --admin 127.0.0.1:9090"},
                   {SettingGroup::kServer, SettingGroup::kStore, SettingGroup::kModel});
  auto models = std::make_shared<std::vector<std::string>>();
  command
      ->add_option("MODEL", *models,
                   "[NAME=]PATH: models and what requests call them; the embedded realm-tiny where "
                   "none is given")
      ->type_name("");
  commands.on_run(command, [&commands, models] { return serve(commands.settings(), *models); });
}

}  // namespace realm
