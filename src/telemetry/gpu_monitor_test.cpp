#include "telemetry/gpu_monitor.h"

#include <gtest/gtest.h>

#include "telemetry/metrics.h"

namespace realm {
namespace {

TEST(GpuMonitor, ReadsWhatTheDriversLibrarySays) {
  const auto monitor = GpuMonitor::open(REALM_FAKE_NVML);
  ASSERT_TRUE(monitor.ok()) << monitor.error().message;
  EXPECT_EQ((*monitor)->driver_version(), "580.00.01");
  const std::vector<GpuState> gpus = (*monitor)->read();
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0].name, "Fake GPU 0");
  EXPECT_EQ(gpus[1].uuid, "GPU-1");
  EXPECT_EQ(gpus[0].memory_total_bytes, uint64_t{80} << 30);
  EXPECT_EQ(gpus[0].memory_used_bytes, uint64_t{20} << 30);
  EXPECT_DOUBLE_EQ(gpus[0].busy, 0.75);
  EXPECT_DOUBLE_EQ(gpus[0].memory_busy, 0.5);
  EXPECT_LT(gpus[1].busy, 0);
}

TEST(GpuMonitor, GaugesNameEveryGpu) {
  const auto monitor = GpuMonitor::open(REALM_FAKE_NVML);
  ASSERT_TRUE(monitor.ok());
  Metrics metrics;
  ServerState state;
  state.gpus = (*monitor)->read();
  const std::string text = metrics.scrape(state);
  const auto has = [&](const char* line) { return text.find(line) != std::string::npos; };
  EXPECT_TRUE(has("realm_gpu_memory_used_bytes{gpu=\"0\",name=\"Fake GPU 0\"} 21474836480"))
      << text;
  EXPECT_TRUE(has("realm_gpu_memory_total_bytes{gpu=\"1\",name=\"Fake GPU 1\"} 85899345920"))
      << text;
  EXPECT_TRUE(has("realm_gpu_utilization_ratio{gpu=\"0\",name=\"Fake GPU 0\"} 0.75")) << text;
  EXPECT_FALSE(has("realm_gpu_utilization_ratio{gpu=\"1\"")) << text;
}

TEST(GpuMonitor, WithoutTheLibraryThereIsNone) {
  const auto monitor = GpuMonitor::open("libno-such-library.so.1");
  ASSERT_FALSE(monitor.ok());
  EXPECT_EQ(monitor.error().code, ErrorCode::kUnavailable);
}

}  // namespace
}  // namespace realm
