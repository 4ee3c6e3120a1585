// The tokens that are in play while one is chosen, as a block of threads holds them, and what
// samplers ask of them: sums of weights, and how far down an order of theirs a number or a weight
// reaches. That is answered by the key of the last slot: the range of its value is cut into bins,
// and the one it is in into bins again, until what is in one can be sorted. Keys are unique, and
// weights whole numbers, so that no result depends on the order of any additions.
#pragma once

#include <cfloat>
#include <climits>
#include <cstdint>

#include "backends/cuda/ordered_keys.cuh"

namespace realm::cuda {

constexpr int kSlotThreads = 1024, kSlotWarps = kSlotThreads / 32;
constexpr int kSorted = 2 * kSlotThreads;  // keys that are sorted at once, slots of a list
constexpr double kOne = 0x1p40;            // the weight of the best
constexpr double kWeightless = -87.0;      // below the best there is no weight in single precision

struct SlotMemory {
  uint64_t keys[kSorted];
  uint64_t partials[kSlotWarps];
  float logits[kSorted];
  int32_t tokens[kSorted];
  int num_keys, place;
};

// Every thread gets the result; warps are combined in their order.
template <typename T, typename Combine>
__device__ T reduce(SlotMemory& s, T value, Combine combine) {
  static_assert(sizeof(T) == sizeof(uint64_t));
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffffu, value, step));
  }
  T* partials = reinterpret_cast<T*>(s.partials);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partials[threadIdx.x / 32] = value;
  __syncthreads();
  T all = partials[0];
  for (int warp = 1; warp < kSlotWarps; ++warp) all = combine(all, partials[warp]);
  return all;
}
template <typename T>
__device__ T sum(SlotMemory& s, T value) {
  return reduce(s, value, [](T a, T b) { return a + b; });
}
__device__ inline uint64_t greatest(SlotMemory& s, uint64_t value) {
  return reduce(s, value, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
}
__device__ inline uint64_t least(SlotMemory& s, uint64_t value) {
  return reduce(s, value, [](uint64_t a, uint64_t b) { return a < b ? a : b; });
}

// The sum of the values of the threads before this one.
__device__ inline uint64_t sum_before(SlotMemory& s, uint64_t value) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  uint64_t up_to = value;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const uint64_t before = __shfl_up_sync(0xffffffffu, up_to, step);
    if (lane >= step) up_to += before;
  }
  __syncthreads();
  if (lane == 31) s.partials[warp] = up_to;
  __syncthreads();
  for (int w = 0; w < warp; ++w) up_to += s.partials[w];
  return up_to - value;
}

__device__ inline uint64_t weight_of(float logit, float max) {
  return __float2ull_rn(__expf(logit - max) * static_cast<float>(kOne));
}

// Orders of slots, by keys; the lower slot comes first among equal ones. 0: not in the order.
__device__ inline uint64_t make_key(float value, int slot) {
  return (uint64_t{key_of(value)} << 32) | ~static_cast<uint32_t>(slot);
}
__device__ inline int slot_of(uint64_t key) {
  return static_cast<int>(~static_cast<uint32_t>(key));
}
struct Range {
  int begin, end;
};

struct ByLogit {
  __device__ uint64_t key(int slot, float logit) const { return make_key(logit, slot); }
  // Where slots with keys in [low, high] are.
  __device__ Range slots(uint64_t, uint64_t, int count) const { return {0, count}; }
};
struct ByToken {
  __device__ uint64_t key(int slot, float) const { return make_key(1.0f, slot); }
  __device__ Range slots(uint64_t low, uint64_t high, int) const {
    return {slot_of(high), slot_of(low) + 1};
  }
};
struct ByTypicality {
  double center, lowest;
  __device__ uint64_t key(int slot, float logit) const {
    if (logit < lowest) return 0;
    return make_key(-static_cast<float>(fabs(center - logit)), slot);
  }
  __device__ Range slots(uint64_t, uint64_t, int count) const { return {0, count}; }
};

// How far down an order to go: until both are reached.
struct Amount {
  uint64_t weight;
  int64_t count;
  __device__ bool reaches(const Amount& wanted) const {
    return weight >= wanted.weight && count >= wanted.count;
  }
  __device__ Amount operator+(const Amount& other) const {
    return {weight + other.weight, count + other.count};
  }
};

// Equal pieces of a range of values, the greatest first; no key is in a later one than a lesser
// key.
struct Bins {
  float high, scale;
  __device__ Bins(uint64_t low_key, uint64_t high_key)
      : high(value_of(static_cast<uint32_t>(high_key >> 32))),
        scale((kSorted - 1) / (high - value_of(static_cast<uint32_t>(low_key >> 32)))) {}
  __device__ int of(uint64_t key) const {
    const float value = value_of(static_cast<uint32_t>(key >> 32));
    return static_cast<int>(fminf((high - value) * scale, kSorted - 1));
  }
};

