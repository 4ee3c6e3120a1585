// What the scheduler costs a step, beside the step itself: planning, committing and concluding,
// over a fake runner, with requests that come and go. Sequences and tenants are the arguments, and
// whether the next step is planned while one runs, as on a device: then only the rest of planning
// counts, and requests come during steps. What was asked for is at most 50 us a step at 256
// sequences.
#include <benchmark/benchmark.h>

#include <ctime>
#include <limits>
#include <random>

#include "scheduler/fake_runner.h"
#include "scheduler/planner.h"

namespace realm {
namespace {

class NoSink final : public Sink {
 public:
  bool on_token(const TokenEvent&) override { return true; }
  void on_end(const Outcome&) override {}
};

class Load {
 public:
  Load(int64_t sequences, int64_t tenants, bool plans_ahead)
      : tenants_(tenants),
        plans_ahead_(plans_ahead),
        runner_({.limits = {.context = 4096,
                            .max_step_tokens = 2 * sequences + 512,
                            .max_sequences = sequences,
                            .max_sampled = sequences,
                            .vocab_size = 1024},
                 .num_pages = static_cast<int32_t>(sequences * 32)}),
        planner_(runner_.limits(), runner_.pages(), {}) {}

  // Seconds spent in the scheduler while no step runs.
  double step() {
    now_ += 0.02;
    if (!plans_ahead_ || planner_.num_requests() == 0) arrive();
    const double begin = clock();
    planner_.advance(now_);
    const StepPlan& plan = planner_.plan(pace_);
    const double planned = clock();
    benchmark::DoNotOptimize(run_plan(runner_, planner_, plan, outputs_, [this] {
                               if (!plans_ahead_) return;
                               arrive();
                               planner_.plan_ahead(pace_);
                             }).ok());
    const double ran = clock();
    planner_.commit(outputs_, now_);
    for (PlannedToken& token : planner_.tokens()) token.stop = false;
    planner_.conclude();
    auto ended = planner_.take_ended();
    const double end = clock();
    return planned - begin + end - ran;
  }

 private:
  // The processor's time: the runner does not sleep, and others may run on this machine.
  static double clock() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  void arrive() {
    while (planner_.num_requests() < runner_.limits().max_sequences * 5 / 4) add();
  }

  void add() {
    Request request{
        .tenant = TenantId{static_cast<int64_t>(random_() % static_cast<uint64_t>(tenants_))},
        .max_tokens = 64 + static_cast<int64_t>(random_() % 256)};
    request.prompt.resize(64 + random_() % 512);
    for (Token& token : request.prompt) token = static_cast<Token>(random_() % 1024);
    auto live = std::make_unique<LiveRequest>(RequestId{next_id_++}, std::move(request), sink_,
                                              runner_.pages());
    live->submitted_at = now_;
    planner_.add(std::move(live));
  }

  const int64_t tenants_;
  const bool plans_ahead_;
  FakeRunner runner_;
  Planner planner_;
  const StepPace pace_{std::numeric_limits<double>::infinity()};
  const std::shared_ptr<Sink> sink_ = std::make_shared<NoSink>();
  std::vector<StepOutput> outputs_;
  std::mt19937_64 random_{1};
  uint64_t next_id_ = 1;
  double now_ = 0;
};

void step(benchmark::State& state) {
  Load load(state.range(0), state.range(1), state.range(2) != 0);
  for (int i = 0; i < 500; ++i) load.step();  // until requests end and others start
  for (auto _ : state) state.SetIterationTime(load.step());
}

BENCHMARK(step)
    ->ArgNames({"sequences", "tenants", "ahead"})
    ->ArgsProduct({{16, 64}, {1}, {0, 1}})
    ->ArgsProduct({{256}, {1, 64, 1000}, {0, 1}})
    ->UseManualTime()
    ->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace realm

BENCHMARK_MAIN();
