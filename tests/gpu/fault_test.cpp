// What a device's backend makes of faults and of a lack of memory.
#include <gtest/gtest.h>

#include <cstdlib>

#include "backends/cuda/cuda_backend.h"

namespace realm {
namespace {

// In a process of its own: after such a fault the driver does nothing more for it. Exits with 0
// where all is as it should be, else with the number of what is not.
[[noreturn]] void fault_and_exit() {
  auto made = cuda::CudaBackend::create({});
  if (!made.ok()) std::exit(1);
  cuda::CudaBackend& gpu = **made;
  const auto buffer = gpu.allocate(4096);
  if (!buffer.ok()) std::exit(2);
  const Op op = Add{make_view(reinterpret_cast<void*>(0x1000), DType::kF32, {4, 64}),
                    make_view(buffer->data.get(), DType::kF32, {4, 64}),
                    make_view(buffer->data.get(), DType::kF32, {4, 64})};
  std::byte bytes[64];
  const auto is_fault = [](const auto& result) {
    return !result.ok() && result.error().code == ErrorCode::kUnavailable;
  };
  const auto prepared = gpu.prepare({&op, 1});
  if (!prepared.ok()) std::exit(3);
  (void)(*prepared)->run();  // enqueued; the device meets it later
  if (!is_fault(gpu.download(bytes, buffer->data.get()))) std::exit(4);
  if (!is_fault(gpu.upload(buffer->data.get(), bytes))) std::exit(5);
  if (!is_fault((*prepared)->run())) std::exit(6);
  if (!is_fault(gpu.allocate(4096))) std::exit(7);
  if (!is_fault(gpu.memory())) std::exit(8);
  std::exit(0);
}

TEST(GpuFaultDeathTest, AFaultIsForGoodAndSaidByEveryCall) {
  const auto info = cuda::probe_device(0);
  if (!info.ok()) GTEST_SKIP() << info.error().message;
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(fault_and_exit(), testing::ExitedWithCode(0), "");
}

TEST(GpuFault, MemoryThatIsNotThereIsNoFault) {
  auto made = cuda::CudaBackend::create({});
  if (!made.ok()) GTEST_SKIP() << made.error().message;
  cuda::CudaBackend& gpu = **made;
  const auto memory = gpu.memory();
  ASSERT_TRUE(memory.ok());
  const auto refused = gpu.allocate(memory->total_bytes + (size_t{1} << 30));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted) << refused.error().message;
  EXPECT_TRUE(gpu.allocate(4096).ok());
  EXPECT_TRUE(gpu.synchronize().ok());
}

}  // namespace
}  // namespace realm
