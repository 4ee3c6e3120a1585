#include "app/bench_command.h"

#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "formats/json.h"

namespace realm {
namespace {

TEST(BenchCommand, MeasuresEachTest) {
  const auto report =
      run_bench({.n_prompt = 40, .n_gen = 3, .depth = 35, .sequences = 3, .repeats = 2});
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->peak.gb_per_s, 0.1);
  ASSERT_EQ(report->rows.size(), 3u);
  for (const BenchRow& row : report->rows) {
    EXPECT_GT(row.tok_s_min, 0) << row.test;
    EXPECT_GE(row.tok_s, row.tok_s_min) << row.test;
    EXPECT_GE(row.tok_s_max, row.tok_s) << row.test;
    EXPECT_GT(row.gb_s, 0) << row.test;
    EXPECT_EQ(row.depth, 35);
  }
  const auto json = parse_json(report->json(), "report");
  ASSERT_TRUE(json.ok()) << json.error().message;
  ASSERT_EQ(json->get_array().size(), 3u);
  const auto& batched = json->get_array()[2].get_object();
  EXPECT_EQ(batched.at("test").get_string(), "batched decode");
  EXPECT_EQ(batched.at("sequences").get_int64(), 3);
  EXPECT_EQ(batched.at("n_gen").get_int64(), 3);
  EXPECT_EQ(batched.at("model_type").get_string(), "llama Q8_0 28.3M");
  for (const char* field :
       {"n_prompt", "depth", "tok_s", "tok_s_min", "tok_s_max", "gb_s", "backend", "threads"}) {
    EXPECT_TRUE(batched.contains(field)) << field;
  }
}

TEST(BenchCommand, TestsOfNoTokensAreLeftOut) {
  const auto report = run_bench({.n_prompt = 0, .n_gen = 2, .repeats = 1});
  ASSERT_TRUE(report.ok()) << report.error().message;
  ASSERT_EQ(report->rows.size(), 1u);
  EXPECT_EQ(report->rows[0].test, "decode");
  EXPECT_EQ(report->rows[0].tok_s, report->rows[0].tok_s_min);
}

TEST(BenchCommand, RefusesNumbersOutOfRange) {
  for (const BenchOptions& options :
       {BenchOptions{.n_prompt = -1}, BenchOptions{.sequences = 0}, BenchOptions{.repeats = 0},
        BenchOptions{.model = {.context = 100}, .n_prompt = 101}}) {
    const auto report = run_bench(options);
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.error().code, ErrorCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace realm