// The key from which on logits are at least `limit`.
__device__ inline uint64_t key_from(double limit) {
  return uint64_t{key_of(__double2float_ru(fmax(limit, -static_cast<double>(FLT_MAX))))} << 32;
}

// What a chain of samplers narrows; it decides what they hold.
class Slots {
 protected:
  explicit __device__ Slots(SlotMemory& memory) : s_(memory) {}

  __device__ int token_of(int slot) const { return tokens_ == nullptr ? slot : tokens_[slot]; }

  // f(slot, logit) for each of the slots in play.
  template <typename F>
  __device__ void for_slots(Range range, F f) const {
#pragma unroll 4
    for (int i = range.begin + static_cast<int>(threadIdx.x); i < range.end; i += kSlotThreads) {
      const float logit = logits_[i];
      if (logit > -INFINITY) f(i, logit);
    }
  }
  template <typename F>
  __device__ void for_slots(F f) const {
    for_slots(Range{0, count_}, f);
  }

  // Sorted, these put slots in the order of their tokens.
  static __device__ uint64_t listing(int token, float logit) {
    return (uint64_t{~static_cast<uint32_t>(token)} << 32) | __float_as_uint(logit);
  }

  // Makes a list of s_.keys, of which there are `num`, a power of two, those that are 0 at the end.
  __device__ void list(int num) {
    sort_descending<kSlotThreads>(s_.keys, num);
    uint64_t listed = 0;
    for (int i = static_cast<int>(threadIdx.x); i < num; i += kSlotThreads) {
      const uint64_t key = s_.keys[i];
      if (key == 0) continue;
      s_.tokens[i] = slot_of(key >> 32);
      s_.logits[i] = __uint_as_float(static_cast<uint32_t>(key));
      ++listed;
    }
    logits_ = s_.logits;
    tokens_ = s_.tokens;
    count_ = static_cast<int>(sum(s_, listed));
  }

  __device__ void find_best() {
    uint64_t best = 0;
    for_slots([&](int i, float logit) { best = max(best, make_key(logit, i)); });
    best_ = greatest(s_, best);
    max_ = best_ == 0 ? -INFINITY : value_of(static_cast<uint32_t>(best_ >> 32));
  }

  // Of the softmax, in units of the best's.
  __device__ uint64_t slots_weight() {
    uint64_t weight = 0;
    for_slots([&](int, float logit) { weight += weight_of(logit, max_); });
    return sum(s_, weight);
  }

  // Of the softmax over the slots, in nats.
  __device__ double entropy(uint64_t total) {
    double products = 0;
    for_slots([&](int, float logit) {
      const float below = logit - max_;
      if (below >= static_cast<float>(kWeightless)) products += __expf(below) * below;
    });
    const double whole = static_cast<double>(total) / kOne;
    return log(whole) - sum(s_, products) / whole;
  }

  template <typename Rank>
  __device__ Amount amount_within(const Rank& rank, uint64_t low, uint64_t high, bool weighs) {
    uint64_t weight = 0, number = 0;
    for_slots(rank.slots(low, high, count_), [&](int i, float logit) {
      const uint64_t key = rank.key(i, logit);
      if (key < low || key > high) return;
      ++number;
      if (weighs) weight += weight_of(logit, max_);
    });
    return {weighs ? sum(s_, weight) : 0, static_cast<int64_t>(sum(s_, number))};
  }

  // The keys in [low, high], kSorted of them at most, into s_.keys, descending; their number.
  template <typename Rank>
  __device__ int sort_within(const Rank& rank, uint64_t low, uint64_t high) {
    __syncthreads();
    if (threadIdx.x == 0) {
      s_.num_keys = 0;
      s_.place = INT_MAX;
    }
    __syncthreads();
    const Range range = count_ <= kSorted ? Range{0, count_} : rank.slots(low, high, count_);
    for_slots(range, [&](int i, float logit) {
      const uint64_t key = rank.key(i, logit);
      if (key >= low && key <= high) s_.keys[atomicAdd(&s_.num_keys, 1)] = key;
    });
    __syncthreads();
    const int num = s_.num_keys;
    int padded = 2;
    while (padded < num) padded *= 2;
    for (int i = num + static_cast<int>(threadIdx.x); i < padded; i += kSlotThreads) s_.keys[i] = 0;
    sort_descending<kSlotThreads>(s_.keys, padded);
    return num;
  }

  // The first of the sorted keys at which `wanted` is reached, with `above` before them; 0 where
  // that is nowhere.
  __device__ uint64_t first_reaching(int num, const Amount& above, const Amount& wanted) {
    const int at = 2 * static_cast<int>(threadIdx.x);
    uint64_t weights[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool weighs = wanted.weight > 0 && at + i < num;
      weights[i] = weighs ? weight_of(logits_[slot_of(s_.keys[at + i])], max_) : 0;
    }
    const uint64_t both = weights[0] + weights[1];
    const uint64_t up_to = sum_before(s_, both) + both;
    const Amount second{above.weight + up_to, above.count + at + 2};
    const Amount first{second.weight - weights[1], second.count - 1};
    if (at < num && first.reaches(wanted)) {
      atomicMin(&s_.place, at);
    } else if (at + 1 < num && second.reaches(wanted)) {
      atomicMin(&s_.place, at + 1);
    }
    __syncthreads();
    return s_.place == INT_MAX ? 0 : s_.keys[s_.place];
  }

