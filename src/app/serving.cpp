#include "app/serving.h"

#include <spdlog/spdlog.h>

#include <thread>

#include "app/machine.h"

namespace realm {

Serving::Serving(ServingOptions options)
    : options_(std::move(options)),
      pool_(std::make_shared<SharedPool>(
          options_.model_options.threads > 0 ? options_.model_options.threads : usable_cores())) {
  for (int i = 0; i < options_.io_threads; ++i) {
    loops_.push_back(std::make_unique<server::IoLoop>());
  }
}

Serving::~Serving() {
  if (!stopped_) {
    options_.drain = std::chrono::milliseconds(0);
    const Status stopped = stop();
    if (!stopped.ok()) spdlog::error("{}", stopped.error().message);
  }
}

std::function<void()> Serving::flush_loops() {
  std::vector<server::IoLoop*> loops;
  for (const auto& loop : loops_) loops.push_back(loop.get());
  return [loops] {
    for (server::IoLoop* loop : loops) loop->flush();
  };
}

Result<std::unique_ptr<Serving>> Serving::create(ServingOptions options) {
  std::unique_ptr<Serving> serving(new Serving(std::move(options)));
  ServingOptions& o = serving->options_;
  // First what fails fast.
  TRY(serving->open_tenancy());
  if (o.models.empty()) o.models.push_back(parse_model_to_serve(""));
  for (const ModelToServe& wanted : each_file_once(o.models)) {
    auto model = TRY(serving->load(wanted));
    TRY(serving->models_.add(std::move(model)));
  }
  if (serving->tenancy_ != nullptr) {
    serving->apply_policies(*serving->tenancy_->directory().snapshot());
  }
  TRY(serving->listen());
  return serving;
}

void Serving::start() {
  for (const auto& loop : loops_) loop->start();
  http_->start();
  if (admin_http_ == nullptr) return;
  admin_loop_->start();
  admin_loop_->post([this] { admin_loop_->add(&retired_); });
  admin_http_->start();
}

namespace {

// Waits until all connections have ended, for so long at the most.
void wait_for_connections(const server::HttpServer& http, std::chrono::milliseconds most) {
  const auto until = std::chrono::steady_clock::now() + most;
  while (http.num_connections() > 0 && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

Status Serving::stop() {
  stopped_ = true;
  // Nothing is changed while it ends.
  if (admin_http_ != nullptr) {
    admin_http_->drain();
    wait_for_connections(*admin_http_, std::chrono::seconds(2));
    admin_http_->abort();
    wait_for_connections(*admin_http_, std::chrono::seconds(2));
    admin_loop_->stop();
    admin_loop_->join();
    admin_loop_->remove(&retired_);
  }
  if (http_ != nullptr) {
    http_->drain();
    wait_for_connections(*http_, options_.drain);
  }
  // What is left ends with an error that clients see.
  for (const auto& model : models_.all()) model->scheduler->stop();
  retired_.stop();
  if (tenancy_ != nullptr) tenancy_->ledger().flush(std::chrono::seconds(5));
  if (http_ != nullptr && http_->num_connections() > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    http_->abort();
    wait_for_connections(*http_, std::chrono::seconds(2));
  }
  for (const auto& loop : loops_) loop->stop();
  for (const auto& loop : loops_) loop->join();
  if (reports_ != nullptr && reports_->exporter() != nullptr) reports_->exporter()->stop();
  return tenancy_ == nullptr ? Status() : tenancy_->ledger().stop();
}

}  // namespace realm
