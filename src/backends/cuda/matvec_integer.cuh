// The matrix product for one token or a few, of weights that are scaled integers. Each block turns
// the activations into 16-bit fixed point, one scale for 256 columns, as two bytes: high and low
// digits. Blocks of 16 warps stay and take tiles of 16 weight rows in turn, as in matvec.cuh, and
// multiply by mma.m16n8k32 of bytes. Its eight columns are the two digits of four sub-blocks'
// activations: column 4 digit + j has those of sub-block j and zeros elsewhere, so that every sum
// belongs to one sub-block and the scales stay out of the operands. It takes 150 instructions for
// 2048 weights of 4 bits, against 220 where each is scaled to bfloat16. Where the activations are a
// norm's output, each block norms them itself. Limited by memory bandwidth.
#pragma once

#include <algorithm>
#include <climits>

#include "backends/cuda/integer_codes.cuh"
#include "backends/cuda/matmul.cuh"
#include "backends/cuda/mma.cuh"
#include "backends/cuda/reduce.cuh"

namespace realm::cuda {

inline constexpr int kIntegerWarps = 16, kIntegerThreads = 32 * kIntegerWarps;

// What a block keeps of one token's activations: of a unit, [digit][sub-block][32 columns] in the
// order of the weights' bytes; sums of sub-blocks; scales of 256 columns.
struct IntegerInputs {
  static constexpr int kUnitBytes = 2 * kUnitColumns, kDigitBytes = kUnitColumns;
  int units;
  __host__ __device__ int sums_at() const { return units * kUnitBytes; }
  __host__ __device__ int scales_at() const { return sums_at() + units * 16; }
  __host__ __device__ int bytes() const { return (scales_at() + units * 2 + 15) / 16 * 16; }
};

// Eight columns of the activations, as they come or normed by `factor`.
__device__ inline void load_columns(const Product& p, int token, int64_t column, float factor,
                                    float (&v)[8]) {
  if (p.norm.weight == nullptr) {
    const uint4 words = *reinterpret_cast<const uint4*>(p.x + token * p.k_padded + column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = __bfloat1622float2(pair_of(word_of(words, i)));
      v[2 * i] = pair.x;
      v[2 * i + 1] = pair.y;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i += 4) {
    float4 x{}, scale{};
    if (column + i < p.norm.dim) {
      x = *reinterpret_cast<const float4*>(p.norm.x + token * p.norm.stride + column + i);
      scale = *reinterpret_cast<const float4*>(p.norm.weight + column + i);
    }
    v[i] = x.x * factor * scale.x;
    v[i + 1] = x.y * factor * scale.y;
    v[i + 2] = x.z * factor * scale.z;
    v[i + 3] = x.w * factor * scale.w;
  }
}

// The factor of each token's norm. Blocks sum in the same order, whatever the number of tokens.
template <int kTokens>
__device__ void norm_factors(const Product& p, int warp, int lane, float (&factors)[kTokens]) {
  __shared__ float squares[kTokens][kIntegerWarps];
  if (p.norm.weight == nullptr) return;
#pragma unroll
  for (int n = 0; n < kTokens; ++n) {
    float sum = 0.0f;
    for (int64_t column = 4 * static_cast<int64_t>(threadIdx.x);
         column < p.norm.dim && n < p.tokens; column += 4 * kIntegerThreads) {
      const float4 x = *reinterpret_cast<const float4*>(p.norm.x + n * p.norm.stride + column);
      sum += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
    }
    sum = warp_sum(sum);
    if (lane == 0) squares[n][warp] = sum;
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kTokens; ++n) {
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kIntegerWarps; ++w) sum += squares[n][w];
    factors[n] = 1.0f / sqrtf(sum / static_cast<float>(p.norm.dim) + p.norm.eps);
  }
}

// Fixed point of a warp's 256 columns: a lane has eight.
template <bool kNatural>
__device__ void quantize_columns(const float (&v)[8], const IntegerInputs& layout, int block,
                                 int lane, std::byte* to) {
  float largest = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(v[i]));
  largest = warp_max(largest);
  // The largest that both digits can hold as signed bytes.
  constexpr float kMost = 32512.0f;
  const float scale = largest > 0.0f ? kMost / largest : 0.0f;
  uint32_t digits[2][2] = {};
  int sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int q = __float2int_rn(v[i] * scale), high = (q + 128) >> 8;
    sum += q;
    // Where the byte of column i is among the two words: nibble i / 2, or i / 2 + 4 of odd columns.
    const int nibble = i / 2 + 4 * (i % 2);
    const int word = kNatural ? i / 4 : nibble % 2, byte = kNatural ? i % 4 : nibble / 2;
    digits[0][word] |= (static_cast<uint32_t>(high) & 0xffu) << (8 * byte);
    digits[1][word] |= (static_cast<uint32_t>(q) & 0xffu) << (8 * byte);
  }
  sum += __shfl_xor_sync(0xffffffffu, sum, 1);
  sum += __shfl_xor_sync(0xffffffffu, sum, 2);
  const int chunk = 8 * block + lane / 4, unit = chunk / 4;  // of 32 columns
  std::byte* at = to + unit * IntegerInputs::kUnitBytes + chunk % 4 * 32 + lane % 4 * 8;
  *reinterpret_cast<uint2*>(at) = {digits[0][0], digits[0][1]};
  *reinterpret_cast<uint2*>(at + IntegerInputs::kDigitBytes) = {digits[1][0], digits[1][1]};
  if (lane % 4 == 0) reinterpret_cast<int*>(to + layout.sums_at())[chunk] = sum;
  if (lane == 0) reinterpret_cast<float*>(to + layout.scales_at())[block] = largest / kMost;
}

