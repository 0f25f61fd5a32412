// Every path of the kernels against plain loops, at awkward sizes, on exact allocations: built with the address
// and undefined-behaviour sanitizers, it ends with an error at the first access beyond a buffer.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "decode.h"
#include "dense_step.h"
#include "kernels.h"
#include "parallel.h"

extern "C" {
const char* trilemma_path(int32_t index);
int32_t trilemma_use(const char* name);
void trilemma_quantize(int32_t, const void*, int32_t, int64_t, int64_t, const float*, double, int8_t*, int64_t, int32_t*,
                       float*, float*);
void trilemma_ternary(int32_t, const uint8_t*, int64_t, int64_t, float, const int8_t*, const int32_t*, const float*,
                      int64_t, float*);
void trilemma_scan(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const float*, void*, float*);
void trilemma_scan_gradient(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const void*,
                            const float*, const float*, void*, void*, float*);
int64_t trilemma_gla_segment(int64_t, int64_t);
void trilemma_gla(int32_t, const int64_t*, int32_t, int32_t, const void*, const void*, const void*, const void*,
                  const int64_t*, const float*, float, void*, float*, float*);
void trilemma_gla_gradient(int32_t, const int64_t*, int32_t, int32_t, const void*, const void*, const void*, const void*,
                           const int64_t*, float, const void*, const float*, const float*, void*, void*, void*, void*,
                           float*);
void trilemma_gla_step(int32_t, int64_t, int64_t, int64_t, int32_t, int32_t, const void*, const void*, const void*,
                       const void*, float, float*, void*);
void trilemma_dense(int32_t, int32_t, const void*, int64_t, int64_t, const void*, int64_t, void*);
void trilemma_norm(int32_t, int64_t, int64_t, int32_t, const void*, const void*, const float*, double, void*, float*);
void trilemma_norm_gradient(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const float*,
                            const float*, const void*, void*, void*, float*);
void trilemma_mlgru(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const float*, const uint8_t*,
                    const float*, void*, float*);
void trilemma_mlgru_gradient(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const void*,
                             const float*, const uint8_t*, const float*, const void*, const float*, void*, void*, float*,
                             float*);
void trilemma_glu(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, void*);
void trilemma_glu_gradient(int32_t, int64_t, int64_t, int64_t, int32_t, const void*, const void*, const void*, void*,
                           void*);
void trilemma_rotate(int32_t, const int64_t*, int64_t, int32_t, const void*, const float*, const float*, float, void*);
void trilemma_attention_step(int32_t, const int64_t*, int32_t, const void*, const void*, const int64_t*, const void*,
                             const int64_t*, const uint8_t*, int64_t, float, void*);
void trilemma_matmul_free_step(int32_t, const void*, int64_t, int64_t, float*, float* const*);
void trilemma_transformer_step(int32_t, const void*, int64_t, const void*, const void*, void*);
void trilemma_gla_model_step(int32_t, const void*, int64_t, const void*, const void*, void*);
}

