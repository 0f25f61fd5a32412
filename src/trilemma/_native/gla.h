// Gated linear attention (Yang et al. 2024, arXiv 2312.06635), chunk by chunk; included once by every
// instruction set.
//
//     S_t = diag(exp(g_t)) S_{t-1} + k_t v_t^T        o_t = (scale q_t)^T S_t
//
// Inside a chunk, with F_i the decay from its start up to step i, query i meets key j through F_i / F_j. Gates of
// ordinary strength let that be one matrix product of q F and k / F. Where F falls below kMild, so that k / F
// could overflow, pairs are taken one by one, each decay a running product: exact however strong the gates.
#pragma once
#include "floats.h"
#include "vectors.h"

namespace trilemma {
namespace {

constexpr int64_t kBlockOfSteps = 16;
static_assert(kBlockOfSteps == kWhole, "a block of steps is whole vectors");

// Steps of a chunk, a divisor of a segment: longer ones where the state is large, so that it is read less often.
inline int64_t chunk_of(const Gla& in) { return in.key * in.value > (32 << 10) ? 64 : 32; }

constexpr float kMild = 1e-26f;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// Rows [steps, width] of a sequence into [whole blocks of steps, padded width], zeros elsewhere.
inline void load_rows(Values from, int64_t offset, int64_t row, int64_t steps, int64_t width, float factor, float* to) {
    const int64_t padded = whole(width), rows = whole(steps);
    for (int64_t i = 0; i < rows; ++i) {
        int64_t c = 0;
        if (i < steps && from.type == Type::kFloat32) {
            const float* source = static_cast<const float*>(from.data) + offset + i * row;
            for (; c < width; ++c) to[i * padded + c] = source[c] * factor;
        } else if (i < steps) {
            const uint16_t* source = static_cast<const uint16_t*>(from.data) + offset + i * row;
            for (; c < width; ++c) to[i * padded + c] = to_float(source[c]) * factor;
        }
        for (; c < padded; ++c) to[i * padded + c] = 0.0f;
    }
}

inline void store_rows(const float* from, int64_t steps, int64_t width, float factor, MutableValues to, int64_t offset,
                       int64_t row) {
    const int64_t padded = whole(width);
    for (int64_t i = 0; i < steps; ++i) {
        if (to.type == Type::kFloat32) {
            float* target = static_cast<float*>(to.data) + offset + i * row;
            for (int64_t c = 0; c < width; ++c) target[c] = from[i * padded + c] * factor;
        } else {
            uint16_t* target = static_cast<uint16_t*>(to.data) + offset + i * row;
            for (int64_t c = 0; c < width; ++c) from_float(from[i * padded + c] * factor, target + c);
        }
    }
}

// A matrix [rows, columns] to or from one whose rows are padded.
inline void load_matrix(const float* from, int64_t rows, int64_t columns, float* to) {
    const int64_t padded = whole(columns);
    for (int64_t r = 0; r < whole(rows); ++r) {
        for (int64_t c = 0; c < padded; ++c) {
            to[r * padded + c] = from != nullptr && r < rows && c < columns ? from[r * columns + c] : 0.0f;
        }
    }
}

inline void store_matrix(const float* from, int64_t rows, int64_t columns, float* to) {
    for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * columns, from + r * whole(columns), sizeof(float) * columns);
}

inline void scale_rows(float* matrix, const float* factors, int64_t rows, int64_t columns) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) matrix[r * columns + c] *= factors[r];
    }
}

// One chunk of one head: queries, keys and decays in rows of K channels, K whole vectors.
class Chunk {
   public:
    explicit Chunk(const Gla& in)
        : C(chunk_of(in)), K(whole(in.key)), V(whole(in.value)), in_(in), memory_(C * (9 * K + V + 2 * C)) {
        const int64_t size = C * K;
        q = memory_.take(size), k = memory_.take(size), decay_ = memory_.take(size);
        from_start = memory_.take(size), to_end = memory_.take(size);
        q_start = memory_.take(size), k_end = memory_.take(size), k_start = memory_.take(size);
        transposed_ = memory_.take(size), v = memory_.take(C * V);
        scores = memory_.take(C * C), d_scores = memory_.take(C * C);
    }