// The share of block `block` of `num_blocks`.
template <typename Codes, int kTokens, bool kGated>
__device__ void multiply_integers(const Product& p, int block, int num_blocks) {
  extern __shared__ uint4 shared_words[];
  __shared__ uint4 zeros[2];
  // One more on its way where one token leaves registers for it.
  constexpr int kParts = kGated ? 2 : 1, kDepth = Codes::kDepth + (kTokens == 1);
  constexpr int kGroups = Codes::kGroups;
  using Raw = typename Codes::Raw;
  __shared__ float partial[2][kIntegerWarps][kParts][kTokens][kTileRows];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int half = warp % 2;
  const int num_tiles = kGated ? p.num_row_tiles / 2 : p.num_row_tiles;
  const int row_tiles = p.parts[0].weight.num_tiles;
  const int num_units = (2 * row_tiles - warp + kIntegerWarps - 1) / kIntegerWarps;
  constexpr int64_t kStep = int64_t{kIntegerWarps / 2} * Codes::kTileBytes;

  // What comes next from memory.
  int fetch_tile = block, fetch_part = 0, fetch_left = num_units;
  const auto start_of = [&](int tile, int part) {
    const ProductPart& from = kGated ? p.parts[part] : p.part_of(tile);
    const int64_t row_tile = from.row_tile_begin + tile - (kGated ? 0 : from.first_tile);
    return from.weight.data +
           (row_tile * from.weight.num_tiles + warp / 2) * int64_t{Codes::kTileBytes};
  };
  const uint8_t* from = num_units > 0 ? start_of(fetch_tile, 0) : nullptr;
  Raw raw[kDepth];
  const auto fetch = [&](Raw& to) {
    if (fetch_tile >= num_tiles || num_units <= 0) return;
    to = Codes::load(from, half, lane);
    from += kStep;
    if (--fetch_left > 0) return;
    fetch_left = num_units;
    if (++fetch_part == kParts) {
      fetch_part = 0;
      fetch_tile += num_blocks;
    }
    if (fetch_tile < num_tiles) from = start_of(fetch_tile, fetch_part);
  };
#pragma unroll
  for (int d = 0; d < kDepth; ++d) fetch(raw[d]);
  if constexpr (requires { Codes::share(); }) Codes::share();  // a table, used past a barrier
  may_start_next();
  wait_for_inputs();

  const IntegerInputs layout{2 * row_tiles};
  auto* inputs = reinterpret_cast<std::byte*>(shared_words);
  if (threadIdx.x < 2) zeros[threadIdx.x] = uint4{};
  float factors[kTokens] = {};
  norm_factors<kTokens>(p, warp, lane, factors);
#pragma unroll
  for (int n = 0; n < kTokens; ++n) {
    // Tokens that are not there are copies of the last one; nothing reads their sums.
    const int token = min(n, p.tokens - 1);
    for (int column = warp; column < row_tiles; column += kIntegerWarps) {
      float v[8];
      load_columns(p, token, 256 * column + 8 * lane, factors[n], v);
      quantize_columns<Codes::kNatural>(v, layout, column, lane, inputs + n * layout.bytes());
    }
  }
  __syncthreads();

  const LaneShare share(lane);
  // Of column lane / 4: this lane's sub-block's activations, or zeros.
  const bool mine = lane / 4 % 4 == lane % 4;
  const std::byte* digits = mine ? inputs + warp * IntegerInputs::kUnitBytes +
                                       lane / 16 * IntegerInputs::kDigitBytes + lane % 4 * 32
                                 : reinterpret_cast<const std::byte*>(zeros);
  const int digits_step = mine ? kIntegerWarps * IntegerInputs::kUnitBytes : 0;
  const int digits_token = mine ? layout.bytes() : 0;
  const std::byte* sums = inputs + layout.sums_at() + warp * 16 + share.minimum * 4;
  const std::byte* scales = inputs + layout.scales_at() + warp / 2 * 4;
  const float digit = share.t < 2 ? 256.0f : 1.0f;

  float acc[kParts][kTokens][2] = {};
  int tile = block, part = 0, index = 0, buffer = 0;
  const auto end_tile = [&] {
  // Two buffers, so that one barrier a tile is enough.
#pragma unroll
    for (int q = 0; q < kParts; ++q) {
#pragma unroll
      for (int n = 0; n < kTokens; ++n) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float sum = acc[q][n][r];
          acc[q][n][r] = 0.0f;
          sum += __shfl_xor_sync(0xffffffffu, sum, 1);
          sum += __shfl_xor_sync(0xffffffffu, sum, 2);
          if (lane % 4 == 0) partial[buffer][warp][q][n][8 * r + lane / 4] = sum;
        }
      }
    }
    __syncthreads();
    if (const int i = static_cast<int>(threadIdx.x); i < kTileRows * p.tokens) {
      const int row = i % kTileRows, token = i / kTileRows;
      float total[2] = {};
#pragma unroll
      for (int q = 0; q < kParts; ++q) {
#pragma unroll
        for (int w = 0; w < kIntegerWarps; ++w) total[q] += partial[buffer][w][q][token][row];
      }
      if constexpr (kGated) {
        write_gated(p, tile * kTileRows + row, token, total[0], total[1]);
      } else {
        const ProductPart& to = p.part_of(tile);
        write_output(to, p.accumulate, (tile - to.first_tile) * kTileRows + row, token, total[0]);
      }
    }
    buffer ^= 1;
    tile += num_blocks;
  };
  if (num_units <= 0) {
    while (tile < num_tiles) end_tile();
    return;
  }
  while (tile < num_tiles) {
#pragma unroll
    for (int d = 0; d < kDepth; ++d) {
      uint32_t a[4][4];
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        Codes::template operand<0>(raw[d], row, a[0][row], a[0][2 + row]);
        Codes::template operand<1>(raw[d], row, a[1][row], a[1][2 + row]);
        Codes::template operand<2>(raw[d], row, a[2][row], a[2][2 + row]);
        Codes::template operand<3>(raw[d], row, a[3][row], a[3][2 + row]);
      }
#pragma unroll
      for (int n = 0; n < kTokens; ++n) {
        const auto* b =
            reinterpret_cast<const uint4*>(digits + n * digits_token + index * digits_step);
        const uint4 b0 = b[0], b1 = b[1];
        int sum[kGroups][4] = {};
        mma_s8(sum[0], a[0], b0.x, b0.y);
        mma_s8(sum[0], a[1], b0.z, b0.w);
        mma_s8(sum[kGroups - 1], a[2], b1.x, b1.y);
        mma_s8(sum[kGroups - 1], a[3], b1.z, b1.w);
        Activations x;
        x.dx = *reinterpret_cast<const float*>(scales + n * layout.bytes() +
                                               index * (kIntegerWarps / 2 * 4));
        x.dx_of_half = x.dx * digit;
        x.sum =
            *reinterpret_cast<const int*>(sums + n * layout.bytes() + index * (kIntegerWarps * 16));
#pragma unroll
        for (int row = 0; row < 2; ++row) {
          int first[kGroups], second[kGroups];
#pragma unroll
          for (int i = 0; i < kGroups; ++i) {
            first[i] = sum[i][2 * row];
            second[i] = sum[i][2 * row + 1];
          }
          const float value = Codes::value(raw[d], share, half, row, first, second, x);
          if (!kGated || part == 0) {
            acc[0][n][row] += value;
          } else {
            acc[kParts - 1][n][row] += value;
          }
        }
      }
      fetch(raw[d]);
      if (++index < num_units) continue;
      index = 0;
      if (++part < kParts) continue;
      part = 0;
      end_tile();
      if (tile >= num_tiles) break;
    }
  }
}

