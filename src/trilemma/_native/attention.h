// Softmax attention of one new token over the key-value cache, and rotary position embedding; included once by every
// instruction set.
#pragma once
#include "dense.h"
#include "floats.h"
#include "vectors.h"

namespace trilemma {
namespace {

inline Floats load_values(const float* from) { return load(from); }
inline Floats load_values(const uint16_t* from) { return load_bfloat16(from); }

template <typename T>
inline float dot(const float* a, const T* b, int64_t count) {
    Floats sums[2] = {};
    int64_t c = 0;
    for (; c + 2 * kFloats <= count; c += 2 * kFloats) {
        sums[0] += load(a + c) * load_values(b + c);
        sums[1] += load(a + c + kFloats) * load_values(b + c + kFloats);
    }
    float sum = total_of(sums[0] + sums[1]);
    for (; c < count; ++c) sum += a[c] * to_float(b[c]);
    return sum;
}

// One query head: scores is room for `length` numbers, out for `size`.
template <typename T>
inline void attend(const AttentionStep& s, int64_t batch, int64_t head, float* scores, float* query, float* out) {
    const int64_t kv_head = head / (s.heads / s.kv_heads);
    const T* q = static_cast<const T*>(s.q.data) + (batch * s.heads + head) * s.size;
    const T* k = static_cast<const T*>(s.k.data) + batch * s.k_strides[0] + kv_head * s.k_strides[1];
    const T* v = static_cast<const T*>(s.v.data) + batch * s.v_strides[0] + kv_head * s.v_strides[1];
    const uint8_t* mask = s.mask == nullptr ? nullptr : s.mask + batch * s.mask_stride;
    for (int64_t c = 0; c < s.size; ++c) query[c] = to_float(q[c]) * s.scale, out[c] = 0.0f;
    float largest = -__builtin_inff();
    for (int64_t t = 0; t < s.length; ++t) {
        const bool seen = mask == nullptr || mask[t] != 0;
        scores[t] = seen ? dot(query, k + t * s.k_strides[2], s.size) : -__builtin_inff();
        largest = scores[t] > largest ? scores[t] : largest;
    }
    float sum = 0.0f;
    for (int64_t t = 0; t < s.length; ++t) scores[t] = exp_(scores[t] - largest);
    for (int64_t t = 0; t < s.length; ++t) {
        sum += scores[t];
        const T* value = v + t * s.v_strides[2];
        for (int64_t c = 0; c < s.size; ++c) out[c] += scores[t] * to_float(value[c]);
    }
    T* to = static_cast<T*>(s.out.data) + (batch * s.heads + head) * s.size;
    for (int64_t c = 0; c < s.size; ++c) from_float(out[c] / sum, to + c);
}

void attention_step(const AttentionStep& s, int64_t begin, int64_t end) {
    Memory memory(s.length + 2 * s.size);
    float *scores = memory.take(s.length), *query = memory.take(s.size), *out = memory.take(s.size);
    for (int64_t unit = begin; unit < end; ++unit) {
        if (s.q.type == Type::kFloat32) {
            attend<float>(s, unit / s.heads, unit % s.heads, scores, query, out);
        } else {
            attend<uint16_t>(s, unit / s.heads, unit % s.heads, scores, query, out);
        }
    }
}

template <typename T>
inline void rotate_step(const Rotation& r, int64_t step) {
    const int64_t half = r.size / 2, at = step % (r.angle_batch * r.time);
    const float* __restrict cos = r.cos + at * half;
    const float* __restrict sin = r.sin + at * half;
    for (int64_t head = 0; head < r.heads; ++head) {
        const T* x = static_cast<const T*>(r.x.data) + (step * r.heads + head) * r.size;
        T* __restrict y = static_cast<T*>(r.y.data) + (step * r.heads + head) * r.size;
        for (int64_t c = 0; c < half; ++c) {
            const float first = to_float(x[c]), second = to_float(x[half + c]);
            from_float(first * cos[c] - second * sin[c] * r.direction, y + c);
            from_float(second * cos[c] + first * sin[c] * r.direction, y + half + c);
        }
    }
}

void rotate(const Rotation& r, int64_t begin, int64_t end) {
    for (int64_t step = begin; step < end; ++step) {
        if (r.x.type == Type::kFloat32) {
            rotate_step<float>(r, step);
        } else {
            rotate_step<uint16_t>(r, step);
        }
    }
}

}  // namespace
}  // namespace trilemma
