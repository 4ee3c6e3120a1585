// The server, put together: models loaded and each given an engine and a scheduler, I/O threads,
// the route table behind a listener. What `realm serve` runs between its start and the signal that
// ends it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "app/model_loader.h"
#include "base/result.h"
#include "server/api/router.h"
#include "server/http/http_server.h"
#include "server/http/io_loop.h"

namespace realm {

// A model to serve: "name=path", or a path alone, which names itself.
struct ModelToServe {
  std::string name;
  std::string path;  // empty: the embedded realm-tiny
};
ModelToServe parse_model_to_serve(const std::string& text);

struct ServingOptions {
  std::vector<ModelToServe> models;
  ModelOptions model_options;  // of every model; the path is not used
  int64_t parallel = 32;
  int64_t cache_tokens = 0;  // 0: see the setting
  int64_t max_queued = 1024;
  int64_t step_tokens = 512;
  server::ListenOptions listen;
  server::HttpLimits limits;
  server::RouterOptions router;
  int io_threads = 1;
  std::chrono::milliseconds drain{30'000};
};

class Serving {
 public:
  // Loads and listens; requests are answered from start() on.
  static Result<std::unique_ptr<Serving>> create(ServingOptions options);
  ~Serving();  // ends what stop() did not

  void start();
  const std::string& address() const { return http_->address(); }
  // Takes no new connection or request, waits for the running ones for the drain time, then ends.
  void stop();

 private:
  explicit Serving(ServingOptions options);
  Result<std::shared_ptr<server::ServedModel>> load(const ModelToServe& wanted);
  Result<int64_t> cache_tokens(const LoadedModel& loaded) const;
  std::function<void()> flush_loops();

  ServingOptions options_;
  std::vector<std::unique_ptr<server::IoLoop>> loops_;
  server::ModelSet models_;
  std::unique_ptr<server::Authenticator> authenticator_;
  std::unique_ptr<server::ApiContext> api_;
  std::unique_ptr<server::Router> router_;
  std::unique_ptr<server::HttpServer> http_;
  bool stopped_ = false;
};

}  // namespace realm