template <typename Codes, int kTokens, bool kGated>
__global__ void __launch_bounds__(kIntegerThreads, 1) matvec_integer(const Product p) {
  multiply_integers<Codes, kTokens, kGated>(p, static_cast<int>(blockIdx.x),
                                            static_cast<int>(gridDim.x));
}

// Products of one input with weights of two types, which would each have a start and an end.
template <typename First, typename Second, int kTokens>
__global__ void __launch_bounds__(kIntegerThreads, 1)
    matvec_integer_pair(const Product first, const Product second, int first_blocks) {
  const int block = static_cast<int>(blockIdx.x);
  if (block < first_blocks) {
    multiply_integers<First, kTokens, false>(first, block, first_blocks);
  } else {
    multiply_integers<Second, kTokens, false>(second, block - first_blocks,
                                              static_cast<int>(gridDim.x) - first_blocks);
  }
}

// What these products may take of shared memory beside a kernel's own.
template <typename Kernel>
cudaError_t allow_integer_inputs(const Context& context, Kernel kernel) {
  cudaFuncAttributes attributes{};
  const cudaError_t code = cudaFuncGetAttributes(&attributes, kernel);
  if (code != cudaSuccess) return code;
  const int room = context.shared_max - static_cast<int>(attributes.sharedSizeBytes);
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              std::min(integer_shared_bytes(context), room));
}

