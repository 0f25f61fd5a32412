// Norms, rounding and gates over rows of activations; included once by every instruction set.
#pragma once
#include "floats.h"

namespace trilemma {
namespace {

constexpr float kSmallest = 1e-5f;  // of a token's largest activation, so that zeros divide by no zero

template <typename T>
inline void quantize_row(const T* __restrict x, const Quantization& q, int64_t token) {
    const int64_t channels = q.channels;
    const float* __restrict weight = q.weight;
    const float inverse = inverse_rms(x, channels, q.eps);
    int8_t* __restrict levels = q.out.levels + token * q.out.stride;
    float lanes[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = kSmallest;
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float value = __builtin_fabsf(to_float(x[c + lane]) * inverse * weight[c + lane]);
            lanes[lane] = value > lanes[lane] ? value : lanes[lane];
        }
    }
    for (; c < channels; ++c) {
        const float value = __builtin_fabsf(to_float(x[c]) * inverse * weight[c]);
        lanes[0] = value > lanes[0] ? value : lanes[0];
    }
    float largest = lanes[0];
    for (int lane = 1; lane < kLanes; ++lane) largest = lanes[lane] > largest ? lanes[lane] : largest;
    int32_t sum = 0;
    // What is no number must not come out as one: infinite and undefined inputs make the norm 0 or undefined.
    const bool finite = inverse > 0.0f && largest < __builtin_inff();
    if (finite) {
        const float factor = (1.0f / largest) * 127.0f;
        for (c = 0; c < channels; ++c) {
            const int32_t level = static_cast<int32_t>(__builtin_rintf(to_float(x[c]) * inverse * weight[c] * factor));
            levels[c] = static_cast<int8_t>(level);
            sum += level;
        }
    } else {
        std::memset(levels, 0, channels);
    }
    std::memset(levels + channels, 0, q.out.stride - channels);
    q.out.sums[token] = sum;
    q.out.steps[token] = finite ? largest / 127.0f : __builtin_nanf("");
    if (q.inverse_rms != nullptr) q.inverse_rms[token] = inverse;
}

void quantize(const Quantization& q, int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) {
        if (q.x.type == Type::kFloat32) {
            quantize_row(static_cast<const float*>(q.x.data) + token * q.channels, q, token);
        } else {
            quantize_row(static_cast<const uint16_t*>(q.x.data) + token * q.channels, q, token);
        }
    }
}

void rms_norm(const float* __restrict x, const float* __restrict weight, double eps, int64_t channels,
              float* __restrict out) {
    const float inverse = inverse_rms(x, channels, eps);
    for (int64_t c = 0; c < channels; ++c) out[c] = x[c] * inverse * weight[c];
}

void mlgru(const float* __restrict i, const float* __restrict f, const float* __restrict g,
           const float* __restrict lower_bound, const float* __restrict g_norm, double eps, int64_t channels,
           float* __restrict h, float* __restrict out) {
    const float inverse = inverse_rms(g, channels, eps);
    const auto channel = [&](int64_t c, float bound) {
        const float forget = bound + (1.0f - bound) * sigmoid(f[c]);
        h[c] = forget * h[c] + silu(i[c]) * (1.0f - forget);
        out[c] = g[c] * inverse * g_norm[c] * silu(h[c]);
    };
    if (lower_bound == nullptr) {
        for (int64_t c = 0; c < channels; ++c) channel(c, 0.0f);
    } else {
        for (int64_t c = 0; c < channels; ++c) channel(c, lower_bound[c]);
    }
}

void glu(const float* __restrict gate, const float* __restrict up, int64_t channels, float* __restrict out) {
    for (int64_t c = 0; c < channels; ++c) out[c] = silu(gate[c]) * up[c];
}

template <typename T>
inline void log_sigmoid_of(const T* __restrict x, int64_t count, float divisor, float* __restrict out) {
    for (int64_t c = 0; c < count; ++c) {
        const float value = to_float(x[c]);
        out[c] = ((value < 0.0f ? value : 0.0f) - log1p_exp(-__builtin_fabsf(value))) / divisor;
    }
}

void log_sigmoid(const Values& x, int64_t count, float divisor, float* out) {
    if (x.type == Type::kFloat32) {
        log_sigmoid_of(static_cast<const float*>(x.data), count, divisor, out);
    } else {
        log_sigmoid_of(static_cast<const uint16_t*>(x.data), count, divisor, out);
    }
}

}  // namespace
}  // namespace trilemma