    const int64_t C, K, V;  // longest steps; channels of keys and of values
    int64_t rows = 0;  // steps, to whole blocks; those beyond neither write nor decay
    bool mild = true;
    float *q, *k, *v;                     // [rows, K or V], q scaled
    float *from_start, *to_end;           // decay from before the chunk up to each step, and from it to the end
    float *q_start, *k_end;               // q from_start, k to_end
    float* k_start;                       // k / from_start, if gates are mild
    float *scores, *d_scores;             // [rows, C], what queries find at keys of the chunk, and its gradient

    // Read `steps` steps from number `time` on of a head: what the state needs of them, and their decays.
    void read_keys(int64_t sequence, int64_t head, int64_t time, int64_t steps) {
        rows = whole(steps);
        const int64_t first = (sequence * in_.time + time) * in_.heads + head, row = in_.heads * in_.key;
        load_rows(in_.k, first * in_.key, row, steps, in_.key, 1.0f, k);
        load_rows(in_.v, first * in_.value, in_.heads * in_.value, steps, in_.value, 1.0f, v);
        load_rows(in_.g, first * in_.key, row, steps, in_.key, 1.0f, decay_);
        for (int64_t e = 0; e < rows * K; ++e) decay_[e] = exp_(decay_[e]);
        for (int64_t c = 0; c < K; ++c) to_end[(rows - 1) * K + c] = 1.0f;
        for (int64_t i = rows - 2; i >= 0; --i) {
            for (int64_t c = 0; c < K; ++c) to_end[i * K + c] = to_end[(i + 1) * K + c] * decay_[(i + 1) * K + c];
        }
        for (int64_t e = 0; e < rows * K; ++e) k_end[e] = k[e] * to_end[e];
        std::memcpy(from_start, decay_, sizeof(float) * K);
        for (int64_t i = 1; i < rows; ++i) {
            for (int64_t c = 0; c < K; ++c) from_start[i * K + c] = from_start[(i - 1) * K + c] * decay_[i * K + c];
        }
    }

    // The same, and how queries meet keys.
    void read(int64_t sequence, int64_t head, int64_t time, int64_t steps) {
        read_keys(sequence, head, time, steps);
        const int64_t first = (sequence * in_.time + time) * in_.heads + head;
        load_rows(in_.q, first * in_.key, in_.heads * in_.key, steps, in_.key, in_.scale, q);
        for (int64_t e = 0; e < rows * K; ++e) q_start[e] = q[e] * from_start[e];
        float smallest = 1.0f;
        for (int64_t c = 0; c < K; ++c) smallest = total()[c] < smallest ? total()[c] : smallest;
        mild = smallest >= kMild;
        for (int64_t e = 0; mild && e < rows * K; ++e) k_start[e] = k[e] / from_start[e];
        score();
    }

    // Decay across the whole chunk, [K].
    const float* total() const { return from_start + (rows - 1) * K; }

    // state [K, V] from before the chunk to after it.
    void advance(float* state) const {
        scale_rows(state, total(), K, V);
        product<true>(K, V, rows, k_end, 1, K, v, V, state, V);
    }

    // Zeros where a key comes after the query: [rows, C].
    void keep_lower(float* matrix) const {
        for (int64_t i = 0; i < rows; ++i) {
            for (int64_t j = i + 1; j < whole(i + 1); ++j) matrix[i * C + j] = 0.0f;
        }
    }

    // What d_scores says of the pairs taken one by one: d_q and d_k [rows, K] +=.
    void pairs_gradient(float* d_q, float* d_k) const {
        for (int64_t c = 0; c < K; c += kFloats) {
            for (int64_t j = 0; j < rows; ++j) {
                Floats key = load(k + j * K + c);
                for (int64_t i = j; i < rows; ++i) {
                    if (i > j) key *= load(decay_ + i * K + c);
                    store(d_q + i * K + c, load(d_q + i * K + c) + key * d_scores[i * C + j]);
                }
                Floats d_key{};
                for (int64_t i = rows - 1; i > j; --i) {
                    d_key += load(q + i * K + c) * d_scores[i * C + j];
                    d_key *= load(decay_ + i * K + c);
                }
                d_key += load(q + j * K + c) * d_scores[j * C + j];
                store(d_k + j * K + c, load(d_k + j * K + c) + d_key);
            }
        }
    }