namespace {

std::mt19937 random_numbers(0);
constexpr int32_t kThreads = 3;

std::vector<float> draw(int64_t count, float low = -1.0f, float high = 1.0f) {
    std::uniform_real_distribution<float> between(low, high);
    std::vector<float> values(count);
    for (float& value : values) value = between(random_numbers);
    return values;
}

void require(bool holds, const char* what) {
    if (!holds) {
        std::fprintf(stderr, "wrong: %s\n", what);
        std::exit(1);
    }
}

bool near(const std::vector<float>& a, const std::vector<double>& b) {
    for (size_t i = 0; i < b.size(); ++i) {
        if (!(std::fabs(a[i] - b[i]) <= 2e-4 * (1 + std::fabs(b[i])))) return false;
    }
    return a.size() == b.size();
}

void ternary(int64_t tokens, int64_t channels, int64_t rows) {
    const int64_t blocks = (channels + 255) / 256, stride = blocks * 256;
    std::vector<int> weights(rows * channels);
    std::vector<uint8_t> packed(rows * blocks * 64, 0x55);
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < channels; ++c) {
            const int weight = static_cast<int>(random_numbers() % 3) - 1;
            weights[r * channels + c] = weight;
            uint8_t& byte = packed[(r * blocks + c / 256) * 64 + c % 64];
            const int shift = 2 * (c % 256 / 64);
            byte = static_cast<uint8_t>((byte & ~(3 << shift)) | ((weight + 1) << shift));
        }
    }
    const auto x = draw(tokens * channels), norm = draw(channels);
    std::vector<int8_t> levels(tokens * stride);
    std::vector<int32_t> sums(tokens);
    std::vector<float> steps(tokens), inverse(tokens), out(tokens * rows);
    trilemma_quantize(kThreads, x.data(), 0, tokens, channels, norm.data(), 1e-6, levels.data(), stride, sums.data(),
                      steps.data(), inverse.data());
    trilemma_ternary(kThreads, packed.data(), rows, blocks, 0.5f, levels.data(), sums.data(), steps.data(), tokens,
                     out.data());
    std::vector<double> expected(tokens * rows);
    for (int64_t t = 0; t < tokens; ++t) {
        for (int64_t r = 0; r < rows; ++r) {
            int64_t sum = 0;
            for (int64_t c = 0; c < channels; ++c) sum += levels[t * stride + c] * weights[r * channels + c];
            expected[t * rows + r] = 0.5 * steps[t] * static_cast<double>(sum);
        }
    }
    require(near(out, expected), "ternary product");
}

void scan(int64_t batch, int64_t time, int64_t channels) {
    const int64_t size = batch * time * channels;
    const auto x = draw(size), f = draw(size, 0.0f, 1.0f), initial = draw(batch * channels), d_h = draw(size);
    std::vector<float> h(size), last(batch * channels), d_x(size), d_f(size), d_initial(batch * channels);
    trilemma_scan(kThreads, batch, time, channels, 0, x.data(), f.data(), initial.data(), h.data(), last.data());
    trilemma_scan_gradient(kThreads, batch, time, channels, 0, f.data(), h.data(), d_h.data(), initial.data(), nullptr,
                           d_x.data(), d_f.data(), d_initial.data());
    std::vector<double> expected(size);
    for (int64_t b = 0; b < batch; ++b) {
        for (int64_t c = 0; c < channels; ++c) {
            double state = initial[b * channels + c];
            for (int64_t t = 0; t < time; ++t) {
                const int64_t at = (b * time + t) * channels + c;
                expected[at] = state = f[at] * state + x[at];
            }
        }
    }
    require(near(h, expected), "scan");
}

void gla(int64_t batch, int64_t time, int64_t heads, int64_t K, int64_t V, float strength) {
    const int64_t keys = batch * time * heads * K, values = batch * time * heads * V, states = batch * heads * K * V;
    const auto q = draw(keys), k = draw(keys), v = draw(values), g = draw(keys, -strength, 0.0f), d_out = draw(values);
    const auto initial = draw(states);
    const int64_t shape[] = {batch, time, heads, K, V};
    const int64_t segment = trilemma_gla_segment(K, V), segments = (time + segment - 1) / segment;
    std::vector<int64_t> lengths(batch, time);
    if (batch > 1) lengths[0] = time / 2;
    std::vector<float> out(values), last(states), kept(batch * heads * segments * K * V);
    std::vector<float> d_q(keys), d_k(keys), d_v(values), d_g(keys), d_initial(states);
    trilemma_gla(kThreads, shape, 0, 0, q.data(), k.data(), v.data(), g.data(), lengths.data(), initial.data(), 0.5f,
                 out.data(), last.data(), kept.data());
    trilemma_gla_gradient(kThreads, shape, 0, 0, q.data(), k.data(), v.data(), g.data(), lengths.data(), 0.5f,
                          d_out.data(), nullptr, kept.data(), d_q.data(), d_k.data(), d_v.data(), d_g.data(),
                          d_initial.data());
    std::vector<double> expected(values);
    std::vector<double> state(initial.begin(), initial.end());
    for (int64_t b = 0; b < batch; ++b) {
        for (int64_t t = 0; t < lengths[b]; ++t) {
            for (int64_t h = 0; h < heads; ++h) {
                const int64_t step = (b * time + t) * heads + h;
                for (int64_t i = 0; i < K; ++i) {
                    for (int64_t j = 0; j < V; ++j) {
                        double& s = state[((b * heads + h) * K + i) * V + j];
                        s = std::exp(static_cast<double>(g[step * K + i])) * s + double{k[step * K + i]} * v[step * V + j];
                        expected[step * V + j] += 0.5 * q[step * K + i] * s;
                    }
                }
            }
        }
    }
    require(near(out, expected), "gated linear attention");
    require(near(last, state), "state of gated linear attention");
    const auto one_q = draw(heads * K), one_v = draw(heads * V), one_g = draw(heads * K, -strength, 0.0f);
    std::vector<float> one_out(heads * V);
    trilemma_gla_step(kThreads, heads, K, V, 0, 0, one_q.data(), one_q.data(), one_v.data(), one_g.data(), 0.5f,
                      last.data(), one_out.data());
}

