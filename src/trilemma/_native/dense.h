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

void to_floats(const uint16_t* __restrict from, int64_t count, float* __restrict to) {
    for (int64_t c = 0; c < count; ++c) to[c] = to_float(from[c]);
}

template <int TOKENS>
inline void dense_tokens(const Dense& work, int64_t token, int64_t begin, int64_t end) {
    constexpr int kUnroll = TOKENS == 1 ? 4 : 2;
    const int64_t channels = work.channels;
    const float* x = work.x + token * channels;
    for (int64_t row = begin; row < end; ++row) {
        const uint16_t* weight = work.weight + row * channels;
        Floats sums[TOKENS][kUnroll] = {};
        int64_t c = 0;
        for (; c + kUnroll * kFloats <= channels; c += kUnroll * kFloats) {
            for (int u = 0; u < kUnroll; ++u) {
                const Floats w = load_bfloat16(weight + c + u * kFloats);
                for (int t = 0; t < TOKENS; ++t) sums[t][u] += w * load(x + t * channels + c + u * kFloats);
            }
        }
        for (int t = 0; t < TOKENS; ++t) {
            Floats all = sums[t][0];
            for (int u = 1; u < kUnroll; ++u) all += sums[t][u];
            float sum = total_of(all);
            for (int64_t rest = c; rest < channels; ++rest) sum += to_float(weight[rest]) * x[t * channels + rest];
            from_float(sum, work.out + (token + t) * work.rows + row);
        }
    }
}

void dense(const Dense& work, int64_t begin, int64_t end) {
    int64_t token = 0;
    for (; token + 4 <= work.tokens; token += 4) dense_tokens<4>(work, token, begin, end);
    switch (work.tokens - token) {
        case 3: return dense_tokens<3>(work, token, begin, end);
        case 2: return dense_tokens<2>(work, token, begin, end);
        case 1: return dense_tokens<1>(work, token, begin, end);
    }
}

}  // namespace
}  // namespace trilemma
