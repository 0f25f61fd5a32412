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
    for (int64_t c = 0; c < n.channels; ++c) from_float(to_float(x[c]) * inverse * weight[c], y + c);
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

// dx = inverse_rms (dy w - normed mean(dy w normed)) and dw += dy normed, for normed = x inverse_rms
template <typename T>
inline void norm_gradient_row(const NormGradient& n, int64_t row, float* __restrict d_weight) {
    const T* __restrict x = static_cast<const T*>(n.x.data) + row * n.channels;
    const T* __restrict d_y = static_cast<const T*>(n.d_y.data) + row * n.channels;
    T* __restrict d_x = static_cast<T*>(n.d_x.data) + row * n.channels;
    const float* __restrict weight = n.weight;
    const float inverse = n.inverse_rms[row];
    float lanes[kLanes] = {};
    int64_t c = 0;
    for (; c + kLanes <= n.channels; c += kLanes) {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float shared = to_float(d_y[c + lane]) * to_float(x[c + lane]) * inverse;
            lanes[lane] += shared * weight[c + lane];
            d_weight[c + lane] += shared;
        }
    }
    for (; c < n.channels; ++c) {
        const float shared = to_float(d_y[c]) * to_float(x[c]) * inverse;
        lanes[0] += shared * weight[c];
        d_weight[c] += shared;
    }
    float mean = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) mean += lanes[lane];
    mean /= static_cast<float>(n.channels);
    for (c = 0; c < n.channels; ++c) {
        from_float(inverse * (to_float(d_y[c]) * weight[c] - to_float(x[c]) * inverse * mean), d_x + c);
    }
}

// Blocks of rows, each with a sum of its own for the weight's gradient.
void norm_gradient(const NormGradient& n, int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
        float* d_weight = n.d_weight + block * n.channels;
        for (int64_t c = 0; c < n.channels; ++c) d_weight[c] = 0.0f;
        const int64_t last = (block + 1) * n.block < n.rows ? (block + 1) * n.block : n.rows;
        for (int64_t row = block * n.block; row < last; ++row) {
            if (n.x.type == Type::kFloat32) {
                norm_gradient_row<float>(n, row, d_weight);
            } else {
                norm_gradient_row<uint16_t>(n, row, d_weight);
            }
        }
    }
}

}  // namespace
}  // namespace trilemma
