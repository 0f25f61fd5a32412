// The token mixer of MatMul-Free LM with its gates (Zhu et al. 2024, arXiv 2406.02528, section 3.3), and the gated
// MLP's elementwise part; included once by every instruction set. What the gates need is computed again for the
// gradients instead of being kept.
#pragma once
#include "floats.h"
#include "scan.h"

namespace trilemma {
namespace {

// h_t = f h_{t-1} + (1 - f) silu(i_t), f = b + (1 - b) sigmoid(f_t); at pads h stays as it is.
template <typename T>
inline void mlgru_strip(const MlGru& m, int64_t sequence, int64_t channel, int64_t count) {
    float state[kStrip], bound[kStrip];
    for (int64_t c = 0; c < count; ++c) {
        state[c] = m.initial == nullptr ? 0.0f : m.initial[sequence * m.channels + channel + c];
        bound[c] = m.lower_bound == nullptr ? 0.0f : m.lower_bound[channel + c];
    }
    for (int64_t t = 0; t < m.time; ++t) {
        const int64_t at = (sequence * m.time + t) * m.channels + channel;
        const T* __restrict i = static_cast<const T*>(m.i.data) + at;
        const T* __restrict f = static_cast<const T*>(m.f.data) + at;
        T* __restrict h = static_cast<T*>(m.h.data) + at;
        const bool pad = m.pads != nullptr && m.pads[sequence * m.time + t] != 0;
        for (int64_t c = 0; !pad && c < count; ++c) {
            const float forget = bound[c] + (1.0f - bound[c]) * sigmoid(to_float(f[c]));
            state[c] = forget * state[c] + (1.0f - forget) * silu(to_float(i[c]));
        }
        for (int64_t c = 0; c < count; ++c) from_float(state[c], h + c);
    }
    for (int64_t c = 0; m.final_state != nullptr && c < count; ++c) {
        m.final_state[sequence * m.channels + channel + c] = state[c];
    }
}

void mlgru_scan(const MlGru& m, int64_t begin, int64_t end) {
    for_strips(begin, end, m.channels, [&](int64_t sequence, int64_t channel, int64_t count) {
        if (m.i.type == Type::kFloat32) {
            mlgru_strip<float>(m, sequence, channel, count);
        } else {
            mlgru_strip<uint16_t>(m, sequence, channel, count);
        }
    });
}

template <typename T>
inline void mlgru_gradient_strip(const MlGruGradient& m, int64_t sequence, int64_t channel, int64_t count) {
    float carried[kStrip], bound[kStrip], d_bound[kStrip], first[kStrip];
    const int64_t border = sequence * m.channels + channel;
    for (int64_t c = 0; c < count; ++c) {
        carried[c] = m.d_final == nullptr ? 0.0f : m.d_final[border + c];
        bound[c] = m.lower_bound == nullptr ? 0.0f : m.lower_bound[channel + c];
        first[c] = m.initial == nullptr ? 0.0f : m.initial[border + c];
        d_bound[c] = 0.0f;
    }
    for (int64_t t = m.time - 1; t >= 0; --t) {
        const int64_t at = (sequence * m.time + t) * m.channels + channel;
        const T* __restrict i = static_cast<const T*>(m.i.data) + at;
        const T* __restrict f = static_cast<const T*>(m.f.data) + at;
        const T* __restrict d_h = m.d_h.data == nullptr ? nullptr : static_cast<const T*>(m.d_h.data) + at;
        T* __restrict d_i = static_cast<T*>(m.d_i.data) + at;
        T* __restrict d_f = static_cast<T*>(m.d_f.data) + at;
        if (d_h != nullptr) {
            for (int64_t c = 0; c < count; ++c) carried[c] += to_float(d_h[c]);
        }
        if (m.pads != nullptr && m.pads[sequence * m.time + t] != 0) {
            for (int64_t c = 0; c < count; ++c) from_float(0.0f, d_i + c), from_float(0.0f, d_f + c);
            continue;
        }
        const auto channel_gradient = [&](int64_t c, float before) {
            const float s_f = sigmoid(to_float(f[c])), x = to_float(i[c]), s_i = sigmoid(x);
            const float forget = bound[c] + (1.0f - bound[c]) * s_f, d_forget = carried[c] * (before - x * s_i);
            from_float(carried[c] * (1.0f - forget) * silu_slope(x, s_i), d_i + c);
            from_float(d_forget * (1.0f - bound[c]) * s_f * (1.0f - s_f), d_f + c);
            d_bound[c] += d_forget * (1.0f - s_f);
            carried[c] *= forget;
        };
        if (t > 0) {
            const T* __restrict before = static_cast<const T*>(m.h.data) + at - m.channels;
            for (int64_t c = 0; c < count; ++c) channel_gradient(c, to_float(before[c]));
        } else {
            for (int64_t c = 0; c < count; ++c) channel_gradient(c, first[c]);
        }
    }
    for (int64_t c = 0; c < count; ++c) {
        m.d_bound[border + c] = d_bound[c];
        if (m.d_initial != nullptr) m.d_initial[border + c] = carried[c];
    }
}

void mlgru_gradient(const MlGruGradient& m, int64_t begin, int64_t end) {
    for_strips(begin, end, m.channels, [&](int64_t sequence, int64_t channel, int64_t count) {
        if (m.i.type == Type::kFloat32) {
            mlgru_gradient_strip<float>(m, sequence, channel, count);
        } else {
            mlgru_gradient_strip<uint16_t>(m, sequence, channel, count);
        }
    });
}

// y = silu(gate) up
template <typename T>
inline void glu_row(const Glu& g, int64_t row) {
    const T* __restrict gate = static_cast<const T*>(g.gate.data) + row * g.stride;
    const T* __restrict up = static_cast<const T*>(g.up.data) + row * g.stride;
    T* __restrict y = static_cast<T*>(g.y.data) + row * g.channels;
    for (int64_t c = 0; c < g.channels; ++c) from_float(silu(to_float(gate[c])) * to_float(up[c]), y + c);
}

void glu_rows(const Glu& g, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        if (g.gate.type == Type::kFloat32) {
            glu_row<float>(g, row);
        } else {
            glu_row<uint16_t>(g, row);
        }
    }
}

template <typename T>
inline void glu_gradient_row(const GluGradient& g, int64_t row) {
    const T* __restrict gate = static_cast<const T*>(g.gate.data) + row * g.stride;
    const T* __restrict up = static_cast<const T*>(g.up.data) + row * g.stride;
    const T* __restrict d_y = static_cast<const T*>(g.d_y.data) + row * g.channels;
    T* __restrict d_gate = static_cast<T*>(g.d_gate.data) + row * g.stride;
    T* __restrict d_up = static_cast<T*>(g.d_up.data) + row * g.stride;
    for (int64_t c = 0; c < g.channels; ++c) {
        const float x = to_float(gate[c]), s = sigmoid(x), d = to_float(d_y[c]);
        from_float(d * to_float(up[c]) * silu_slope(x, s), d_gate + c);
        from_float(d * x * s, d_up + c);
    }
}

void glu_gradient(const GluGradient& g, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
        if (g.gate.type == Type::kFloat32) {
            glu_gradient_row<float>(g, row);
        } else {
            glu_gradient_row<uint16_t>(g, row);
        }
    }
}

}  // namespace
}  // namespace trilemma
