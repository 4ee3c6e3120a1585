// The parts of Serving that keep tenants apart: the store, quotas on their way to the schedulers,
// the admin listener.
#include <spdlog/spdlog.h>

#include <boost/asio/ip/address.hpp>

#include "app/http_client.h"
#include "app/serving.h"
#include "base/clock.h"
#include "server/tenancy/server_state.h"

namespace realm {

namespace {

bool is_loopback(const server::ListenOptions& listen) {
  if (!listen.unix_path.empty() || listen.host == "localhost") return true;
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(listen.host, error);
  return !error && address.is_loopback();
}

std::unique_ptr<SpanExporter> make_exporter(const std::string& endpoint) {
  std::string url = endpoint;
  while (url.ends_with('/')) url.pop_back();
  if (!url.ends_with("/v1/traces")) url += "/v1/traces";
  const auto send = [url](const std::string& body) -> Status {
    const HttpAnswer answer = TRY(send_http({.method = "POST",
                                             .url = url,
                                             .headers = {"content-type: application/x-protobuf"},
                                             .body = body,
                                             .timeout = std::chrono::milliseconds(5000)}));
    if (answer.status / 100 == 2) return {};
    return Error{ErrorCode::kUnavailable,
                 url + ": the collector answered " + std::to_string(answer.status)};
  };
  SpanExporterOptions options;
  options.service_version = REALM_VERSION;
  return std::make_unique<SpanExporter>(send, options);
}

}  // namespace

void RetiredModels::tick(server::Clock::time_point) {
  std::erase_if(models_, [](const auto& model) { return model.use_count() == 1; });
}

void RetiredModels::stop() {
  for (const auto& model : models_) model->scheduler->stop();
}

Status Serving::open_tenancy() {
  reports_ = std::make_unique<server::RequestReports>(options_.tenant_labels_max);
  if (!options_.otlp_endpoint.empty()) {
    reports_->export_spans(make_exporter(options_.otlp_endpoint));
  }
  if (!options_.store_path.empty()) {
    server::TenancyOptions tenancy;
    tenancy.store_path = options_.store_path;
    tenancy.ledger = options_.ledger;
    tenancy.on_change = [this](const DirectorySnapshot& directory) { apply_policies(directory); };
    tenancy_ = TRY(server::Tenancy::open(std::move(tenancy)));
  }
  authenticator_ = std::make_unique<server::TenantAuthenticator>(tenancy_.get(), *reports_);
  is_open_ = authenticator_->is_open();
  if (is_open_ && !is_loopback(options_.listen)) {
    return Error{ErrorCode::kInvalidArgument,
                 "--host " + options_.listen.host +
                     ": without keys the server listens on loopback addresses and unix sockets "
                     "only, for everyone who reaches it may use it; 'realm keys create' makes one"};
  }
  if (options_.admin && options_.admin->tls_cert.empty() && !is_loopback(*options_.admin)) {
    return Error{ErrorCode::kInvalidArgument,
                 "--admin " + options_.admin->host +
                     ": without TLS (--tls-cert, --tls-key) administration listens on loopback "
                     "addresses and unix sockets only"};
  }
  options_.router.local_hosts_only = is_open_ && options_.listen.unix_path.empty();
  return {};
}

void Serving::apply_policies(const DirectorySnapshot& directory) {
  for (const auto& model : models_.all()) {
    for (const TenantRecord& tenant : directory.tenants) {
      model->scheduler->set_policy(tenant.id, server::policy_of(tenant.quotas));
    }
  }
}

Status Serving::listen() {
  // Without an NVIDIA driver there is nothing to watch.
  if (auto gpus = GpuMonitor::open(); gpus.ok()) gpus_ = std::move(gpus).value();
  api_ = std::make_unique<server::ApiContext>(server::ApiContext{
      .models = models_,
      .authenticator = *authenticator_,
      .limits = options_.limits,
      .version = REALM_VERSION,
      .started_s = server::unix_seconds(),
      .metrics = [this] {
        return server::scrape_metrics(models_, tenancy_.get(), *reports_, gpus_.get());
      }});
  router_ = std::make_unique<server::Router>(*api_, options_.router);
  std::vector<server::IoLoop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  http_ =
      TRY(server::HttpServer::listen(options_.listen, options_.limits, *router_, std::move(loops)));
  if (!options_.admin) return {};
  admin_loop_ = std::make_unique<server::IoLoop>();
  admin_ = std::make_unique<server::AdminApplication>(*authenticator_, admin_actions());
  admin_http_ = TRY(
      server::HttpServer::listen(*options_.admin, options_.limits, *admin_, {admin_loop_.get()}));
  return {};
}

server::AdminActions Serving::admin_actions() {
  server::AdminActions actions;
  actions.metrics = api_->metrics;
  actions.models = [this](const AdminRequest& request) {
    const bool is_prefix = request.target.starts_with("/admin/prefixes");
    return is_prefix ? change_prefixes(request) : change_models(request);
  };
  if (tenancy_ == nullptr) return actions;
  actions.administer = [this](const AdminRequest& request) -> Result<std::string> {
    std::string answer = TRY(administer(tenancy_->store(), request, unix_ms_now()));
    // Whoever changed something sees it in effect.
    if (request.method != "GET") TRY(tenancy_->directory().refresh());
    return answer;
  };
  return actions;
}

}  // namespace realm