template <DType kType, int kTokens, bool kGated>
Status launch_integer(Context& context, const Product& p) {
  const auto kernel = matvec_integer<IntegerCodes<kType>, kTokens, kGated>;
  static const cudaError_t configured = allow_integer_inputs(context, kernel);
  TRY(check(configured, "matmul: shared memory"));
  const int tiles = kGated ? p.num_row_tiles / 2 : p.num_row_tiles;
  const auto grid = static_cast<unsigned>(std::min(tiles, context.num_sms));
  const IntegerInputs layout{2 * p.parts[0].weight.num_tiles};
  return launch("matmul", kernel, grid, kIntegerThreads,
                static_cast<size_t>(kTokens * layout.bytes()), context.stream, p);
}

template <DType kFirst, DType kSecond, int kTokens>
Status launch_pair(Context& context, const Product& first, const Product& second) {
  using First = IntegerCodes<kFirst>;
  using Second = IntegerCodes<kSecond>;
  const auto kernel = matvec_integer_pair<First, Second, kTokens>;
  static const cudaError_t configured = allow_integer_inputs(context, kernel);
  TRY(check(configured, "matmul: shared memory"));
  const int tiles[2] = {first.num_row_tiles, second.num_row_tiles};
  const int blocks = std::min(context.num_sms, tiles[0] + tiles[1]);
  // So that the block with most to read has least.
  int first_blocks = 1, least = INT_MAX;
  for (int n = 1; n < blocks; ++n) {
    const int most = std::max((tiles[0] + n - 1) / n * First::kTileBytes,
                              (tiles[1] + blocks - n - 1) / (blocks - n) * Second::kTileBytes);
    if (most < least) {
      first_blocks = n;
      least = most;
    }
  }
  const IntegerInputs layout{2 * first.parts[0].weight.num_tiles};
  return launch("matmul", kernel, static_cast<unsigned>(blocks), kIntegerThreads,
                static_cast<size_t>(kTokens * layout.bytes()), context.stream, first, second,
                first_blocks);
}

template <DType kFirst, DType kSecond>
Status launch_integer_pair(Context& context, const Product& first, const Product& second) {
  if (first.tokens == 1) return launch_pair<kFirst, kSecond, 1>(context, first, second);
  return launch_pair<kFirst, kSecond, kIntegerTokens>(context, first, second);
}

template <DType kType, bool kGated>
Status launch_integer_matvec(Context& context, const Product& p) {
  if (p.tokens == 1) return launch_integer<kType, 1, kGated>(context, p);
  return launch_integer<kType, kIntegerTokens, kGated>(context, p);
}

}  // namespace realm::cuda
