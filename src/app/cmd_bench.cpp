// `realm bench [MODEL]`.
#include <unistd.h>

#include <CLI/App.hpp>
#include <cstdio>
#include <memory>

#include "app/bench_command.h"
#include "app/commands.h"
#include "app/interrupt.h"
#include "app/model_settings.h"

namespace realm {

void add_bench(CLI::App& root, Commands& commands);

void add_bench(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("bench", "Measure how fast a model runs here",
                   {"realm bench", "realm bench model.gguf -p 512 -n 128 -d 4096 -b 8 -r 5 --json"},
                   {SettingGroup::kModel});
  struct Arguments {
    std::string model;
    BenchOptions options;
    bool json = false;
  };
  auto arguments = std::make_shared<Arguments>();
  BenchOptions& options = arguments->options;
  command->add_option("MODEL", arguments->model, "the model; realm-tiny unless given");
  const auto number = [command](const char* names, int64_t& value, int64_t min, int64_t max,
                                const char* help) {
    command->add_option(names, value, help)
        ->type_name("N")
        ->check(CLI::Range(min, max))
        ->capture_default_str();
  };
  number("-p,--n-prompt", options.n_prompt, 0, 1 << 20, "tokens of the prefill test; 0: none");
  number("-n,--n-gen", options.n_gen, 0, 1 << 20, "tokens of the decode tests; 0: none");
  number("-d,--depth", options.depth, 0, 1 << 20, "tokens in the cache before each test");
  number("-b,--sequences", options.sequences, 1, 1024, "decode as many sequences at once, too");
  number("-r,--repeats", options.repeats, 1, 1000, "runs of each test");
  number("--step-tokens", options.step_tokens, 1, 65536, "tokens a step of prefill");
  command->add_flag("--json", arguments->json, "print a JSON list");
  commands.on_run(command, [&commands, arguments]() -> Status {
    InterruptScope interrupt;
    BenchOptions& run = arguments->options;
    run.model = model_options(commands.settings(), arguments->model);
    run.cancel = &interrupt.flag();
    const bool terminal = isatty(STDERR_FILENO) != 0;
    if (terminal) {
      run.on_progress = [](const std::string& what) {
        std::fprintf(stderr, "\r\x1b[K%s", what.c_str());
      };
    }
    const auto report = run_bench(run);
    if (terminal) std::fputs("\r\x1b[K", stderr);
    if (!report.ok()) return report.error();
    const std::string out = arguments->json ? report->json() : report->text();
    std::fwrite(out.data(), 1, out.size(), stdout);
    return {};
  });
}

}  // namespace realm
