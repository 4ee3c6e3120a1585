// What /metrics shows of the moment: the schedulers', the ledger's and the exporter's own counts.
#pragma once

#include "server/api/served_model.h"
#include "server/tenancy/request_reports.h"
#include "server/tenancy/tenancy.h"
#include "telemetry/metrics.h"

namespace realm::server {

// `tenancy` and `gpus` may be null.
std::string scrape_metrics(const ModelSet& models, Tenancy* tenancy, RequestReports& reports,
                           const GpuMonitor* gpus);

}  // namespace realm::server