  // Narrows [low, high], in which the wanted key is among `within` with `above` before them, to one
  // of its halves.
  template <typename Rank>
  __device__ void halve(const Rank& rank, const Amount& wanted, uint64_t& low, uint64_t& high,
                        Amount& above, int64_t& within) {
    const uint64_t middle = high - (high - low) / 2;
    const Amount upper = amount_within(rank, middle, high, wanted.weight > 0);
    if ((above + upper).reaches(wanted)) {
      low = middle;
      within = upper.count;
    } else {
      above = above + upper;
      high = middle - 1;
      within -= upper.count;
    }
  }

  // The same to one of its bins; false where no key is far enough down. Of a whole row: a list has
  // the memory that bins take.
  template <typename Rank>
  __device__ bool enter_bin(const Rank& rank, const Amount& wanted, uint64_t& low, uint64_t& high,
                            Amount& above, int64_t& within) {
    uint64_t* weights = s_.keys;
    int32_t* numbers = s_.tokens;
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kSorted; i += kSlotThreads) {
      weights[i] = 0;
      numbers[i] = 0;
    }
    if (threadIdx.x == 0) s_.place = INT_MAX;
    __syncthreads();
    const Bins bins(low, high);
    const Range range = rank.slots(low, high, count_);
    for_slots(range, [&](int i, float logit) {
      const uint64_t key = rank.key(i, logit);
      if (key < low || key > high) return;
      const int bin = bins.of(key);
      atomicAdd(&numbers[bin], 1);
      if (wanted.weight == 0) return;
      atomicAdd(reinterpret_cast<unsigned long long*>(&weights[bin]), weight_of(logit, max_));
    });
    __syncthreads();

    const int at = 2 * static_cast<int>(threadIdx.x);
    const Amount first{weights[at], numbers[at]}, second{weights[at + 1], numbers[at + 1]};
    const Amount both = first + second;
    Amount before = above;
    before.weight += sum_before(s_, both.weight);
    before.count += static_cast<int64_t>(sum_before(s_, static_cast<uint64_t>(both.count)));
    const bool is_first = (before + first).reaches(wanted);
    if (is_first || (before + both).reaches(wanted)) atomicMin(&s_.place, at + (is_first ? 0 : 1));
    __syncthreads();
    const int found = s_.place;
    if (found == INT_MAX) return false;
    if (found / 2 == static_cast<int>(threadIdx.x)) {
      if (found != at) before = before + first;
      s_.partials[0] = before.weight;
      s_.partials[1] = static_cast<uint64_t>(before.count);
    }
    within = numbers[found];
    __syncthreads();
    above = {s_.partials[0], static_cast<int64_t>(s_.partials[1])};

    uint64_t most = 0, lowest = ~uint64_t{0};
    for_slots(range, [&](int i, float logit) {
      const uint64_t key = rank.key(i, logit);
      if (key < low || key > high || bins.of(key) != found) return;
      most = max(most, key);
      lowest = min(lowest, key);
    });
    high = greatest(s_, most);
    low = least(s_, lowest);
    return true;
  }

  // The key of the slot at which, down the order of `rank`, `wanted` is reached; 0 where the slots
  // do not reach it.
  template <typename Rank>
  __device__ uint64_t cut(const Rank& rank, const Amount& wanted) {
    uint64_t low = 1, high = ~uint64_t{0};
    Amount above{0, 0};
    if (count_ > kSorted) {
      uint64_t first = 0, last = high, number = 0;
      for_slots([&](int i, float logit) {
        const uint64_t key = rank.key(i, logit);
        if (key == 0) return;
        ++number;
        first = max(first, key);
        last = min(last, key);
      });
      high = greatest(s_, first);
      low = least(s_, last);
      auto within = static_cast<int64_t>(sum(s_, number));
      bool halves = false;
      while (within > kSorted) {
        const int64_t before = within;
        if (halves || (low >> 32) == (high >> 32)) {
          halve(rank, wanted, low, high, above, within);
        } else if (!enter_bin(rank, wanted, low, high, above, within)) {
          return 0;
        }
        halves = 2 * within > before;  // nearly all in one bin
      }
    }
    return first_reaching(sort_within(rank, low, high), above, wanted);
  }

  SlotMemory& s_;
  // In the order of tokens; what was dropped is at -infinity.
  float* logits_ = nullptr;
  const int32_t* tokens_ = nullptr;  // null: slot i is token i
  int count_ = 0;
  uint64_t best_ = 0;  // its key
  float max_ = 0;      // its logit
};

}  // namespace realm::cuda