   private:
    // The lower triangle of blocks; above the diagonal zeros.
    void score() {
        if (!mild) return score_pairs();
        transpose(k_start, rows, K, K, transposed_, C);
        for (int64_t block = 0; block < rows; block += kBlockOfSteps) {
            product<false>(kBlockOfSteps, block + kBlockOfSteps, K, q_start + block * K, K, 1, transposed_, C,
                           scores + block * C, C);
        }
        keep_lower(scores);
    }

    void score_pairs() {
        float* key = transposed_;  // of step j, decayed up to step i
        for (int64_t j = 0; j < rows; ++j) {
            std::memcpy(key, k + j * K, sizeof(float) * K);
            for (int64_t i = j; i < rows; ++i) {
                Floats sum{};
                for (int64_t c = 0; c < K; c += kFloats) {
                    Floats decayed = load(key + c);
                    if (i > j) {
                        decayed *= load(decay_ + i * K + c);
                        store(key + c, decayed);
                    }
                    sum += decayed * load(q + i * K + c);
                }
                scores[i * C + j] = total_of(sum);
            }
        }
        keep_lower(scores);
    }

    const Gla& in_;
    Memory memory_;
    float *decay_, *transposed_;
};

inline int64_t steps_of(const Gla& in, int64_t sequence) {
    return in.lengths == nullptr ? in.time : least(in.lengths[sequence], in.time);
}

// Write zeros for the steps from `time` on.
inline void clear_rows(MutableValues to, const Gla& in, int64_t sequence, int64_t head, int64_t time, int64_t width) {
    const size_t size = to.type == Type::kFloat32 ? 4 : 2;
    for (; time < in.time; ++time) {
        const int64_t at = ((sequence * in.time + time) * in.heads + head) * width;
        std::memset(static_cast<char*>(to.data) + at * size, 0, width * size);
    }
}

void gla(const GlaForward& work, int64_t begin, int64_t end) {
    const FlushToZero flush;
    const Gla& in = work.in;
    Chunk chunk(in);
    const int64_t C = chunk.C, K = chunk.K, V = chunk.V;
    const int64_t segment = gla_segment(in.key, in.value), segments = (in.time + segment - 1) / segment;
    Memory memory(K * V + C * V);
    float *state = memory.take(K * V), *out = memory.take(C * V);
    for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t sequence = unit / in.heads, head = unit % in.heads, size = in.key * in.value;
        const int64_t time = steps_of(in, sequence);
        load_matrix(in.initial == nullptr ? nullptr : in.initial + unit * size, in.key, in.value, state);
        for (int64_t start = 0; start < time; start += C) {
            if (work.kept != nullptr && start % segment == 0) {
                store_matrix(state, in.key, in.value, work.kept + (unit * segments + start / segment) * size);
            }
            const int64_t steps = least(C, time - start);
            chunk.read(sequence, head, start, steps);
            for (int64_t block = 0; block < chunk.rows; block += kBlockOfSteps) {
                product<false>(kBlockOfSteps, V, block + kBlockOfSteps, chunk.scores + block * C, C, 1,
                               chunk.v, V, out + block * V, V);
            }
            product<true>(chunk.rows, V, K, chunk.q_start, K, 1, state, V, out, V);
            store_rows(out, steps, in.value, 1.0f, work.out,
                       ((sequence * in.time + start) * in.heads + head) * in.value, in.heads * in.value);
            if (start + C < time || work.final_state != nullptr) chunk.advance(state);
        }
        clear_rows(work.out, in, sequence, head, time, in.value);
        if (work.final_state != nullptr) store_matrix(state, in.key, in.value, work.final_state + unit * size);
    }
}

// Gradients of one head, from its last segment to its first.
class Backward {
   public:
    explicit Backward(const GlaGradient& work)
        : work_(work),
          in_(work.in),
          chunk_(in_),
          C(chunk_.C),
          K(chunk_.K),
          V(chunk_.V),
          segment_(gla_segment(in_.key, in_.value)),
          memory_(2 * K * V + (segment_ + 3 * C + 1) * K + 4 * C * V) {
        state_ = memory_.take(K * V), d_state_ = memory_.take(K * V);
        d_q_ = memory_.take(segment_ * K), d_k_ = memory_.take(C * K), product_ = memory_.take(C * K);
        turned_ = memory_.take(C * K), crossing_ = memory_.take(K);
        d_out_ = memory_.take(C * V), d_v_ = memory_.take(C * V);
        v_transposed_ = memory_.take(C * V), d_out_transposed_ = memory_.take(C * V);
    }