void dense(int64_t tokens, int64_t channels, int64_t rows) {
    const std::vector<uint16_t> weight(rows * channels, 0x3f80), x(tokens * channels, 0x3f80);  // ones
    std::vector<uint16_t> out(tokens * rows);
    trilemma_dense(kThreads, 1, weight.data(), rows, channels, x.data(), tokens, out.data());
    for (uint16_t half : out) {
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        require(std::fabs(value - channels) <= channels / 128.0, "dense product");
    }
    const std::vector<float> wide(rows * channels, 1.0f), values(tokens * channels, 1.0f);
    std::vector<float> sums(tokens * rows);
    trilemma_dense(kThreads, 0, wide.data(), rows, channels, values.data(), tokens, sums.data());
    for (float value : sums) require(value == static_cast<float>(channels), "dense product in float32");
}

void norm(int64_t rows, int64_t channels) {
    const auto x = draw(rows * channels), weight = draw(channels), d_y = draw(rows * channels);
    const int64_t block = 4, blocks = (rows + block - 1) / block;
    std::vector<float> y(rows * channels), inverse(rows), d_x(rows * channels), d_weight(blocks * channels);
    trilemma_norm(kThreads, rows, channels, 0, x.data(), d_y.data(), weight.data(), 1e-6, y.data(), inverse.data());
    std::vector<float> d_gate(rows * channels);
    trilemma_norm_gradient(kThreads, rows, channels, block, 0, x.data(), d_y.data(), weight.data(), inverse.data(),
                           d_y.data(), d_x.data(), d_gate.data(), d_weight.data());
    trilemma_norm(kThreads, rows, channels, 0, x.data(), nullptr, weight.data(), 1e-6, y.data(), nullptr);
    trilemma_norm_gradient(kThreads, rows, channels, block, 0, x.data(), nullptr, weight.data(), inverse.data(),
                           d_y.data(), d_x.data(), nullptr, d_weight.data());
    std::vector<double> expected(rows * channels);
    for (int64_t r = 0; r < rows; ++r) {
        double squares = 0;
        for (int64_t c = 0; c < channels; ++c) squares += double{x[r * channels + c]} * x[r * channels + c];
        const double scale = 1 / std::sqrt(squares / channels + 1e-6);
        for (int64_t c = 0; c < channels; ++c) expected[r * channels + c] = x[r * channels + c] * scale * weight[c];
    }
    require(near(y, expected), "norm");
}

