#include "app/doctor_command.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json/object.hpp>
#include <filesystem>
#include <fstream>

#include "formats/json.h"

namespace realm {
namespace {

namespace fs = std::filesystem;

class FakeRoot : public testing::Test {
 protected:
  void SetUp() override { fs::remove_all(root_); }
  void TearDown() override { fs::remove_all(root_); }
  void put(const std::string& path, const std::string& text) {
    const fs::path whole = root_.string() + path;
    fs::create_directories(whole.parent_path());
    std::ofstream(whole) << text;
  }
  const fs::path root_ =
      fs::path(testing::TempDir()) / ("realm_doctor_test_" + std::to_string(::getpid()));
};

TEST_F(FakeRoot, ReadsWhatTheSystemSays) {
  put("/proc/cpuinfo", "processor\t: 0\nmodel name\t: A Fine Processor\nflags\t: x\n");
  put("/proc/meminfo", "MemTotal:       1000 kB\nMemFree: 5 kB\nMemAvailable:    700 kB\n");
  put("/proc/loadavg", "3.25 1 1 1/100 5\n");
  put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  put("/sys/devices/system/node/has_memory", "0-3\n");
  put("/proc/self/status", "Mems_allowed_list:\t1-3\n");
  put("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t NVIDIA H100\nIRQ: 1\n");
  const Machine machine = examine_machine(root_);
  EXPECT_EQ(machine.cpu_model, "A Fine Processor");
  EXPECT_EQ(machine.memory_bytes, 1000u << 10);
  EXPECT_EQ(machine.memory_available_bytes, 700u << 10);
  EXPECT_EQ(machine.memory_limit_bytes, 0u);
  EXPECT_EQ(machine.load, 3.25);
  EXPECT_EQ(machine.memory_nodes, 3);
  EXPECT_EQ(machine.huge_pages, "never");
  EXPECT_EQ(machine.gpus, (std::vector<std::string>{"NVIDIA H100"}));
}

TEST_F(FakeRoot, TheSmallestLimitOfTheControlGroupsCounts) {
  put("/proc/self/cgroup", "0::/a/b\n");
  put("/sys/fs/cgroup/a/b/memory.max", "max\n");
  put("/sys/fs/cgroup/a/memory.max", "5000000\n");
  EXPECT_EQ(examine_machine(root_).memory_limit_bytes, 5000000u);
  put("/sys/fs/cgroup/memory.max", "4000000\n");
  EXPECT_EQ(examine_machine(root_).memory_limit_bytes, 4000000u);
}

TEST_F(FakeRoot, OlderControlGroupsCountToo) {
  put("/proc/self/cgroup", "4:memory:/x\n2:cpu:/\n0::/\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(examine_machine(root_).memory_limit_bytes, 0u);
  put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "123456\n");
  EXPECT_EQ(examine_machine(root_).memory_limit_bytes, 123456u);
}

TEST_F(FakeRoot, NothingThereIsNotAnError) {
  const Machine machine = examine_machine(root_);
  EXPECT_EQ(machine.cpu_model, "");
  EXPECT_EQ(machine.memory_bytes, 0u);
  EXPECT_EQ(machine.load, -1);
  EXPECT_GE(machine.usable_cores, 1);
  EXPECT_TRUE(machine.gpus.empty());
}

DoctorReport healthy() {
  DoctorReport report{};
  report.version = "1";
  report.machine.cores = report.machine.usable_cores = 8;
  report.machine.memory_bytes = report.machine.memory_available_bytes = uint64_t{64} << 30;
  report.machine.huge_pages = "madvise";
  report.instruction_sets = {"avx2", "scalar"};
  report.bandwidth.gb_per_s = 40;
  report.embedded_model = "llama";
  return report;
}

TEST(Doctor, FindsEachFault) {
  EXPECT_TRUE(judge(healthy()).empty());
  const auto finding = [](auto spoil) {
    DoctorReport report = healthy();
    spoil(report);
    const auto findings = judge(report);
    EXPECT_EQ(findings.size(), 1u);
    return findings.empty() ? std::string() : findings[0].what;
  };
  EXPECT_NE(finding([](auto& r) {
              r.machine.gpus = {"NVIDIA H100"};
              r.gpu_problem = "the driver is too old";
            }).find("not used: the driver is too old"),
            std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.usable_cores = 2; }).find("2 of 8"), std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.instruction_sets = {"scalar"}; }).find("kernels"),
            std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.embedded_model = ""; }).find("embedded"), std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.bandwidth.gb_per_s = 2; }).find("GB/s"), std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.load = 30; }).find("load"), std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.memory_limit_bytes = 1 << 20; }).find("control group"),
            std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.memory_available_bytes = 1 << 20; }).find("available"),
            std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.memory_nodes = 2; }).find("over the 2 nodes"),
            std::string::npos);
  EXPECT_NE(finding([](auto& r) { r.machine.huge_pages = "never"; }).find("huge pages"),
            std::string::npos);
}

TEST(Doctor, ReportsThisMachine) {
  const auto report = examine({{"ctx", "512", "REALM_CTX"}});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->machine.memory_bytes, 0u);
  EXPECT_GT(report->bandwidth.gb_per_s, 0.1);
  EXPECT_EQ(report->instruction_sets.back(), "scalar");
  EXPECT_EQ(report->embedded_model, "llama Q8_0 28.3M, 30.4 MB");
  EXPECT_NE(report->text().find("ctx = 512 (REALM_CTX)"), std::string::npos);
  const auto json = parse_json(report->json(), "report");
  ASSERT_TRUE(json.ok()) << json.error().message;
  EXPECT_EQ(json->get_object().at("settings").as_array().size(), 1u);
}

}  // namespace
}  // namespace realm
