#include "formats/row_encoder.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "formats/tensor_directory.h"

namespace realm {
namespace {

// Elements decoded at a time: enough to keep the cores busy, small enough to stay in a cache.
constexpr int64_t kChunkElements = int64_t{1} << 22;

// Copies out of a list of pieces, in order.
class PieceReader {
 public:
  explicit PieceReader(std::span<const std::span<const std::byte>> pieces) : pieces_(pieces) {}

  size_t left() const {
    size_t total = 0;
    for (const auto piece : pieces_) total += piece.size();
    return total - offset_;
  }

  void read(std::span<std::byte> out) {
    while (!out.empty()) {
      CHECK(!pieces_.empty());
      const auto rest = pieces_.front().subspan(offset_);
      const size_t count = std::min(rest.size(), out.size());
      std::memcpy(out.data(), rest.data(), count);
      out = out.subspan(count);
      offset_ += count;
      if (offset_ == pieces_.front().size()) {
        pieces_ = pieces_.subspan(1);
        offset_ = 0;
      }
    }
  }

 private:
  std::span<const std::span<const std::byte>> pieces_;
  size_t offset_ = 0;
};

bool all_finite(std::span<const float> values) {
  bool finite = true;
  for (const float v : values) finite &= std::isfinite(v);
  return finite;
}

// The first magnitude that rounds to F16's infinity.
bool all_fit_f16(std::span<const float> values) {
  bool fit = true;
  for (const float v : values) fit &= std::fabs(v) < 65520.0f;
  return fit;
}

// Calls work(row) for every row below `rows`, on so many threads.
void for_each_row(int64_t rows, int num_threads, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next{0};
  const auto loop = [&] {
    for (int64_t row = next++; row < rows; row = next++) work(row);
  };
  std::vector<std::jthread> helpers;
  const int64_t cores = num_threads > 0 ? num_threads : std::thread::hardware_concurrency();
  const int64_t threads = std::min<int64_t>(std::max<int64_t>(1, cores), rows);
  for (int64_t i = 1; i < threads; ++i) helpers.emplace_back(loop);
  loop();
}

}  // namespace

Result<const QuantMix*> named_mix(std::string_view name) {
  if (const QuantMix* mix = find_quant_mix(name)) return mix;
  std::string known;
  for (const QuantMix& mix : quant_mixes()) {
    known += (known.empty() ? "" : ", ") + std::string(mix.name);
  }
  return Error{ErrorCode::kInvalidArgument,
               "there is no type " + quoted_name(name) + "; there are " + known};
}

Status encode_rows(std::span<const std::span<const std::byte>> pieces, const BlockFormat& from,
                   const BlockFormat& to, int64_t row_elements, const ByteSink& sink,
                   const RowEncoding& encoding) {
  const float* importance = encoding.importance.empty() ? nullptr : encoding.importance.data();
  CHECK(importance == nullptr || static_cast<int64_t>(encoding.importance.size()) == row_elements);
  CHECK(row_elements % from.block_elements == 0 && row_elements % to.block_elements == 0);
  PieceReader reader(pieces);
  const size_t row_in = row_bytes(from, row_elements);
  const size_t row_out = row_bytes(to, row_elements);
  CHECK(reader.left() % row_in == 0);
  int64_t rows_left = static_cast<int64_t>(reader.left() / row_in);
  const int64_t chunk_rows = std::clamp<int64_t>(kChunkElements / row_elements, 1, rows_left);
  std::vector<std::byte> input(static_cast<size_t>(chunk_rows) * row_in);
  std::vector<std::byte> output(static_cast<size_t>(chunk_rows) * row_out);
  std::atomic<bool> finite{true}, fits{true};
  while (rows_left > 0) {
    const int64_t rows = std::min(chunk_rows, rows_left);
    rows_left -= rows;
    reader.read(std::span(input).first(static_cast<size_t>(rows) * row_in));
    for_each_row(rows, encoding.threads, [&](int64_t row) {
      thread_local std::vector<float> values;
      values.resize(static_cast<size_t>(row_elements));
      from.decode(input.data() + static_cast<size_t>(row) * row_in, values.data(), row_elements);
      if (!all_finite(values)) finite = false;
      if (from.type == to.type) return;
      if (to.type == DType::kF16 && !all_fit_f16(values)) fits = false;
      to.encode(values.data(), output.data() + static_cast<size_t>(row) * row_out, row_elements,
                importance);
    });
    if (!finite) return Error{ErrorCode::kBadModel, "holds a weight that is not finite"};
    if (!fits) {
      return Error{ErrorCode::kBadModel, "holds a weight too large for F16; BF16 or F32 hold it"};
    }
    const auto& bytes = from.type == to.type ? input : output;
    TRY(sink(std::span(bytes).first(static_cast<size_t>(rows) * row_out)));
  }
  return {};
}

}  // namespace realm
