// RMS norm of rows and its gradients; included once by every instruction set.
#pragma once
#include "floats.h"
#include "vectors.h"

namespace trilemma {
namespace {

template <typename T>
inline void norm_row(const Norm& n, int64_t row) {
    const T* __restrict x = static_cast<const T*>(n.x.data) + row * n.channels;
    T* __restrict y = static_cast<T*>(n.y.data) + row * n.channels;
    const float* __restrict weight = n.weight;
    const float inverse = inverse_rms(x, n.channels, n.eps);
    if (n.gate.data == nullptr) {
        for (int64_t c = 0; c < n.channels; ++c) from_float(to_float(x[c]) * inverse * weight[c], y + c);
    } else {
        const T* __restrict gate = static_cast<const T*>(n.gate.data) + row * n.channels;
        for (int64_t c = 0; c < n.channels; ++c) {
            from_float(to_float(x[c]) * inverse * weight[c] * silu(to_float(gate[c])), y + c);
        }
    }
    if (n.inverse_rms != nullptr) n.inverse_rms[row] = inverse;
}

void norm(const Norm& n, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        if (n.x.type == Type::kFloat32) {
            norm_row<float>(n, row);
        } else {
            norm_row<uint16_t>(n, row);
        }
    }
}

// With normed = x inverse_rms and d = dy, or dy silu(gate):
// dx = inverse_rms (d w - normed mean(d w normed)), dw += d normed, dgate = dy normed w silu'(gate)
template <typename T>
inline void norm_gradient_row(const NormGradient& n, int64_t row, float* __restrict d, float* __restrict d_weight) {
    const int64_t channels = n.channels;
    const T* __restrict x = static_cast<const T*>(n.x.data) + row * channels;
    const T* __restrict d_y = static_cast<const T*>(n.d_y.data) + row * channels;
    T* __restrict d_x = static_cast<T*>(n.d_x.data) + row * channels;
    const float* __restrict weight = n.weight;
    const float inverse = n.inverse_rms[row];
    if (n.gate.data == nullptr) {
        for (int64_t c = 0; c < channels; ++c) d[c] = to_float(d_y[c]);
    } else {
        const T* __restrict gate = static_cast<const T*>(n.gate.data) + row * channels;
        T* __restrict d_gate = static_cast<T*>(n.d_gate.data) + row * channels;
        for (int64_t c = 0; c < channels; ++c) {
            const float g = to_float(gate[c]), s = sigmoid(g), dy = to_float(d_y[c]);
            d[c] = dy * g * s;
            from_float(dy * to_float(x[c]) * inverse * weight[c] * silu_slope(g, s), d_gate + c);
        }
    }
    float lanes[kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float shared = d[c + lane] * to_float(x[c + lane]) * inverse;
            lanes[lane] += shared * weight[c + lane];
            d_weight[c + lane] += shared;
        }
    }
    for (; c < channels; ++c) {
        const float shared = d[c] * to_float(x[c]) * inverse;
        lanes[0] += shared * weight[c];
        d_weight[c] += shared;
    }
    float mean = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) mean += lanes[lane];
    mean /= static_cast<float>(channels);
    for (c = 0; c < channels; ++c) from_float(inverse * (d[c] * weight[c] - to_float(x[c]) * inverse * mean), d_x + c);
}

// Blocks of rows, each with a sum of its own for the weight's gradient.
void norm_gradient(const NormGradient& n, int64_t begin, int64_t end) {
    Memory memory(whole(n.channels));
    float* d = memory.take(n.channels);
    for (int64_t block = begin; block < end; ++block) {
        float* d_weight = n.d_weight + block * n.channels;
        for (int64_t c = 0; c < n.channels; ++c) d_weight[c] = 0.0f;
        const int64_t last = (block + 1) * n.block < n.rows ? (block + 1) * n.block : n.rows;
        for (int64_t row = block * n.block; row < last; ++row) {
            if (n.x.type == Type::kFloat32) {
                norm_gradient_row<float>(n, row, d, d_weight);
            } else {
                norm_gradient_row<uint16_t>(n, row, d, d_weight);
            }
        }
    }
}

}  // namespace
}  // namespace trilemma
