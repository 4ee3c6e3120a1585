// `realm quantize IN OUT TYPE`.
#include <CLI/App.hpp>
#include <cstdio>
#include <memory>
#include <optional>

#include "app/commands.h"
#include "app/interrupt.h"
#include "app/quantize_command.h"
#include "app/terminal/progress.h"

namespace realm {

void add_quantize(CLI::App& root, Commands& commands);

void add_quantize(CLI::App&, Commands& commands) {
  CLI::App* command =
      commands.add("quantize", "Store a model's matrices as another type",
                   {"realm quantize model-f16.gguf model-q4.gguf Q4_K_M",
                    "realm quantize model-f16.gguf model-iq2.gguf IQ2_XS --imatrix model.imatrix"});
  auto options = std::make_shared<QuantizeOptions>();
  command->add_option("IN", options->input, "a GGUF file or a Hugging Face folder")
      ->type_name("")
      ->required();
  command->add_option("OUT", options->output, "the GGUF file to write")->type_name("")->required();
  command->add_option("TYPE", options->type, "Q4_K_M, Q5_K_S, Q6_K, Q8_0, IQ4_XS, F16, ...")
      ->type_name("")
      ->required();
  command->add_option("--imatrix", options->imatrix_path, "importance matrix, of 'realm imatrix'")
      ->type_name("FILE");
  command->add_flag("--pure", options->pure, "one type for every matrix, no mix");
  command->add_flag("--keep-output", options->keep_output, "leave the output matrix as it is");
  command->add_flag("--allow-requantize", options->allow_requantize,
                    "also from types coarser than Q8_0");
  command->add_option("-t,--threads", options->threads, "CPU threads; all cores unless set")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "print a JSON object");
  commands.on_run(command, [options, json]() -> Status {
    InterruptScope interrupt;
    options->cancel = &interrupt.flag();
    std::optional<Progress> progress;
    options->on_tensor = [&](size_t index, size_t count) {
      if (!progress) progress.emplace("quantizing", count);
      progress->update(index);
    };
    const auto report = quantize_model(*options);
    progress.reset();
    if (!report.ok()) return report.error();
    const std::string text = *json ? report->json() : report->text();
    std::fwrite(text.data(), 1, text.size(), *json ? stdout : stderr);
    return {};
  });
}

}  // namespace realm
