// An open-addressing hash map from 64-bit keys to small values, filled once and then only read: the
// pair ranks of BPE and the edges of a trie, where std::unordered_map's node per entry costs a
// cache miss more and three times the memory.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace realm {

template <typename Value>
class FlatMap64 {
 public:
  // No key may be this one.
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  // Room for `count` keys without growing, at most two thirds full.
  void reserve(size_t count) {
    const size_t slots = std::bit_ceil(count + count / 2 + 8);
    if (slots > slots_.size()) rehash(slots);
  }

  // The value of `key`, and whether it was there before; `value` is stored where it was not.
  std::pair<Value*, bool> insert(uint64_t key, const Value& value) {
    if ((size_ + 1) * 3 > slots_.size() * 2) rehash(slots_.empty() ? 16 : slots_.size() * 2);
    Slot& slot = slots_[locate(key)];
    if (slot.key == key) return {&slot.value, true};
    slot = Slot{key, value};
    ++size_;
    return {&slot.value, false};
  }

  const Value* find(uint64_t key) const {
    if (slots_.empty()) return nullptr;
    const Slot& slot = slots_[locate(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  size_t size() const { return size_; }

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  // The slot that holds `key`, or the free one where it would go.
  size_t locate(uint64_t key) const {
    // Fibonacci hashing with a fold first, since keys differ in both halves.
    size_t i = ((key ^ key >> 29) * 0x9e3779b97f4a7c15u) >> shift_;
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & mask_;
    return i;
  }

  void rehash(size_t count) {
    std::vector<Slot> old(count);
    old.swap(slots_);
    mask_ = count - 1;
    shift_ = 64 - std::countr_zero(count);
    for (const Slot& slot : old) {
      if (slot.key != kEmpty) slots_[locate(slot.key)] = slot;
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  int shift_ = 63;
  size_t size_ = 0;
};

}  // namespace realm
