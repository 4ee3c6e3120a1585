#include "app/doctor_command.h"

#include <cstdio>

#include "app/embedded_model.h"
#include "app/model_loader.h"
#include "backends/cpu/isa.h"
#include "backends/cuda/cuda_backend.h"
#include "base/json_writer.h"
#include "telemetry/gpu_monitor.h"

namespace realm {
namespace {

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

std::string gigabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

std::string joined(const std::vector<std::string>& words, const char* none) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? none : text;
}

std::string describe_embedded_model() {
  const auto loaded = load_for_running({.backend = "cpu", .threads = 1});
  if (!loaded.ok()) return "";
  return loaded->description() + ", " + megabytes(embedded_model().size());
}

void examine_gpu(DoctorReport& report) {
  const auto info = cuda::probe_device(0);
  if (!info.ok()) {
    report.gpu_problem = info.error().message;
    return;
  }
  GpuReport& gpu = report.gpu.emplace();
  gpu.name = info->name;
  gpu.compute_capability =
      std::to_string(info->compute_major) + "." + std::to_string(info->compute_minor);
  gpu.memory_bytes = info->memory_bytes;
  gpu.memory_free_bytes = info->memory_free_bytes;
  if (const auto monitor = GpuMonitor::open(); monitor.ok()) {
    gpu.driver = (*monitor)->driver_version() + " ";
  }
  gpu.driver += "for CUDA " + std::to_string(info->driver_version / 1000) + "." +
                std::to_string(info->driver_version % 1000 / 10);
  const auto peaks = cuda::measure_peaks(0);
  if (!peaks.ok()) {
    report.gpu_problem = peaks.error().message;
    return;
  }
  gpu.read_gb_per_s = peaks->read_gb_per_s;
  gpu.bf16_tflops = peaks->bf16_tflops;
}

void add_line(std::string& out, const char* name, const std::string& value) {
  char head[32];
  std::snprintf(head, sizeof head, "%-16s", name);
  out += head + value + "\n";
}

}  // namespace

std::string GpuReport::text() const {
  std::string out = name + ", compute capability " + compute_capability + ", " +
                    gigabytes(static_cast<uint64_t>(memory_free_bytes)) + " of " +
                    gigabytes(static_cast<uint64_t>(memory_bytes)) + " free, driver " + driver;
  if (read_gb_per_s <= 0) return out;
  char peaks[96];
  std::snprintf(peaks, sizeof peaks, ", reads %.0f GB/s, bfloat16 %.0f TFLOP/s", read_gb_per_s,
                bf16_tflops);
  return out + peaks;
}

Result<DoctorReport> examine(std::vector<SettingInForce> settings) {
  DoctorReport report{.version = REALM_VERSION,
                      .machine = examine_machine(),
                      .instruction_sets = {},
                      .bandwidth = {},
                      .gpu = {},
                      .gpu_problem = {},
                      .embedded_model = describe_embedded_model(),
                      .settings = std::move(settings),
                      .findings = {}};
  for (const cpu::Isa isa :
       {cpu::Isa::kAmx, cpu::Isa::kAvx512, cpu::Isa::kAvx2, cpu::Isa::kNeon, cpu::Isa::kScalar}) {
    if (cpu::has_isa(isa)) report.instruction_sets.emplace_back(cpu::isa_name(isa));
  }
  ThreadPool pool(report.machine.usable_cores);
  report.bandwidth = TRY(measure_read_bandwidth(pool));
  examine_gpu(report);
  report.findings = judge(report);
  return report;
}

std::vector<Finding> judge(const DoctorReport& report) {
  const Machine& machine = report.machine;
  std::vector<Finding> findings;
  const auto find = [&](std::string what, std::string advice) {
    findings.push_back({std::move(what), std::move(advice)});
  };
  if (report.embedded_model.empty()) {
    find("the embedded model cannot be used", "build realm anew: the program file is damaged");
  }
  if (report.instruction_sets.size() <= 1) {
    find("no vector kernels fit this processor",
         "expect a few tokens a second; a processor with AVX2, AVX-512 or NEON dot product helps");
  }
  if (machine.usable_cores < machine.cores) {
    find(std::to_string(machine.usable_cores) + " of " + std::to_string(machine.cores) +
             " cores may be used",
         "raise the container's CPU quota or the process's affinity if that is not meant so");
  }
  if (machine.load > 1.5 * machine.cores) {
    char load[32];
    std::snprintf(load, sizeof load, "%.1f", machine.load);
    find("other programs use the processor: the load is " + std::string(load) + " on " +
             std::to_string(machine.cores) + " cores",
         "figures of 'realm bench' are too low while they run");
  }
  if (machine.memory_available_bytes > 0 && machine.memory_available_bytes < uint64_t{1} << 30) {
    find("only " + gigabytes(machine.memory_available_bytes) + " of memory are available",
         "models larger than that are read from disk again and again; close other programs");
  }
  if (machine.memory_limit_bytes > 0 && machine.memory_limit_bytes < machine.memory_bytes / 2) {
    find("the control group allows " + gigabytes(machine.memory_limit_bytes) + " of " +
             gigabytes(machine.memory_bytes) + " of memory",
         "raise the container's memory limit for larger models or contexts");
  }
  if (machine.memory_nodes > 1 && !machine.memory_spread) {
    find("memory is not spread over the " + std::to_string(machine.memory_nodes) +
             " nodes of this machine: the system does not let the program choose",
         "start it with 'numactl --interleave=all', or let the container use set_mempolicy");
  }
  if (machine.huge_pages == "never") {
    find("transparent huge pages are off",
         "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled makes long contexts faster");
  }
  if (report.bandwidth.gb_per_s > 0 && report.bandwidth.gb_per_s < 4) {
    char speed[32];
    std::snprintf(speed, sizeof speed, "%.1f", report.bandwidth.gb_per_s);
    find("memory gives only " + std::string(speed) + " GB/s",
         "decoding a model of 4 GB cannot pass one token a second; look for other programs or a "
         "throttled machine");
  }
  if (!machine.gpus.empty() && !report.gpu_problem.empty()) {
    find("there is " + joined(machine.gpus, "") + ", which is not used: " + report.gpu_problem,
         "models run on the processor until that is mended");
  }
  return findings;
}

