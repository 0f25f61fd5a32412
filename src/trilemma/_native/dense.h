// Products of a few tokens with a dense bfloat16 weight, bound by reading the weight once; included once by every
// instruction set.
#pragma once
#include "floats.h"
#include "vectors.h"

namespace trilemma {
namespace {

typedef uint16_t Halves __attribute__((vector_size(2 * kFloats)));
typedef uint16_t LooseHalves __attribute__((vector_size(2 * kFloats), aligned(2), may_alias));
typedef uint32_t Words __attribute__((vector_size(4 * kFloats)));

inline Floats load_bfloat16(const uint16_t* from) {
    const Halves halves = *reinterpret_cast<const LooseHalves*>(from);
    return reinterpret_cast<Floats>(__builtin_convertvector(halves, Words) << 16);
}

typedef uint32_t LooseWords __attribute__((vector_size(4 * kFloats), aligned(2), may_alias));

// Two neighbouring bfloat16 weights are read as one word, whose halves become floats without being moved apart: the
// activations of even channels stand before those of odd ones.
void split(const uint16_t* __restrict from, int64_t channels, float* __restrict to) {
    const int64_t half = channels / 2;
    for (int64_t c = 0; c < half; ++c) to[c] = to_float(from[2 * c]), to[half + c] = to_float(from[2 * c + 1]);
    if (channels % 2 != 0) to[channels - 1] = to_float(from[channels - 1]);
}

template <int ROWS, int TOKENS>
inline void dense_tile(const Dense& work, int64_t row, int64_t token) {
    constexpr int kUnroll = ROWS * TOKENS == 1 ? 2 : 1, kSums = ROWS * TOKENS == 1 ? 4 : 1;
    const int64_t channels = work.channels, half = channels / 2;
    const uint16_t* weight = work.weight + row * channels;
    const float* x = work.x + token * channels;
    Floats sums[ROWS][TOKENS][kSums] = {};
    int64_t c = 0;
    for (; c + kUnroll * kFloats <= half; c += kUnroll * kFloats) {
        for (int u = 0; u < kUnroll; ++u) {
            const int64_t at = c + u * kFloats;
            Floats even[ROWS], odd[ROWS];
            for (int r = 0; r < ROWS; ++r) {
                const uint16_t* from = weight + r * channels + 2 * at;
                __builtin_prefetch(from + kAhead / 2);
                const Words words = *reinterpret_cast<const LooseWords*>(from);
                even[r] = reinterpret_cast<Floats>(words << 16);
                odd[r] = reinterpret_cast<Floats>(words & 0xffff0000u);
            }
            for (int t = 0; t < TOKENS; ++t) {
                const Floats first = load(x + t * channels + at), second = load(x + t * channels + half + at);
                for (int r = 0; r < ROWS; ++r) {
                    sums[r][t][2 * u % kSums] += even[r] * first;
                    sums[r][t][(2 * u + 1) % kSums] += odd[r] * second;
                }
            }
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        const uint16_t* w = weight + r * channels;
        for (int t = 0; t < TOKENS; ++t) {
            Floats all = sums[r][t][0];
            for (int i = 1; i < kSums; ++i) all += sums[r][t][i];
            float sum = total_of(all);
            const float* values = x + t * channels;
            for (int64_t rest = c; rest < half; ++rest) {
                sum += to_float(w[2 * rest]) * values[rest] + to_float(w[2 * rest + 1]) * values[half + rest];
            }
            if (channels % 2 != 0) sum += to_float(w[channels - 1]) * values[channels - 1];
            from_float(sum, work.out + (token + t) * work.rows + row + r);
        }
    }
}

template <int TOKENS>
inline void dense_rows(const Dense& work, int64_t token, int64_t begin, int64_t end) {
    constexpr int kRows = TOKENS == 1 ? 1 : 2;  // a row of one token comes in order, several share activations
    int64_t row = begin;
    for (; row + kRows <= end; row += kRows) dense_tile<kRows, TOKENS>(work, row, token);
    for (; row < end; ++row) dense_tile<1, TOKENS>(work, row, token);
}

void dense(const Dense& work, int64_t begin, int64_t end) {
    int64_t token = 0;
    for (; token + 4 <= work.tokens; token += 4) dense_rows<4>(work, token, begin, end);
    switch (work.tokens - token) {
        case 3: return dense_rows<3>(work, token, begin, end);
        case 2: return dense_rows<2>(work, token, begin, end);
        case 1: return dense_rows<1>(work, token, begin, end);
    }
}

}  // namespace
}  // namespace trilemma
