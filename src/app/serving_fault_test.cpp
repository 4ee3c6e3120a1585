// What clients see when a device fails or is too small: the server with devices that do so when
// told to.
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "app/http_client.h"
#include "app/serving.h"
#include "backends/cpu/cpu_backend.h"
#include "ops/faulty_backend_testing.h"

namespace realm {
namespace {

constexpr const char* kAsset = REALM_SOURCE_DIR "/assets/realm-tiny.Q8_0.gguf";

Result<std::unique_ptr<Backend>> cpu_backend() {
  return std::unique_ptr<Backend>(
      TRY(cpu::CpuBackend::create({.num_threads = 1, .isa = cpu::best_isa()})));
}

// Two models, each on a "GPU" of its own.
class ServingFault : public testing::Test {
 protected:
  ServingOptions options() {
    ServingOptions options;
    options.models = {parse_model_to_serve("good=realm-tiny"),
                      parse_model_to_serve(std::string("bad=") + kAsset)};
    options.model_options.backend = "cuda";
    options.model_options.threads = 1;
    options.model_options.context = 512;
    options.model_options.make_gpu = [this]() -> Result<std::unique_ptr<Backend>> {
      const auto& trouble = made_++ == 0 ? good_ : bad_;
      return std::unique_ptr<Backend>(
          std::make_unique<FaultyBackend>(TRY(cpu_backend()), trouble, true));
    };
    options.parallel = 4;
    options.step_tokens = 64;
    options.listen = {
        .host = "127.0.0.1", .port = 0, .unix_path = {}, .tls_cert = {}, .tls_key = {}};
    options.drain = std::chrono::milliseconds(0);
    return options;
  }

  void start() {
    auto serving = Serving::create(options());
    ASSERT_TRUE(serving.ok()) << serving.error().message;
    serving_ = std::move(serving).value();
    serving_->start();
  }

  HttpAnswer ask(const std::string& model, const std::string& more = "") const {
    return post("/v1/completions",
                "{\"model\": \"" + model + "\", \"prompt\": \"Once upon a time\"" + more + "}");
  }
  HttpAnswer post(const std::string& path, const std::string& body) const {
    return call({.method = "POST",
                 .url = serving_->address() + path,
                 .headers = {"content-type: application/json"},
                 .body = body});
  }
  HttpAnswer get(const std::string& path) const {
    return call({.url = serving_->address() + path});
  }
  static HttpAnswer call(const HttpCall& call) {
    const auto answer = send_http(call);
    EXPECT_TRUE(answer.ok()) << answer.error().message;
    return answer.ok() ? *answer : HttpAnswer{};
  }
  static bool has(const HttpAnswer& answer, const std::string& text) {
    return answer.body.find(text) != std::string::npos;
  }

