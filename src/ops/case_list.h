// The parts that cases.cpp puts together.
#pragma once

#include <vector>

#include "ops/cases.h"

namespace realm {

void attention_check_cases(std::vector<CaseRow>& rows);
void attention_bench_cases(std::vector<CaseRow>& rows);
void sampling_check_cases(std::vector<CaseRow>& rows);
void sampling_bench_cases(std::vector<CaseRow>& rows);
void moe_check_cases(std::vector<CaseRow>& rows);
void moe_bench_cases(std::vector<CaseRow>& rows);

}  // namespace realm
