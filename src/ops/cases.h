// The one list of cases for every op: odd, empty, unaligned, strided and in-place shapes, with
// seeded random inputs. Every backend's test runs the list against the reference (case_runner.h);
// bench/ops checks, times and tabulates any backend with it. An op's cases are written beside each
// other in cases.cpp; a new op without one fails the test of the list.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ops/op.h"

namespace realm {

// One tensor's memory as the case wants it before the op runs.
struct CaseTensor {
  uintptr_t address = 0;           // made up; the op's views lie in [address, address + size)
  std::vector<std::byte> initial;  // whole extent, gaps between strided rows included
  size_t misalignment = 0;         // bytes past a 64-byte boundary where it is to be placed
  bool is_weight = false;          // goes through Backend::import_weight
};

// An op with its inputs, independent of any backend.
struct OpCase {
  Op op;
  std::vector<CaseTensor> tensors;  // ascending addresses
};

struct CaseRow {
  std::string op;    // op_name
  std::string name;  // what is particular about it: "f16 gqa 4 window 40"
  std::function<OpCase()> make;
  // Of one run, for speeds; 0 in rows that are only checked.
  double bytes = 0, flops = 0;
};

// Small and awkward shapes, to compare with the reference.
const std::vector<CaseRow>& check_cases();
// Shapes of real models, to time. Making one may take a second and some hundred megabytes.
const std::vector<CaseRow>& bench_cases();

}  // namespace realm
