// realm-ops check|bench|support|names: the list of op cases (ops/cases.h) on a backend. `check`
// compares every case with the plain reference, `bench` times shapes of real models, `support` says
// which kernel an op and type get, `names` lists the ops that have cases.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "backends/cuda/cuda_backend.h"
#include "formats/quant/quant_table.h"
#include "ops/case_runner.h"

namespace realm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr char kUsage[] =
    "usage: realm-ops check|bench|support|names [--backend cpu|cuda] [--op NAME] [--case PART]\n"
    "                 [--isa NAME] [--threads N] [--tolerance T]\n";

struct Options {
  std::string mode, backend = "cpu", op, part, isa;
  int threads = 0;
  double tolerance = 0;
};

Result<Options> parse(int argc, char** argv) {
  const auto wrong = [](const std::string& message) {
    return Error{ErrorCode::kInvalidArgument, message};
  };
  if (argc < 2) return wrong("say what to do");
  Options options;
  options.mode = argv[1];
  const auto modes = {"check", "bench", "support", "names"};
  if (std::find(modes.begin(), modes.end(), options.mode) == modes.end()) {
    return wrong("there is no mode '" + options.mode + "'");
  }
  for (int i = 2; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) return wrong(name + " needs a value");
    const std::string value = argv[i + 1];
    char* end = nullptr;
    if (name == "--backend") {
      options.backend = value;
    } else if (name == "--op") {
      options.op = value;
    } else if (name == "--case") {
      options.part = value;
    } else if (name == "--isa") {
      options.isa = value;
    } else if (name == "--threads") {
      options.threads = static_cast<int>(std::strtol(value.c_str(), &end, 10));
      if (*end != 0 || options.threads < 1) return wrong("--threads takes a number from 1");
    } else if (name == "--tolerance") {
      options.tolerance = std::strtod(value.c_str(), &end);
      if (*end != 0 || options.tolerance < 0) return wrong("--tolerance takes a number from 0");
    } else {
      return wrong("there is no option '" + name + "'");
    }
  }
  return options;
}

Result<std::unique_ptr<Backend>> make_backend(const Options& options) {
  if (options.backend == "cuda") {
    return std::unique_ptr<Backend>(TRY(cuda::CudaBackend::create({})));
  }
  if (options.backend != "cpu") {
    return Error{ErrorCode::kUnsupported, "backend '" + options.backend + "' is not in this build"};
  }
  cpu::CpuOptions cpu_options{.num_threads = options.threads};
  if (!options.isa.empty()) cpu_options.isa = TRY(cpu::parse_isa(options.isa));
  return std::unique_ptr<Backend>(TRY(cpu::CpuBackend::create(cpu_options)));
}

std::vector<const CaseRow*> chosen(const std::vector<CaseRow>& cases, const Options& options) {
  std::vector<const CaseRow*> rows;
  for (const CaseRow& row : cases) {
    const bool fits = options.op.empty() || row.op == options.op;
    if (fits && row.name.find(options.part) != std::string::npos) rows.push_back(&row);
  }
  return rows;
}

bool print_names() {
  std::set<std::string> names;
  for (const CaseRow& row : check_cases()) names.insert(row.op);
  for (const std::string& name : names) std::printf("%s\n", name.c_str());
  return true;
}

Result<bool> check(const Options& options, Backend& backend) {
  auto reference = TRY(cpu::CpuBackend::create({.num_threads = 1, .isa = cpu::Isa::kScalar}));
  int passed = 0, failed = 0, unsupported = 0;
  for (const CaseRow* row : chosen(check_cases(), options)) {
    const OpCase op_case = row->make();
    const auto expected = TRY(run_case(op_case, *reference));
    const auto actual = run_case(op_case, backend);
    std::string problem;
    if (!actual.ok() && actual.error().code == ErrorCode::kUnsupported) {
      ++unsupported;
      std::printf("unsupported  %s %s: %s\n", row->op.c_str(), row->name.c_str(),
                  actual.error().message.c_str());
      continue;
    }
    if (actual.ok()) {
      problem = find_difference(op_case, expected, *actual, options.tolerance).value_or("");
    } else {
      problem = actual.error().message;
    }
    problem.empty() ? ++passed : ++failed;
    if (!problem.empty()) {
      std::printf("FAILED       %s %s: %s\n", row->op.c_str(), row->name.c_str(), problem.c_str());
    }
  }
  std::printf("%s: %d passed, %d failed, %d unsupported\n", backend.name().c_str(), passed, failed,
              unsupported);
  return failed == 0 && passed > 0;
}

