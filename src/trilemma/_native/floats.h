// Arithmetic on rows of floats, written as plain loops that the compiler turns into vectors. Included once by
// every instruction set; everything is local to it, since the linker may keep just one of several inline
// functions of the same name, compiled for a processor that is not there.
#pragma once
#include <cstdint>
#include <cstring>

#include "kernels.h"

namespace trilemma {
namespace {

constexpr int kLanes = 16;  // partial sums of a reduction

// Fetch weights that are read soon into the second-level cache, which waits for more lines at once than the first:
// what a processor reads while memory answers, several times over.
inline void fetch_ahead(const void* from) {
    constexpr int64_t kAhead = 8192;
    __builtin_prefetch(static_cast<const char*>(from) + kAhead, 0, 2);
}

inline float to_float(float x) { return x; }

inline float to_float(uint16_t bits) {  // bfloat16
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &wide, sizeof x);
    return x;
}

inline void from_float(float x, float* to) { *to = x; }

inline void from_float(float x, uint16_t* to) {  // bfloat16, to nearest even; a NaN stays one
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    *to = static_cast<uint16_t>(x == x ? rounded : 0x7fc0);
}

// exp to about 2 ulp; 0 below -87, where float32 would lose precision, and at most exp(88).
inline float exp_(float x) {
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
    float c = x < -87.0f ? -87.0f : x;
    c = c > 88.0f ? 88.0f : c;
    const float shifted = c * 1.44269504f + kRound;
    const float n = shifted - kRound;
    float r = c - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
    float power;
    std::memcpy(&power, &exponent, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

// log(1 + exp(x)) for x <= 0: with u = exp(x), twice the area hyperbolic tangent of u / (2 + u), which is at most 1/3.
inline float log1p_exp(float x) {
    const float u = exp_(x), z = u / (2.0f + u), square = z * z;
    float p = 1.0f / 15;
    p = p * square + 1.0f / 13;
    p = p * square + 1.0f / 11;
    p = p * square + 1.0f / 9;
    p = p * square + 1.0f / 7;
    p = p * square + 0.2f;
    p = p * square + 1.0f / 3;
    return 2.0f * z * (p * square + 1.0f);
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exp_(-x)); }

inline float silu(float x) { return x * sigmoid(x); }

inline float silu_slope(float x, float s) { return s * (1.0f + x * (1.0f - s)); }  // s = sigmoid(x)

// Squares are summed in double, so that the order of summation is not seen in the float that comes of it: all
// paths, torch's too, round the same activations to the same levels.
template <typename T>
inline double sum_of_squares(const T* x, int64_t channels) {
    double lanes[kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float value = to_float(x[c + lane]);
            lanes[lane] += static_cast<double>(value * value);
        }
    }
    double sum = 0;
    for (; c < channels; ++c) sum += static_cast<double>(to_float(x[c]) * to_float(x[c]));
    for (int lane = 0; lane < kLanes; ++lane) sum += lanes[lane];
    return sum;
}

template <typename T>
inline float inverse_rms(const T* x, int64_t channels, double eps) {
    return static_cast<float>(1.0 / __builtin_sqrt(sum_of_squares(x, channels) / static_cast<double>(channels) + eps));
}

}  // namespace
}  // namespace trilemma
