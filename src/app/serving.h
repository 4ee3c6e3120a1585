// The server, put together: models loaded and each given an engine and a scheduler, I/O threads,
// the route table behind a listener. What `realm serve` runs between its start and the signal that
// ends it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/model_loader.h"
#include "base/result.h"
#include "server/api/router.h"
#include "server/http/http_server.h"
#include "server/http/io_loop.h"
#include "server/tenancy/admin_application.h"
#include "server/tenancy/request_reports.h"
#include "server/tenancy/tenancy.h"
#include "server/tenancy/tenant_authenticator.h"
#include "telemetry/gpu_monitor.h"

namespace realm {

// A model to serve: "name=path", "name,alias,...=path", or a path alone, which names itself.
struct ModelToServe {
  std::string name;
  std::string path;  // empty: the embedded realm-tiny
  std::vector<std::string> aliases = {};
};
ModelToServe parse_model_to_serve(const std::string& text);
// Those of one file together: the first one's name, the others' as its aliases.
std::vector<ModelToServe> each_file_once(const std::vector<ModelToServe>& models);

struct ServingOptions {
  std::vector<ModelToServe> models;
  ModelOptions model_options;  // of every model; the path is not used
  int64_t parallel = 32;
  int64_t cache_tokens = 0;  // 0: see the setting
  double gpu_memory = 0.9;   // share of a GPU's that a model may take
  double swap_gb = 0;        // of host memory, for KV pages that have to leave a GPU
  int64_t max_queued = 1024;
  int64_t step_tokens = 0;  // 0: see the setting
  double step_stretch = 2;
  std::chrono::milliseconds step_floor{5};
  server::ListenOptions listen;
  std::optional<server::ListenOptions> admin;  // none: nothing is administered while it runs
  std::string store_path;                      // empty: no tenants, no keys, no ledger
  LedgerOptions ledger;
  size_t tenant_labels_max = 100;
  std::string otlp_endpoint;  // empty: no spans
  server::HttpLimits limits;
  server::RouterOptions router;
  int io_threads = 1;
  std::chrono::milliseconds drain{30'000};
};

// Models that were unloaded and still have requests. They go on the admin loop's thread once nobody
// else holds them: the last request may let go of its model on the scheduler's own thread, which
// cannot be joined from there.
class RetiredModels final : public server::Ticked {
 public:
  void add(std::shared_ptr<server::ServedModel> model) { models_.push_back(std::move(model)); }
  void tick(server::Clock::time_point now) override;
  // Ends their requests. Requires that the loop has been joined.
  void stop();

 private:
  std::vector<std::shared_ptr<server::ServedModel>> models_;  // the admin loop's thread's
};

// A beginning of prompts whose cached pages all tenants share, because the operator says so.
struct PublishedPrefix {
  std::string name;
  std::shared_ptr<server::ServedModel> model;
  std::vector<Token> tokens;
};

class Serving {
 public:
  // Loads and listens; requests are answered from start() on.
  static Result<std::unique_ptr<Serving>> create(ServingOptions options);
  ~Serving();  // ends what stop() did not

  void start();
  const std::string& address() const { return http_->address(); }
  // Empty where nothing is administered.
  std::string admin_address() const { return admin_http_ ? admin_http_->address() : ""; }
  // Whether it answers without a key.
  bool is_open() const { return is_open_; }
  // Takes no new connection or request, waits for the running ones for the drain time, then ends.
  // Errors: usage rows that could not be written.
  Status stop();

 private:
  explicit Serving(ServingOptions options);
  Result<std::shared_ptr<server::ServedModel>> load(const ModelToServe& wanted);
  int64_t step_tokens(const LoadedModel& loaded) const;
  int64_t gpu_step_tokens() const;
  int32_t host_pages(const LoadedModel& loaded) const;
  Result<int64_t> cache_tokens(const LoadedModel& loaded) const;
  std::function<void()> flush_loops();
  Status open_tenancy();
  Status listen();
  void apply_policies(const DirectorySnapshot& directory);
  server::AdminActions admin_actions();
  Result<std::string> change_models(const AdminRequest& request);
  Result<std::string> load_named(const AdminRequest& request);
  Result<std::string> unload_named(const std::string& name);
  Result<std::string> change_prefixes(const AdminRequest& request);
  Result<std::string> publish_prefix(const AdminRequest& request);

  ServingOptions options_;
  std::shared_ptr<SharedPool> pool_;  // of all models
  std::vector<std::unique_ptr<server::IoLoop>> loops_;
  std::unique_ptr<server::RequestReports> reports_;
  server::ModelSet models_;
  std::unique_ptr<GpuMonitor> gpus_;          // null without an NVIDIA driver
  std::unique_ptr<server::Tenancy> tenancy_;  // null without a store
  std::unique_ptr<server::TenantAuthenticator> authenticator_;
  std::unique_ptr<server::ApiContext> api_;
  std::unique_ptr<server::Router> router_;
  std::unique_ptr<server::HttpServer> http_;
  RetiredModels retired_;
  std::vector<PublishedPrefix> prefixes_;  // the admin loop's thread's
  std::unique_ptr<server::IoLoop> admin_loop_;
  std::unique_ptr<server::AdminApplication> admin_;
  std::unique_ptr<server::HttpServer> admin_http_;
  bool is_open_ = true;
  bool stopped_ = false;
};

}  // namespace realm