std::string DoctorReport::text() const {
  std::string out;
  add_line(out, "realm", version);
  add_line(out, "processor",
           (machine.cpu_model.empty() ? "unknown" : machine.cpu_model) + ", " +
               std::to_string(machine.usable_cores) + " of " + std::to_string(machine.cores) +
               " cores usable, " + megabytes(machine.cache_bytes) + " cache");
  add_line(out, "kernels", joined(instruction_sets, "none"));
  add_line(
      out, "memory",
      gigabytes(machine.memory_bytes) + ", " + gigabytes(machine.memory_available_bytes) +
          " available" +
          (machine.memory_limit_bytes > 0 ? ", limited to " + gigabytes(machine.memory_limit_bytes)
                                          : "") +
          (machine.memory_nodes > 1 ? ", on " + std::to_string(machine.memory_nodes) + " nodes"
                                    : ""));
  char speed[64];
  std::snprintf(speed, sizeof speed, "%.1f GB/s with %d threads", bandwidth.gb_per_s,
                bandwidth.threads);
  add_line(out, "memory reads", speed);
  add_line(out, "GPUs",
           gpu                    ? gpu->text()
           : machine.gpus.empty() ? "none"
                                  : joined(machine.gpus, "") + " (not used)");
  add_line(out, "embedded model", embedded_model.empty() ? "cannot be used" : embedded_model);
  for (const SettingInForce& setting : settings) {
    add_line(out, "setting", setting.name + " = " + setting.value + " (" + setting.source + ")");
  }
  if (findings.empty()) return out + "\nNothing is wrong.\n";
  out += "\n";
  for (const Finding& finding : findings) {
    out += "! " + finding.what + ": " + finding.advice + ".\n";
  }
  return out;
}

std::string DoctorReport::json() const {
  JsonWriter json;
  json.begin_object().text("version", version).text("cpu", machine.cpu_model);
  json.integer("cores", machine.cores).integer("cores_usable", machine.usable_cores);
  json.number("load", machine.load).key("kernels").begin_array();
  for (const std::string& name : instruction_sets) json.text(name);
  json.end_array().integer("cache_bytes", static_cast<int64_t>(machine.cache_bytes));
  json.integer("memory_bytes", static_cast<int64_t>(machine.memory_bytes));
  json.integer("memory_available_bytes", static_cast<int64_t>(machine.memory_available_bytes));
  json.key("memory_limit_bytes");
  if (machine.memory_limit_bytes > 0) {
    json.integer(static_cast<int64_t>(machine.memory_limit_bytes));
  } else {
    json.null();
  }
  json.integer("memory_nodes", machine.memory_nodes);
  json.boolean("memory_spread", machine.memory_spread);
  json.text("huge_pages", machine.huge_pages);
  json.number("memory_read_gb_s", bandwidth.gb_per_s).key("gpus").begin_array();
  for (const std::string& one : machine.gpus) json.text(one);
  json.end_array().boolean("gpus_used", gpu.has_value()).text("gpu", gpu ? gpu->text() : "");
  json.key("gpu_details");
  if (gpu) {
    json.begin_object().text("name", gpu->name);
    json.text("compute_capability", gpu->compute_capability).text("driver", gpu->driver);
    json.integer("memory_bytes", gpu->memory_bytes);
    json.integer("memory_free_bytes", gpu->memory_free_bytes);
    json.number("memory_read_gb_s", gpu->read_gb_per_s);
    json.number("bf16_tflops", gpu->bf16_tflops).end_object();
  } else {
    json.null();
  }
  json.text("embedded_model", embedded_model);
  json.key("settings").begin_array();
  for (const SettingInForce& setting : settings) {
    json.begin_object().text("name", setting.name).text("value", setting.value);
    json.text("source", setting.source).end_object();
  }
  json.end_array().key("findings").begin_array();
  for (const Finding& finding : findings) {
    json.begin_object().text("what", finding.what).text("advice", finding.advice).end_object();
  }
  json.end_array().end_object();
  return json.line();
}

}  // namespace realm
