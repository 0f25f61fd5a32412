// Products of a few tokens with a dense weight, bound by reading the weight once; included once by every instruction
// set.
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

// 2 * kFloats weights as two vectors, and what of x they meet: bfloat16 in words, float32 as they stand.
inline void load_weights(const uint16_t* from, Floats (&pair)[2]) {
    const Words words = *reinterpret_cast<const LooseWords*>(from);
    pair[0] = reinterpret_cast<Floats>(words << 16);
    pair[1] = reinterpret_cast<Floats>(words & 0xffff0000u);
}

inline void load_weights(const float* from, Floats (&pair)[2]) {
    pair[0] = load(from);
    pair[1] = load(from + kFloats);
}

inline const float* meets(const uint16_t*, const float* x, int64_t half, int64_t at, int which) {
    return x + which * half + at / 2;
}

inline const float* meets(const float*, const float* x, int64_t, int64_t at, int which) {
    return x + at + which * kFloats;
}

// Weights beyond the last whole vectors.
inline float rest(const uint16_t* weight, const float* x, int64_t channels, int64_t at) {
    const int64_t half = channels / 2;
    float sum = channels % 2 == 0 ? 0.0f : to_float(weight[channels - 1]) * x[channels - 1];
    for (int64_t c = at / 2; c < half; ++c) {
        sum += to_float(weight[2 * c]) * x[c] + to_float(weight[2 * c + 1]) * x[half + c];
    }
    return sum;
}

inline float rest(const float* weight, const float* x, int64_t channels, int64_t at) {
    float sum = 0.0f;
    for (int64_t c = at; c < channels; ++c) sum += weight[c] * x[c];
    return sum;
}

template <int ROWS, int TOKENS, typename T>
inline void dense_tile(const Dense& work, int64_t row, int64_t token) {
    constexpr int kUnroll = ROWS * TOKENS == 1 ? 2 : 1, kSums = ROWS * TOKENS == 1 ? 4 : 1;
    const int64_t channels = work.channels, half = channels / 2;
    const T* weight = static_cast<const T*>(work.weight.data) + row * channels;
    const float* x = work.x + token * channels;
    Floats sums[ROWS][TOKENS][kSums] = {};
    int64_t at = 0;
    for (; at + 2 * kUnroll * kFloats <= channels; at += 2 * kUnroll * kFloats) {
        for (int u = 0; u < kUnroll; ++u) {
            const int64_t c = at + 2 * u * kFloats;
            Floats weights[ROWS][2];
            for (int r = 0; r < ROWS; ++r) {
                const T* from = weight + r * channels + c;
                fetch_ahead(from);
                load_weights(from, weights[r]);
            }
            for (int t = 0; t < TOKENS; ++t) {
                for (int which = 0; which < 2; ++which) {
                    const Floats values = load(meets(weight, x + t * channels, half, c, which));
                    for (int r = 0; r < ROWS; ++r) sums[r][t][(2 * u + which) % kSums] += weights[r][which] * values;
                }
            }
        }
    }
    T* out = static_cast<T*>(work.out);
    for (int r = 0; r < ROWS; ++r) {
        for (int t = 0; t < TOKENS; ++t) {
            Floats all = sums[r][t][0];
            for (int i = 1; i < kSums; ++i) all += sums[r][t][i];
            const float sum = total_of(all) + rest(weight + r * channels, x + t * channels, channels, at);
            from_float(sum, out + (token + t) * work.rows + row + r);
        }
    }
}

template <int TOKENS, typename T>
inline void dense_rows(const Dense& work, int64_t token, int64_t begin, int64_t end) {
    constexpr int kRows = TOKENS == 1 ? 1 : 2;  // a row of one token comes in order, several share activations
    int64_t row = begin;
    for (; row + kRows <= end; row += kRows) dense_tile<kRows, TOKENS, T>(work, row, token);
    for (; row < end; ++row) dense_tile<1, TOKENS, T>(work, row, token);
}

template <typename T>
inline void dense_of(const Dense& work, int64_t begin, int64_t end) {
    int64_t token = 0;
    for (; token + 4 <= work.tokens; token += 4) dense_rows<4, T>(work, token, begin, end);
    switch (work.tokens - token) {
        case 3: return dense_rows<3, T>(work, token, begin, end);
        case 2: return dense_rows<2, T>(work, token, begin, end);
        case 1: return dense_rows<1, T>(work, token, begin, end);
    }
}

void dense(const Dense& work, int64_t begin, int64_t end) {
    if (work.weight.type == Type::kFloat32) {
        dense_of<float>(work, begin, end);
    } else {
        dense_of<uint16_t>(work, begin, end);
    }
}

}  // namespace
}  // namespace trilemma