void mlgru(int64_t batch, int64_t time, int64_t channels) {
    const int64_t size = batch * time * channels, states = batch * channels;
    const auto i = draw(size), f = draw(size), bound = draw(channels, 0.0f, 1.0f), initial = draw(states);
    std::vector<uint8_t> pads(batch * time);
    if (time > 2) pads[1] = 1;
    std::vector<float> h(size), last(states), d_i(size), d_f(size), d_bound(states), d_initial(states);
    trilemma_mlgru(kThreads, batch, time, channels, 0, i.data(), f.data(), bound.data(), pads.data(), initial.data(),
                   h.data(), last.data());
    trilemma_mlgru_gradient(kThreads, batch, time, channels, 0, i.data(), f.data(), h.data(), bound.data(), pads.data(),
                            initial.data(), i.data(), last.data(), d_i.data(), d_f.data(), d_bound.data(),
                            d_initial.data());
    std::vector<double> expected(size);
    for (int64_t b = 0; b < batch; ++b) {
        for (int64_t c = 0; c < channels; ++c) {
            double state = initial[b * channels + c];
            for (int64_t t = 0; t < time; ++t) {
                const int64_t at = (b * time + t) * channels + c;
                const double forget = bound[c] + (1.0 - bound[c]) / (1 + std::exp(-f[at]));
                if (pads[b * time + t] == 0) state = forget * state + (1 - forget) * i[at] / (1 + std::exp(-i[at]));
                expected[at] = state;
            }
        }
    }
    require(near(h, expected), "MLGRU");
    std::vector<float> y(size), both(2 * size), d_both(2 * size);
    trilemma_glu(kThreads, batch * time, channels, 2 * channels, 0, both.data(), both.data() + channels, y.data());
    trilemma_glu_gradient(kThreads, batch * time, channels, 2 * channels, 0, both.data(), both.data() + channels, y.data(),
                          d_both.data(), d_both.data() + channels);
}

void attention(int64_t batch, int64_t heads, int64_t kv_heads, int64_t size, int64_t length) {
    const auto q = draw(batch * heads * size), k = draw(batch * kv_heads * length * size);
    const std::vector<uint8_t> mask(length, 1);
    const int64_t shape[] = {batch, heads, kv_heads, size, length};
    const int64_t strides[] = {kv_heads * length * size, length * size, size};
    std::vector<float> out(batch * heads * size);
    trilemma_attention_step(kThreads, shape, 0, q.data(), k.data(), strides, k.data(), strides, mask.data(), 0, 0.125f,
                            out.data());
    for (float value : out) require(std::fabs(value) <= 1.001f, "attention");
    const int64_t rotated[] = {batch, 1, heads, size};
    const auto cos = draw(size / 2), sin = draw(size / 2);
    trilemma_rotate(kThreads, rotated, 1, 0, q.data(), cos.data(), sin.data(), 1.0f, out.data());
}

void step(int64_t tokens, int64_t D, int64_t width) {
    const auto norm = draw(D > width ? D : width);
    const auto weight = [&](int64_t rows, int64_t channels) {
        std::vector<uint8_t> packed(rows * ((channels + 255) / 256) * 64);
        for (uint8_t& byte : packed) byte = 0x98;
        return packed;
    };
    const auto square = weight(D, D), gate = weight(2 * width, D), down = weight(D, width);
    const auto layer_of = [&](const std::vector<uint8_t>& packed, int64_t rows, int64_t channels) {
        return trilemma::BitLinear{packed.data(), norm.data(), rows, channels, 1e-6, 0.1f};
    };
    const auto s = layer_of(square, D, D);
    const trilemma::MatMulFreeLayer layers[] = {
        {norm.data(), norm.data(), norm.data(), nullptr, s, s, s, s, layer_of(gate, 2 * width, D),
         layer_of(down, D, width), 1e-6},
        {norm.data(), norm.data(), norm.data(), norm.data(), s, s, s, s, layer_of(gate, 2 * width, D),
         layer_of(down, D, width), 1e-6}};
    auto hidden = draw(tokens * D), first = draw(tokens * D), second = draw(tokens * D);
    float* states[] = {first.data(), second.data()};
    trilemma_matmul_free_step(kThreads, layers, 2, tokens, hidden.data(), states);
    for (float value : hidden) require(std::isfinite(value), "decoding step");
}

