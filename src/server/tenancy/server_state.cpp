#include "server/tenancy/server_state.h"

namespace realm::server {
namespace {

std::string name_of(TenantId id, const DirectorySnapshot* directory) {
  const TenantRecord* tenant = directory == nullptr ? nullptr : directory->find_tenant(id);
  if (tenant != nullptr) return tenant->name;
  return id == kDefaultTenant ? "default" : "removed";
}

ModelState state_of(const ServedModel& model, const DirectorySnapshot* directory) {
  const SchedulerStats stats = model.scheduler->stats();
  const TenantStats total = stats.total();
  ModelState state{.model = model.id,
                   .healthy = !stats.fault.has_value(),
                   .running = stats.running,
                   .waiting = stats.waiting,
                   .pages_total = stats.pages_total,
                   .pages_used = stats.pages_used,
                   .prompt_tokens = total.prompt_tokens,
                   .generated_tokens = total.generated_tokens,
                   .preemptions = total.preemptions,
                   .prefix_queries = stats.prefix_queries,
                   .prefix_hits = stats.prefix_hits,
                   .pages_in_host_memory = stats.pages_in_host_memory,
                   .pages_stored = stats.pages_stored,
                   .pages_brought_back = stats.pages_brought_back,
                   .steps = stats.steps,
                   .step_tokens = stats.step_tokens,
                   .step_sampled = stats.step_sampled};
  for (int reason = 0; reason < kNumFinishReasons; ++reason) {
    state.finished.emplace_back(finish_reason_name(static_cast<FinishReason>(reason)),
                                total.finished[static_cast<size_t>(reason)]);
  }
  for (const TenantStats& tenant : stats.tenants) {
    state.tenants.push_back({.tenant = name_of(tenant.tenant, directory),
                             .running = tenant.running,
                             .waiting = tenant.waiting,
                             .pages = tenant.pages});
  }
  return state;
}

}  // namespace

std::string scrape_metrics(const ModelSet& models, Tenancy* tenancy, RequestReports& reports,
                           const GpuMonitor* gpus) {
  ServerState state;
  if (gpus != nullptr) state.gpus = gpus->read();
  std::shared_ptr<const DirectorySnapshot> directory;
  if (tenancy != nullptr) {
    directory = tenancy->directory().snapshot();
    const LedgerStats ledger = tenancy->ledger().stats();
    state.ledger_rows_waiting = static_cast<int64_t>(ledger.rows_waiting);
    state.ledger_failing = ledger.fault.has_value();
  }
  for (const auto& model : models.all()) state.models.push_back(state_of(*model, directory.get()));
  if (const SpanExporter* exporter = reports.exporter()) {
    state.spans_exported = exporter->num_exported();
    state.spans_dropped = exporter->num_dropped();
  }
  return reports.metrics().scrape(state);
}

}  // namespace realm::server
