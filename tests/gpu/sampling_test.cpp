// Chains of samplers on the GPU against the host's samplers over the same rows.
#include <gtest/gtest.h>

#include "backends/cuda/cuda_backend.h"
#include "formats/gguf.h"
#include "serving/device_chains.h"

namespace realm {
namespace {

TEST(GpuSampling, ChoosesWhatTheSamplersDo) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  expect_the_samplers_tokens(**gpu, 2500, 3.0f, 60);
  expect_the_samplers_tokens(**gpu, 2500, 0.8f, 20);
  expect_the_samplers_tokens(**gpu, 50000, 2.5f, 4);
  expect_the_samplers_tokens(**gpu, 2001, 12.0f, 20);  // few tokens have any weight
}

TEST(GpuSampling, GivesTheHostsTexts) {
  auto gpu = cuda::CudaBackend::create({});
  if (!gpu.ok()) GTEST_SKIP() << gpu.error().message;
  auto file = open_gguf(std::string(REALM_ASSETS_DIR) + "/realm-tiny.Q8_0.gguf");
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto engine = Engine::create(load_model(std::move(file).value(), **gpu).value(), **gpu,
                                     {.context = 256,
                                      .cache_tokens = 1024,
                                      .max_step_tokens = 64,
                                      .max_sequences = 4,
                                      .max_logit_rows = 4});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  expect_the_hosts_texts(**engine);
}

}  // namespace
}  // namespace realm