    void run(int64_t unit) {
        sequence_ = unit / in_.heads, head_ = unit % in_.heads;
        const int64_t time = steps_of(in_, sequence_), size = in_.key * in_.value;
        const int64_t segments = (in_.time + segment_ - 1) / segment_;
        load_matrix(work_.d_final == nullptr ? nullptr : work_.d_final + unit * size, in_.key, in_.value, d_state_);
        for (int64_t segment = (time + segment_ - 1) / segment_ - 1; segment >= 0; --segment) {
            const int64_t first = segment * segment_, last = least(first + segment_, time);
            load_matrix(work_.kept + (unit * segments + segment) * size, in_.key, in_.value, state_);
            for (int64_t start = first; start < last; start += C) {
                from_state(start, least(C, last - start), d_q_ + (start - first) * K);
            }
            // What crosses the end of the segment, by channel of the keys.
            for (int64_t c = 0; c < K; ++c) {
                Floats sum{};
                for (int64_t j = 0; j < V; j += kFloats) sum += load(state_ + c * V + j) * load(d_state_ + c * V + j);
                crossing_[c] = total_of(sum);
            }
            for (int64_t start = first + (last - first - 1) / C * C; start >= first; start -= C) {
                to_state(start, least(C, last - start), d_q_ + (start - first) * K);
            }
        }
        clear_rows(work_.d_q, in_, sequence_, head_, time, in_.key);
        clear_rows(work_.d_k, in_, sequence_, head_, time, in_.key);
        clear_rows(work_.d_g, in_, sequence_, head_, time, in_.key);
        clear_rows(work_.d_v, in_, sequence_, head_, time, in_.value);
        if (work_.d_initial != nullptr) store_matrix(d_state_, in_.key, in_.value, work_.d_initial + unit * size);
    }

   private:
    int64_t place(int64_t start) const { return (sequence_ * in_.time + start) * in_.heads + head_; }

    void load_d_out(int64_t start, int64_t steps) {
        if (work_.d_out.data != nullptr) {
            load_rows(work_.d_out, place(start) * in_.value, in_.heads * in_.value, steps, in_.value, 1.0f, d_out_);
        } else {
            std::memset(d_out_, 0, sizeof(float) * chunk_.rows * V);
        }
        transpose(d_out_, chunk_.rows, V, V, d_out_transposed_, C);
    }

    // Forwards in time: what the queries of a chunk learn from the state before it.
    void from_state(int64_t start, int64_t steps, float* d_q) {
        chunk_.read_keys(sequence_, head_, start, steps);
        load_d_out(start, steps);
        through(state_, d_out_transposed_, chunk_.from_start, d_q);
        chunk_.advance(state_);
    }

    // to [rows, K] = decay * (values state^T), for values [rows, V] given transposed
    void through(const float* state, const float* values_transposed, const float* decay, float* to) {
        product<false>(K, chunk_.rows, V, state, V, 1, values_transposed, C, turned_, C);
        transpose(turned_, K, chunk_.rows, C, to, K);
        for (int64_t e = 0; e < chunk_.rows * K; ++e) to[e] *= decay[e];
    }

    // Backwards in time: all other gradients, and d_state_ from after the chunk to before it.
    void to_state(int64_t start, int64_t steps, float* d_q) {
        chunk_.read(sequence_, head_, start, steps);
        load_d_out(start, steps);
        const int64_t rows = chunk_.rows, at = place(start);
        transpose(chunk_.v, rows, V, V, v_transposed_, C);
        for (int64_t block = 0; block < rows; block += kBlockOfSteps) {
            product<false>(kBlockOfSteps, block + kBlockOfSteps, V, d_out_ + block * V, V, 1, v_transposed_, C,
                           chunk_.d_scores + block * C, C);
            product<false>(kBlockOfSteps, V, rows - block, chunk_.scores + block * C + block, 1, C,
                           d_out_ + block * V, V, d_v_ + block * V, V);
        }
        chunk_.keep_lower(chunk_.d_scores);
        product<true>(rows, V, K, chunk_.k_end, K, 1, d_state_, V, d_v_, V);
        through(d_state_, v_transposed_, chunk_.to_end, d_k_);
        if (chunk_.mild) {
            through_scores(d_q);
        } else {
            chunk_.pairs_gradient(d_q, d_k_);
        }
        // A gate scales whatever crosses it. Pairs with both ends at or after it cancel in the sum of q dq - k dk.
        for (int64_t i = rows - 1; i >= 0; --i) {
            for (int64_t c = 0; c < K; ++c) {
                const int64_t e = i * K + c;
                crossing_[c] += chunk_.q[e] * d_q[e] - chunk_.k[e] * d_k_[e];
                product_[e] = crossing_[c];
            }
        }
        const int64_t key_row = in_.heads * in_.key;
        store_rows(d_q, steps, in_.key, in_.scale, work_.d_q, at * in_.key, key_row);
        store_rows(d_k_, steps, in_.key, 1.0f, work_.d_k, at * in_.key, key_row);
        store_rows(product_, steps, in_.key, 1.0f, work_.d_g, at * in_.key, key_row);
        store_rows(d_v_, steps, in_.value, 1.0f, work_.d_v, at * in_.value, in_.heads * in_.value);
        scale_rows(d_state_, chunk_.total(), K, V);
        product<true>(K, V, rows, chunk_.q_start, 1, K, d_out_, V, d_state_, V);
    }

