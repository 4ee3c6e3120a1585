// realm-fake-serve: the server with the scheduler's fake runner in place of an engine, so that what
// HTTP, JSON, detokenizing and scheduling cost is all there is to measure. Tokens are those of
// realm-tiny's vocabulary.
//
//   realm-fake-serve MODEL.gguf [PARALLEL] [IO_THREADS]     prints its port; ends on a signal
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "formats/open_model.h"
#include "scheduler/fake_runner.h"
#include "server/api/router.h"
#include "server/http/http_server.h"

namespace {

using namespace realm;

Result<std::shared_ptr<server::ServedModel>> fake_model(const std::string& path, int64_t parallel,
                                                        std::function<void()> on_step_end) {
  struct Owner {
    std::unique_ptr<TensorDirectory> file;
    std::unique_ptr<Tokenizer> tokenizer;
  };
  auto owner = std::make_shared<Owner>();
  owner->file = TRY(open_model(path));
  owner->tokenizer = TRY(Tokenizer::create(owner->file->metadata()));
  auto model = std::make_shared<server::ServedModel>();
  model->id = "fake";
  model->context = 4096;
  model->vocab_size = owner->tokenizer->vocab_size();
  model->tokenizer = owner->tokenizer.get();
  model->prompts = TRY(PromptTemplate::create(*owner->file, *owner->tokenizer));
  model->owner = owner;
  const RunnerLimits limits{.context = model->context,
                            .max_step_tokens = 2048,
                            .max_sequences = parallel,
                            .max_sampled = parallel,
                            .vocab_size = model->vocab_size};
  // Ordinary words only: the first tokens of a vocabulary are control and byte tokens.
  auto runner = std::make_unique<FakeRunner>(FakeOptions{
      .limits = limits, .num_pages = static_cast<int32_t>(parallel * 256), .first_token = 1000});
  model->scheduler = std::make_unique<Scheduler>(
      std::move(runner), SchedulerOptions{.on_step_end = std::move(on_step_end)});
  return model;
}

Status serve(const std::string& path, int64_t parallel, int io_threads) {
  std::vector<std::unique_ptr<server::IoLoop>> loops;
  std::vector<server::IoLoop*> views;
  for (int i = 0; i < io_threads; ++i) {
    loops.push_back(std::make_unique<server::IoLoop>());
    views.push_back(loops.back().get());
  }
  server::ModelSet models;
  auto model = TRY(fake_model(path, parallel, [views] {
    for (server::IoLoop* loop : views) loop->flush();
  }));
  TRY(models.add(std::move(model)));
  server::OpenAuthenticator authenticator;
  const server::HttpLimits limits;
  server::ApiContext api{.models = models,
                         .authenticator = authenticator,
                         .limits = limits,
                         .version = "bench",
                         .started_s = server::unix_seconds()};
  server::Router router(api, {});
  const auto http = TRY(server::HttpServer::listen({}, limits, router, views));
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGINT);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  for (const auto& loop : loops) loop->start();
  http->start();
  std::printf("listening on %s\n", http->address().c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ending, &signal);
  http->drain();
  const SchedulerStats stats = models.all().front()->scheduler->stats();
  std::printf(
      "%lld steps, %lld sampled, scheduler %.1f us a step\n", static_cast<long long>(stats.steps),
      static_cast<long long>(stats.step_sampled),
      stats.scheduler_seconds * 1e6 / static_cast<double>(std::max<int64_t>(stats.steps, 1)));
  models.all().front()->scheduler->stop();
  http->abort();
  for (const auto& loop : loops) loop->stop();
  for (const auto& loop : loops) loop->join();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "realm-fake-serve MODEL.gguf [PARALLEL] [IO_THREADS]\n");
    return 2;
  }
  const int64_t parallel = argc > 2 ? std::atoll(argv[2]) : 512;
  const Status status = serve(argv[1], parallel, argc > 3 ? std::atoi(argv[3]) : 1);
  if (!status.ok()) std::fprintf(stderr, "realm-fake-serve: %s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
