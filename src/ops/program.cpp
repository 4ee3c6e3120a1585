#include "ops/program.h"

#include <algorithm>

#include "base/check.h"

namespace realm {
namespace {

constexpr size_t kAlignment = 64;

size_t align_up(size_t n) {
  return (n + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

TensorView ProgramBuilder::scratch(std::initializer_list<int64_t> shape, DType dtype) {
  TensorView view = make_view(reinterpret_cast<void*>(next_), dtype, shape);
  const size_t size = align_up(std::max<size_t>(view.extent_bytes(), 1));
  ranges_.push_back({.begin = next_, .size = size});
  next_ += size;
  return view;
}

ProgramBuilder::Range* ProgramBuilder::find(const TensorView& view) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(view.data);
  if (address < kFirstAddress) return nullptr;
  auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                [](uintptr_t a, const Range& range) { return a < range.begin; });
  CHECK(after != ranges_.begin());
  return &*(after - 1);
}

void ProgramBuilder::add(Op op) {
  if (!status_.ok()) return;
  status_ = check_op(op);
  if (!status_.ok()) return;
  const int64_t index = static_cast<int64_t>(ops_.size());
  for_each_tensor(op, [&](TensorView& view, bool) {
    if (Range* range = find(view)) {
      if (range->first_op < 0) range->first_op = index;
      range->last_op = index;
    }
  });
  ops_.push_back(std::move(op));
}

Result<Program> ProgramBuilder::finish() {
  if (!status_.ok()) return status_.error();
  // First fit in order of first use: at each tensor, the lowest gap between the tensors alive then.
  std::vector<Range*> order;
  for (Range& range : ranges_) {
    if (range.first_op >= 0) order.push_back(&range);
  }
  std::stable_sort(order.begin(), order.end(),
                   [](const Range* a, const Range* b) { return a->first_op < b->first_op; });
  std::vector<Range*> alive;  // sorted by offset
  size_t total = 0;
  for (Range* range : order) {
    std::erase_if(alive, [&](const Range* other) { return other->last_op < range->first_op; });
    size_t offset = 0;
    auto place_before = alive.begin();
    for (; place_before != alive.end(); ++place_before) {
      if (offset + range->size <= (*place_before)->offset) break;
      offset = std::max(offset, (*place_before)->offset + (*place_before)->size);
    }
    range->offset = offset;
    alive.insert(place_before, range);
    total = std::max(total, offset + range->size);
  }
  Program program{.ops = std::move(ops_), .scratch_bytes = total};
  for (Op& op : program.ops) {
    for_each_tensor(op, [&](TensorView& view, bool) {
      // A view visited twice (read and written) has been moved already.
      if (const Range* range = find(view)) {
        const uintptr_t inside = reinterpret_cast<uintptr_t>(view.data) - range->begin;
        view.data = reinterpret_cast<std::byte*>(kPlacedAddress + range->offset + inside);
      }
    });
  }
  return program;
}

void ProgramBuilder::place(Program& program, std::byte* base) {
  for (Op& op : program.ops) {
    for_each_tensor(op, [&](TensorView& view, bool) {
      const uintptr_t address = reinterpret_cast<uintptr_t>(view.data);
      if (address >= kPlacedAddress && address < kFirstAddress) {
        view.data = base + (address - kPlacedAddress);
      }
    });
  }
}

}  // namespace realm