  // Waits until the bad model's device has run so many programs.
  void wait_for_runs(int64_t runs) const {
    while (bad_->runs < runs) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  std::shared_ptr<DeviceTrouble> good_ = std::make_shared<DeviceTrouble>();
  std::shared_ptr<DeviceTrouble> bad_ = std::make_shared<DeviceTrouble>();
  int made_ = 0;
  std::unique_ptr<Serving> serving_;
};

TEST_F(ServingFault, ADeviceFaultFailsItsModelAndNoOther) {
  start();
  EXPECT_EQ(ask("good", ", \"max_tokens\": 4").status, 200);
  EXPECT_EQ(ask("bad", ", \"max_tokens\": 4").status, 200);
  EXPECT_EQ(get("/health").status, 200);
  EXPECT_EQ(get("/ready").status, 200);

  // Two in flight, one of them streaming, when the device fails some steps on.
  const int64_t before = bad_->runs;
  const std::string endless = ", \"max_tokens\": 400, \"ignore_eos\": true";
  auto whole = std::async(std::launch::async, [&] { return ask("bad", endless); });
  auto stream =
      std::async(std::launch::async, [&] { return ask("bad", endless + ", \"stream\": true"); });
  wait_for_runs(before + 4);
  bad_->runs_left = 10;

  const HttpAnswer failed = whole.get();
  EXPECT_EQ(failed.status, 503);
  EXPECT_TRUE(has(failed, "\"code\":\"engine_broken\"") ||
              has(failed, "\"code\": \"engine_broken\""))
      << failed.body;
  EXPECT_TRUE(has(failed, "service_unavailable")) << failed.body;
  EXPECT_FALSE(has(failed, "illegal memory")) << failed.body;  // why is for the log
  const HttpAnswer cut = stream.get();
  // Its head was sent if it had begun; the error is its last frame then.
  EXPECT_TRUE(cut.status == 200 || cut.status == 503);
  EXPECT_TRUE(has(cut, "engine_broken")) << cut.body;

  // At once, and for good.
  const HttpAnswer refused = ask("bad", ", \"max_tokens\": 4");
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(has(refused, "engine_broken")) << refused.body;
  EXPECT_EQ(get("/health").status, 503);
  EXPECT_EQ(get("/ready").status, 503);

  EXPECT_EQ(ask("good", ", \"max_tokens\": 4").status, 200);
  const HttpAnswer metrics = get("/metrics");
  EXPECT_TRUE(has(metrics, "realm_model_healthy{engine=\"0\",model_name=\"bad\"} 0"));
  EXPECT_TRUE(has(metrics, "realm_model_healthy{engine=\"0\",model_name=\"good\"} 1"));
  EXPECT_TRUE(serving_->stop().ok());
}

TEST_F(ServingFault, WhatDoesNotFitIsAnErrorAtTheStart) {
  const auto refused = [&](int64_t bytes, const char* word) {
    made_ = 0;
    bad_->bytes_left = bytes;
    const auto serving = Serving::create(options());
    ASSERT_FALSE(serving.ok()) << bytes;
    EXPECT_EQ(serving.error().code, ErrorCode::kExhausted) << serving.error().message;
    EXPECT_NE(serving.error().message.find(word), std::string::npos) << serving.error().message;
  };
  // The device is of 80 GiB, of which 10 % stay free: so little is left that no layer fits.
  refused(int64_t{1} << 20, "not one layer fits the GPU");
  // Enough by the file's sizes, but what is asked for at last is not there.
  made_ = 0;
  bad_->bytes_left = -1;
  ServingOptions much = options();
  much.cache_tokens = int64_t{1} << 27;
  const auto serving = Serving::create(std::move(much));
  ASSERT_FALSE(serving.ok());
  EXPECT_EQ(serving.error().code, ErrorCode::kExhausted) << serving.error().message;
}

// A device that fails before the server listens is an error of the start, too.
TEST_F(ServingFault, ADeviceThatFailsInTheTrialRunIsNotServed) {
  bad_->runs_left = 0;
  const auto serving = Serving::create(options());
  ASSERT_FALSE(serving.ok());
  EXPECT_EQ(serving.error().code, ErrorCode::kUnavailable) << serving.error().message;
  EXPECT_NE(serving.error().message.find("trial run"), std::string::npos)
      << serving.error().message;
}

TEST_F(ServingFault, AModelOfTwoDevicesAnswersAsOnOne) {
  const auto answer_with = [&](const std::string& gpu_layers) {
    made_ = 0;
    ServingOptions one = options();
    one.models = {parse_model_to_serve("model=realm-tiny")};
    one.model_options.gpu_layers = gpu_layers;
    auto serving = Serving::create(std::move(one));
    EXPECT_TRUE(serving.ok()) << serving.error().message;
    if (!serving.ok()) return std::string();
    serving_ = std::move(serving).value();
    serving_->start();
    const HttpAnswer answer = ask("model", ", \"max_tokens\": 16, \"temperature\": 0");
    EXPECT_EQ(answer.status, 200) << answer.body;
    EXPECT_TRUE(serving_->stop().ok());
    const size_t text = answer.body.find("\"text\"");
    EXPECT_NE(text, std::string::npos) << answer.body;
    if (text == std::string::npos) return std::string();
    return answer.body.substr(text, answer.body.find('}', text) - text);
  };
  const std::string whole = answer_with("auto");
  EXPECT_GT(whole.size(), 20u);
  EXPECT_EQ(answer_with("2"), whole);
}

}  // namespace
}  // namespace realm
