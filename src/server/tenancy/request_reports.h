// What is told of a request once it has ended: to the metrics, to the log (a line of JSON, never
// with text of prompts or answers), and to the collector of spans where one is configured.
#pragma once

#include <memory>
#include <string_view>

#include "server/api/authenticator.h"
#include "telemetry/metrics.h"
#include "telemetry/span_exporter.h"

namespace realm::server {

class RequestReports {
 public:
  explicit RequestReports(size_t tenant_labels_max) : metrics_(tenant_labels_max) {}

  // Before requests are served.
  void export_spans(std::unique_ptr<SpanExporter> exporter) { exporter_ = std::move(exporter); }

  // From any thread.
  void ended(const UsageRecord& record);
  void refused(const Principal& principal, int status, std::string_view quota);

  Metrics& metrics() { return metrics_; }
  SpanExporter* exporter() { return exporter_.get(); }

 private:
  Metrics metrics_;
  std::unique_ptr<SpanExporter> exporter_;
};

}  // namespace realm::server