// Runs the case `count` times; over when its results can be seen.
Status run_times(PlacedCase& placed, Backend& backend, int count) {
  for (int i = 0; i < count; ++i) TRY(placed.run());
  return backend.download({}, nullptr);
}

// Median seconds of a run, over a third of a second or five runs. A device gets several runs at
// once, for its host to keep ahead of it.
Result<double> time_case(PlacedCase& placed, Backend& backend, bool is_device) {
  const int at_once = is_device ? 20 : 1;
  TRY(run_times(placed, backend, 1));
  std::vector<double> seconds;
  const auto start = Clock::now();
  while (seconds.size() < 5 || Clock::now() - start < std::chrono::milliseconds(300)) {
    const auto run_start = Clock::now();
    TRY(run_times(placed, backend, at_once));
    seconds.push_back(std::chrono::duration<double>(Clock::now() - run_start).count() / at_once);
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<ptrdiff_t>(seconds.size() / 2),
                   seconds.end());
  return seconds[seconds.size() / 2];
}

Result<bool> bench(const Options& options, Backend& backend) {
  std::printf("%s\n%-18s%-36s%12s%10s%12s\n", backend.name().c_str(), "op", "case", "us", "GB/s",
              "GFLOP/s");
  for (const CaseRow* row : chosen(bench_cases(), options)) {
    const OpCase op_case = row->make();
    PlacedCase placed = TRY(PlacedCase::place(op_case, backend));
    const double seconds = TRY(time_case(placed, backend, options.backend != "cpu"));
    std::printf("%-18s%-36s%12.1f%10.2f", row->op.c_str(), row->name.c_str(), seconds * 1e6,
                row->bytes / seconds / 1e9);
    if (row->flops > 0) {
      std::printf("%12.1f\n", row->flops / seconds / 1e9);
    } else {
      std::printf("%12s\n", "-");
    }
    std::fflush(stdout);
  }
  return true;
}

// The types whose choice decides an op's kernel.
std::string types_of(const Op& op) {
  const auto name = [](const TensorView& view) {
    return std::string(find_block_format(view.dtype)->name);
  };
  if (const auto* matmul = std::get_if<MatMul>(&op)) {
    return name(matmul->parts[0].weight) + (matmul->x.dim(0) >= 16 ? ", many tokens" : "");
  }
  if (const auto* experts = std::get_if<ExpertMatMul>(&op)) {
    return name(experts->parts[0].weight) + (experts->x.dim(0) >= 16 ? ", many tokens" : "");
  }
  if (const auto* gather = std::get_if<GatherRows>(&op)) return name(gather->table);
  if (const auto* attention = std::get_if<Attention>(&op)) return name(attention->k_cache);
  if (const auto* store = std::get_if<StoreKv>(&op)) return name(store->k_cache);
  if (const auto* copy = std::get_if<CopyPages>(&op)) return name(copy->k_cache);
  return "F32";
}

Result<bool> support(const Options& options, Backend& backend) {
  std::map<std::string, std::map<std::string, int>> matrix;  // op and type -> kernel -> cases
  for (const CaseRow* row : chosen(check_cases(), options)) {
    const OpCase op_case = row->make();
    const auto kernel = backend.support(op_case.op);
    char key[64];
    std::snprintf(key, sizeof key, "%-18s%-24s", row->op.c_str(), types_of(op_case.op).c_str());
    ++matrix[key][kernel.ok() ? *kernel : "unsupported: " + kernel.error().message];
  }
  std::printf("%s\n", backend.name().c_str());
  for (const auto& [key, kernels] : matrix) {
    std::string text;
    for (const auto& [kernel, cases] : kernels) {
      text += (text.empty() ? "" : "; ") + kernel + " (" + std::to_string(cases) +
              (cases == 1 ? " case)" : " cases)");
    }
    std::printf("%s%s\n", key.c_str(), text.c_str());
  }
  return true;
}

Result<bool> run(int argc, char** argv) {
  const auto options = parse(argc, argv);
  if (!options.ok()) return Error{options.error().code, options.error().message + "\n" + kUsage};
  if (options->mode == "names") return print_names();
  const auto backend = TRY(make_backend(*options));
  if (options->mode == "check") return check(*options, *backend);
  if (options->mode == "bench") return bench(*options, *backend);
  return support(*options, *backend);
}

}  // namespace
}  // namespace realm

int main(int argc, char** argv) {
  const auto result = realm::run(argc, argv);
  if (result.ok()) return *result ? 0 : 1;
  std::fprintf(stderr, "realm-ops: %s\n", result.error().message.c_str());
  return result.error().code == realm::ErrorCode::kInvalidArgument ? 2 : 1;
}
