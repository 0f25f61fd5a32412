// The elementwise linear recurrence of HGRN (Qin et al. 2023, arXiv 2311.04823); included once by every
// instruction set. Channels are independent: each is read once and written once, in order of time.
#pragma once
#include "floats.h"

namespace trilemma {
namespace {

constexpr int64_t kStrip = 512;  // channels whose states are kept at hand

// Call body(sequence, first channel, channels) for strips of the channels begin..end of all sequences.
template <typename F>
inline void for_strips(int64_t begin, int64_t end, int64_t channels, const F& body) {
    while (begin < end) {
        const int64_t sequence = begin / channels, channel = begin % channels;
        int64_t count = end - begin < kStrip ? end - begin : kStrip;
        if (count > channels - channel) count = channels - channel;
        body(sequence, channel, count);
        begin += count;
    }
}

constexpr int64_t kStepsAhead = 4;

// Fetch `count` values into the second-level cache: strips lie too far apart for a processor to guess the next one.
template <typename T>
inline void fetch(const T* values, int64_t count) {
    constexpr int64_t kLine = 64 / sizeof(T);
    for (int64_t c = 0; c < count; c += kLine) __builtin_prefetch(values + c, 0, 2);
}

template <typename T>
inline void scan_strip(const Scan& s, int64_t sequence, int64_t channel, int64_t count) {
    float state[kStrip];
    for (int64_t c = 0; c < count; ++c) {
        state[c] = s.initial == nullptr ? 0.0f : s.initial[sequence * s.channels + channel + c];
    }
    for (int64_t t = 0; t < s.time; ++t) {
        const int64_t at = (sequence * s.time + t) * s.channels + channel;
        const T* x = static_cast<const T*>(s.x.data) + at;
        const T* f = static_cast<const T*>(s.f.data) + at;
        T* __restrict h = static_cast<T*>(s.h.data) + at;
        if (t + kStepsAhead < s.time) {
            const int64_t ahead = kStepsAhead * s.channels;
            fetch(x + ahead, count);
            fetch(f + ahead, count);
            fetch(h + ahead, count);
        }
        for (int64_t c = 0; c < count; ++c) {
            state[c] = to_float(f[c]) * state[c] + to_float(x[c]);
            from_float(state[c], h + c);
        }
    }
    for (int64_t c = 0; s.final_state != nullptr && c < count; ++c) {
        s.final_state[sequence * s.channels + channel + c] = state[c];
    }
}

void scan(const Scan& s, int64_t begin, int64_t end) {
    for_strips(begin, end, s.channels, [&](int64_t sequence, int64_t channel, int64_t count) {
        if (s.x.type == Type::kFloat32) {
            scan_strip<float>(s, sequence, channel, count);
        } else {
            scan_strip<uint16_t>(s, sequence, channel, count);
        }
    });
}

// G_t = dh_t + f_{t+1} G_{t+1}, dx = G, df_t = G_t h_{t-1}
template <typename T>
inline void scan_gradient_strip(const ScanGradient& s, int64_t sequence, int64_t channel, int64_t count) {
    float carried[kStrip];  // f_{t+1} G_{t+1}
    const int64_t border = sequence * s.channels + channel;
    for (int64_t c = 0; c < count; ++c) carried[c] = s.d_final == nullptr ? 0.0f : s.d_final[border + c];
    for (int64_t t = s.time - 1; t >= 0; --t) {
        const int64_t at = (sequence * s.time + t) * s.channels + channel;
        const T* f = static_cast<const T*>(s.f.data) + at;
        const T* before = t > 0 ? static_cast<const T*>(s.h.data) + at - s.channels : nullptr;
        const T* d_h = s.d_h.data == nullptr ? nullptr : static_cast<const T*>(s.d_h.data) + at;
        T* __restrict d_x = static_cast<T*>(s.d_x.data) + at;
        T* __restrict d_f = static_cast<T*>(s.d_f.data) + at;
        if (t > kStepsAhead) {
            const int64_t ahead = kStepsAhead * s.channels;
            fetch(f - ahead, count);
            fetch(before - ahead, count);
            fetch(d_x - ahead, count);
            fetch(d_f - ahead, count);
            if (d_h != nullptr) fetch(d_h - ahead, count);
        }
        if (d_h != nullptr) {
            for (int64_t c = 0; c < count; ++c) carried[c] += to_float(d_h[c]);
        }
        if (before != nullptr) {
            for (int64_t c = 0; c < count; ++c) from_float(carried[c] * to_float(before[c]), d_f + c);
        } else {
            for (int64_t c = 0; c < count; ++c) {
                from_float(s.initial == nullptr ? 0.0f : carried[c] * s.initial[border + c], d_f + c);
            }
        }
        for (int64_t c = 0; c < count; ++c) {
            from_float(carried[c], d_x + c);
            carried[c] *= to_float(f[c]);
        }
    }
    for (int64_t c = 0; s.d_initial != nullptr && c < count; ++c) s.d_initial[border + c] = carried[c];
}

void scan_gradient(const ScanGradient& s, int64_t begin, int64_t end) {
    for_strips(begin, end, s.channels, [&](int64_t sequence, int64_t channel, int64_t count) {
        if (s.f.type == Type::kFloat32) {
            scan_gradient_strip<float>(s, sequence, channel, count);
        } else {
            scan_gradient_strip<uint16_t>(s, sequence, channel, count);
        }
    });
}

}  // namespace
}  // namespace trilemma
