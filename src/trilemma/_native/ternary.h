// The ternary product over a vector type V of an instruction set; included once by each.
#pragma once
#include "kernels.h"

namespace trilemma {
namespace {

constexpr int64_t kAllBlocks = int64_t{1} << 40;  // V::kBlocksInPart where V::dot sums into 32 bits at once

// ROWS x TOKENS outputs at once: an unpacked weight meets TOKENS activations, an activation ROWS weights. V::dot sums
// into parts, which may be narrow, and V::sum parts of V::kBlocksInPart blocks into whole sums.
template <typename V, int ROWS, int TOKENS>
inline void ternary_tile(const Ternary& weight, const Levels& x, int64_t row, int64_t token, float* out,
                         int64_t stride, bool add) {
    typename V::Sums sums[ROWS][TOKENS];
    for (int r = 0; r < ROWS; ++r) {
        for (int t = 0; t < TOKENS; ++t) sums[r][t] = V::zero();
    }
    const int64_t row_bytes = weight.blocks * kBlockBytes;
    const uint8_t* packed = weight.packed + row * row_bytes;
    const int8_t* levels = x.levels + token * x.stride;
    for (int64_t block = 0; block < weight.blocks;) {
        typename V::Sums parts[ROWS][TOKENS];
        for (int r = 0; r < ROWS; ++r) {
            for (int t = 0; t < TOKENS; ++t) parts[r][t] = V::zero();
        }
        const int64_t end = block + V::kBlocksInPart < weight.blocks ? block + V::kBlocksInPart : weight.blocks;
        for (; block < end; ++block) {
            for (int at = 0; at < kBlockBytes; at += V::kBytes) {
                typename V::Bytes bytes[ROWS];
                for (int r = 0; r < ROWS; ++r) bytes[r] = V::load(packed + r * row_bytes + at);
#pragma GCC unroll 4
                for (int pair = 0; pair < 4; ++pair) {
                    typename V::Bytes codes[ROWS];
                    for (int r = 0; r < ROWS; ++r) codes[r] = V::codes(bytes[r], pair);
                    for (int t = 0; t < TOKENS; ++t) {
                        const auto level = V::load(levels + t * x.stride + pair * kBlockBytes + at);
                        for (int r = 0; r < ROWS; ++r) parts[r][t] = V::dot(parts[r][t], codes[r], level);
                    }
                }
            }
            packed += kBlockBytes;
            levels += kBlock;
        }
        for (int r = 0; r < ROWS; ++r) {
            for (int t = 0; t < TOKENS; ++t) sums[r][t] = V::sum(sums[r][t], parts[r][t]);
        }
    }
    for (int t = 0; t < TOKENS; ++t) {
        const float scale = x.steps[token + t] * weight.scale;
        for (int r = 0; r < ROWS; ++r) {
            const float value = static_cast<float>(V::total(sums[r][t]) - x.sums[token + t]) * scale;
            float* to = out + (token + t) * stride + row + r;
            *to = add ? *to + value : value;
        }
    }
}

template <typename V, int ROWS>
inline void ternary_tokens(const Ternary& weight, const Levels& x, int64_t count, int64_t row, int64_t token,
                           float* out, int64_t stride, bool add) {
    switch (count) {
        case 1: return ternary_tile<V, ROWS, 1>(weight, x, row, token, out, stride, add);
        case 2: return ternary_tile<V, ROWS, 2>(weight, x, row, token, out, stride, add);
        case 3: return ternary_tile<V, ROWS, 3>(weight, x, row, token, out, stride, add);
        default: return ternary_tile<V, ROWS, 4>(weight, x, row, token, out, stride, add);
    }
}

template <typename V>
void ternary_product(const Ternary& weight, const Levels& x, int64_t tokens, int64_t begin, int64_t end, float* out,
                     int64_t stride, bool add) {
    constexpr int kRows = V::kTileRows;
    // Packed rows that stay in the second-level cache while all tokens pass.
    const int64_t fitting = (128 << 10) / (weight.blocks * kBlockBytes) / kRows * kRows;
    const int64_t together = fitting > kRows ? fitting : kRows;
    for (int64_t first = begin; first < end; first += together) {
        const int64_t last = first + together < end ? first + together : end;
        for (int64_t token = 0; token < tokens; token += 4) {
            int64_t row = first;
            for (; row + kRows <= last; row += kRows) {
                ternary_tokens<V, kRows>(weight, x, tokens - token, row, token, out, stride, add);
            }
            for (; row < last; ++row) ternary_tokens<V, 1>(weight, x, tokens - token, row, token, out, stride, add);
        }
    }
}

}  // namespace
}  // namespace trilemma