    // What d_scores says through q F and k / F.
    void through_scores(float* d_q) {
        const int64_t rows = chunk_.rows;
        for (int64_t block = 0; block < rows; block += kBlockOfSteps) {
            product<false>(kBlockOfSteps, K, block + kBlockOfSteps, chunk_.d_scores + block * C, C, 1,
                           chunk_.k_start, K, product_ + block * K, K);
        }
        for (int64_t e = 0; e < rows * K; ++e) d_q[e] += product_[e] * chunk_.from_start[e];
        for (int64_t block = 0; block < rows; block += kBlockOfSteps) {
            product<false>(kBlockOfSteps, K, rows - block, chunk_.d_scores + block * C + block, 1, C,
                           chunk_.q_start + block * K, K, product_ + block * K, K);
        }
        for (int64_t e = 0; e < rows * K; ++e) d_k_[e] += product_[e] / chunk_.from_start[e];
    }

    const GlaGradient& work_;
    const Gla& in_;
    Chunk chunk_;
    const int64_t C, K, V, segment_;
    Memory memory_;
    int64_t sequence_ = 0, head_ = 0;
    float *state_, *d_state_, *d_q_, *d_k_, *product_, *turned_, *crossing_;
    float *d_out_, *d_v_, *v_transposed_, *d_out_transposed_;
};

void gla_gradient(const GlaGradient& work, int64_t begin, int64_t end) {
    const FlushToZero flush;
    Backward backward(work);
    for (int64_t unit = begin; unit < end; ++unit) backward.run(unit);
}

template <typename T>
inline void gla_step_head(const GlaStep& s, int64_t unit) {
    const T *q = static_cast<const T*>(s.q.data) + unit * s.key, *k = static_cast<const T*>(s.k.data) + unit * s.key;
    const T* v = static_cast<const T*>(s.v.data) + unit * s.value;
    T* out = static_cast<T*>(s.out.data) + unit * s.value;
    constexpr int64_t kColumns = 256;
    for (int64_t first = 0; first < s.value; first += kColumns) {
        const int64_t count = least(kColumns, s.value - first);
        float sums[kColumns] = {}, values[kColumns];
        for (int64_t c = 0; c < count; ++c) values[c] = to_float(v[first + c]);
        for (int64_t r = 0; r < s.key; ++r) {
            float* __restrict state = s.state + (unit * s.key + r) * s.value + first;
            const float gate = s.g.type == Type::kFloat32 ? static_cast<const float*>(s.g.data)[unit * s.key + r]
                                                          : to_float(static_cast<const uint16_t*>(s.g.data)[unit * s.key + r]);
            const float decay = exp_(gate), key = to_float(k[r]), query = to_float(q[r]) * s.scale;
            for (int64_t c = 0; c < count; ++c) {
                state[c] = decay * state[c] + key * values[c];
                sums[c] += query * state[c];
            }
        }
        for (int64_t c = 0; c < count; ++c) from_float(sums[c], out + first + c);
    }
}

void gla_step(const GlaStep& step, int64_t begin, int64_t end) {
    const FlushToZero flush;
    for (int64_t unit = begin; unit < end; ++unit) {
        if (step.q.type == Type::kFloat32) {
            gla_step_head<float>(step, unit);
        } else {
            gla_step_head<uint16_t>(step, unit);
        }
    }
}

}  // namespace
}  // namespace trilemma