void dense_steps(int64_t batch, int64_t width, int64_t heads, int64_t size, int64_t mlp_width) {
    const auto weight = draw(width * (mlp_width > heads * size ? mlp_width : heads * size) + width);
    const void* w = weight.data();
    const trilemma::DenseMlp mlp{w, w, w, w};
    const trilemma::DenseShape shape{batch, width, mlp_width, trilemma::Type::kFloat32, 1e-6};
    const int64_t room = 4, seen = 2;
    auto keys = draw(batch * heads * room * size), values = draw(batch * heads * room * size);
    const trilemma::AttentionLayer attention{w, w, w, w, w, keys.data(), values.data(), {heads * room * size, room * size, size},
                                             {heads * room * size, room * size, size}, mlp};
    const auto cos = draw(size), sin = draw(size);
    const std::vector<uint8_t> mask(seen + 1, 1);
    const trilemma::AttentionShape of_attention{heads, heads, size, seen, 1, cos.data(), sin.data(), mask.data(), 0};
    auto hidden = draw(batch * width);
    trilemma_transformer_step(kThreads, &attention, 1, &shape, &of_attention, hidden.data());
    for (float value : hidden) require(std::isfinite(value), "Transformer++ step");
    auto state = draw(batch * heads * size * size);
    const trilemma::GlaLayer gated{w, w, w, w, w, w, w, w, w, w, state.data(), mlp};
    const trilemma::GlaShape of_gla{heads, size, size, 3, 16.0f};
    trilemma_gla_model_step(kThreads, &gated, 1, &shape, &of_gla, hidden.data());
    for (float value : hidden) require(std::isfinite(value), "GLA step");
}

// Short loops of changing sizes, one upon the other, with more threads than there are processors: every part of
// every loop runs once, and with the loop's own sizes.
void loops() {
    constexpr int64_t kMost = 40;
    std::atomic<int64_t> runs[kMost];
    trilemma::set_threads(8);
    for (int64_t round = 0; round < 100000; ++round) {
        const int64_t count = 1 + round * 7 % kMost;
        for (auto& run : runs) run.store(0, std::memory_order_relaxed);
        trilemma::parallel(count, 1, [&](int64_t begin, int64_t end) {
            require(0 <= begin && begin < end && end <= count, "part of a loop");
            for (int64_t i = begin; i < end; ++i) runs[i].fetch_add(1, std::memory_order_relaxed);
        });
        for (int64_t i = 0; i < kMost; ++i) require(runs[i].load() == (i < count ? 1 : 0), "runs of a part");
    }
}

}  // namespace

int main() {
    loops();
    for (int32_t index = 0; const char* path = trilemma_path(index); ++index) {
        require(trilemma_use(path) == 0, path);
        for (int64_t channels : {1, 255, 256, 700}) {
            for (int64_t tokens : {0, 1, 2, 5}) {
                for (int64_t rows : {0, 1, 67}) ternary(tokens, channels, rows);
            }
        }
        for (int64_t channels : {1, 7, 64, 1025}) {
            for (int64_t time : {0, 1, 5}) scan(2, time, channels);
            for (int64_t time : {1, 6}) mlgru(2, time, channels);
        }
        for (float strength : {0.1f, 20.0f}) {
            gla(1, 1, 1, 1, 1, strength);
            gla(2, 37, 3, 5, 33, strength);
            gla(1, 300, 1, 16, 17, strength);
            gla(1, 70, 1, 130, 260, strength);
        }
        for (int64_t channels : {1, 31, 200}) {
            for (int64_t tokens : {1, 3, 6}) dense(tokens, channels, 19);
            norm(7, channels);
        }
        norm(0, 3);
        attention(2, 4, 2, 6, 9);
        attention(1, 3, 3, 66, 130);
        step(1, 64, 48);
        step(3, 300, 257);
        dense_steps(1, 24, 3, 8, 40);
        dense_steps(3, 17, 1, 6, 5);
        std::printf("%s: right\n", path);
    }
    return 0;
}
