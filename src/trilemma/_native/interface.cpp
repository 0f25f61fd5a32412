// The C interface that Python calls. Sizes and types were checked there.
#include <cstring>
#include <vector>

#include "decode.h"
#include "dense_step.h"
#include "kernels.h"
#include "parallel.h"

namespace trilemma {
namespace {

// Best first.
std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> paths;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni")) {
        paths.push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) paths.push_back(&kAvx2);
#elif defined(__aarch64__)
    paths.push_back(&kNeon);
#endif
    paths.push_back(&kPortable);
    return paths;
}

const Kernels*& chosen() {
    static const Kernels* table = runnable().front();
    return table;
}

// Weight rows that one part of a product is a multiple of: whole tiles.
constexpr int64_t kRows = 16;

// Channels of a scan that one thread takes at least: 256 bytes of a row.
constexpr int64_t kStripOfThread = 64;

// Rows that are work enough for a thread: some thousand elements.
int64_t grain(int64_t channels) { return 1 + 4096 / (channels + 1); }

Gla gla_inputs(const int64_t* shape, Type type, Type gate, const void* q, const void* k, const void* v, const void* g,
               const int64_t* lengths, const float* initial, float scale) {
    return {shape[1], shape[2], shape[3], shape[4], {q, type}, {k, type}, {v, type}, {g, gate}, lengths, initial, scale};
}

}  // namespace

const Kernels& kernels() { return *chosen(); }

}  // namespace trilemma

using namespace trilemma;

#define EXPORTED __attribute__((visibility("default")))

extern "C" {

// Version of this interface; Python refuses another one.
EXPORTED int32_t trilemma_version() { return 3; }

// Name of path number `index`, best first; null behind the last.
EXPORTED const char* trilemma_path(int32_t index) {
    const auto paths = runnable();
    return index < static_cast<int32_t>(paths.size()) ? paths[index]->name : nullptr;
}

// Use the path of that name from now on; 0 if this processor can, else 1.
EXPORTED int32_t trilemma_use(const char* name) {
    for (const Kernels* path : runnable()) {
        if (std::strcmp(path->name, name) == 0) {
            chosen() = path;
            return 0;
        }
    }
    return 1;
}

EXPORTED void trilemma_quantize(int32_t threads, const void* x, int32_t type, int64_t tokens, int64_t channels,
                       const float* norm, double eps, int8_t* levels, int64_t stride, int32_t* sums,
                       float* steps, float* inverse_rms) {
    set_threads(threads);
    const Levels out{levels, sums, steps, stride};
    const Quantization work{{x, static_cast<Type>(type)}, norm, eps, channels, out, inverse_rms};
    parallel(tokens, 1, [&](int64_t begin, int64_t end) { kernels().quantize(work, begin, end); });
}

// out[tokens, rows]
EXPORTED void trilemma_ternary(int32_t threads, const uint8_t* packed, int64_t rows, int64_t blocks, float scale,
                      const int8_t* levels, const int32_t* sums, const float* steps, int64_t tokens, float* out) {
    set_threads(threads);
    const Ternary weight{packed, blocks, scale};
    const Levels x{const_cast<int8_t*>(levels), const_cast<int32_t*>(sums), const_cast<float*>(steps),
                   blocks * kBlock};
    parallel(rows, kRows, [&](int64_t begin, int64_t end) {
        kernels().ternary(weight, x, tokens, begin, end, out, rows, false);
    });
}

// out[tokens, rows]
EXPORTED void trilemma_dense(int32_t threads, int32_t type, const void* weight, int64_t rows, int64_t channels,
                             const void* x, int64_t tokens, void* out) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const float* floats = static_cast<const float*>(x);
    std::vector<float> widened;
    if (t == Type::kBFloat16) {
        const uint16_t* narrow = static_cast<const uint16_t*>(x);
        widened.resize(tokens * channels);
        for (int64_t i = 0; i < tokens * channels; i += channels) {
            kernels().split(narrow + i, channels, widened.data() + i);
        }
        floats = widened.data();
    }
    const Dense work{{weight, t}, rows, channels, tokens, floats, out};
    parallel(rows, kRows, [&](int64_t begin, int64_t end) { kernels().dense(work, begin, end); });
}

// gate may be null
EXPORTED void trilemma_norm(int32_t threads, int64_t rows, int64_t channels, int32_t type, const void* x,
                            const void* gate, const float* weight, double eps, void* y, float* inverse_rms) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const Norm work{channels, {x, t}, {gate, t}, weight, eps, {y, t}, inverse_rms};
    parallel(rows, grain(channels), [&](int64_t begin, int64_t end) { kernels().norm(work, begin, end); });
}

// d_weight[blocks of rows, channels], to be summed; gate and d_gate may be null
EXPORTED void trilemma_norm_gradient(int32_t threads, int64_t rows, int64_t channels, int64_t block, int32_t type,
                                     const void* x, const void* gate, const float* weight, const float* inverse_rms,
                                     const void* d_y, void* d_x, void* d_gate, float* d_weight) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const NormGradient work{rows,        channels, block,    {x, t},      {gate, t}, weight,
                            inverse_rms, {d_y, t}, {d_x, t}, {d_gate, t}, d_weight};
    parallel((rows + block - 1) / block, 1,
             [&](int64_t begin, int64_t end) { kernels().norm_gradient(work, begin, end); });
}

EXPORTED void trilemma_mlgru(int32_t threads, int64_t batch, int64_t time, int64_t channels, int32_t type, const void* i,
                             const void* f, const float* lower_bound, const uint8_t* pads, const float* initial,
                             void* h, float* final_state) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const MlGru work{time, channels, {i, t}, {f, t}, lower_bound, pads, initial, {h, t}, final_state};
    parallel(batch * channels, kStripOfThread,
             [&](int64_t begin, int64_t end) { kernels().mlgru_scan(work, begin, end); });
}

EXPORTED void trilemma_mlgru_gradient(int32_t threads, int64_t batch, int64_t time, int64_t channels, int32_t type,
                                      const void* i, const void* f, const void* h, const float* lower_bound,
                                      const uint8_t* pads, const float* initial, const void* d_h, const float* d_final,
                                      void* d_i, void* d_f, float* d_bound, float* d_initial) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const MlGruGradient work{time, channels, {i, t}, {f, t},  {h, t},   lower_bound, pads,     initial,
                             {d_h, t}, d_final, {d_i, t}, {d_f, t}, d_bound, d_initial};
    parallel(batch * channels, kStripOfThread,
             [&](int64_t begin, int64_t end) { kernels().mlgru_gradient(work, begin, end); });
}

EXPORTED void trilemma_glu(int32_t threads, int64_t rows, int64_t channels, int64_t stride, int32_t type,
                           const void* gate, const void* up, void* y) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const Glu work{channels, stride, {gate, t}, {up, t}, {y, t}};
    parallel(rows, grain(channels), [&](int64_t begin, int64_t end) { kernels().glu_rows(work, begin, end); });
}

EXPORTED void trilemma_glu_gradient(int32_t threads, int64_t rows, int64_t channels, int64_t stride, int32_t type,
                                    const void* gate, const void* up, const void* d_y, void* d_gate, void* d_up) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const GluGradient work{channels, stride, {gate, t}, {up, t}, {d_y, t}, {d_gate, t}, {d_up, t}};
    parallel(rows, grain(channels), [&](int64_t begin, int64_t end) { kernels().glu_gradient(work, begin, end); });
}

// shape: [batch, time, heads, size]
EXPORTED void trilemma_rotate(int32_t threads, const int64_t* shape, int64_t angle_batch, int32_t type, const void* x,
                              const float* cos, const float* sin, float direction, void* y) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const Rotation work{shape[1], shape[2], shape[3], angle_batch, {x, t}, cos, sin, direction, {y, t}};
    parallel(shape[0] * shape[1], grain(shape[2] * shape[3]),
             [&](int64_t begin, int64_t end) { kernels().rotate(work, begin, end); });
}

// shape: [batch, heads, kv_heads, size, length]
EXPORTED void trilemma_attention_step(int32_t threads, const int64_t* shape, int32_t type, const void* q, const void* k,
                                      const int64_t* k_strides, const void* v, const int64_t* v_strides,
                                      const uint8_t* mask, int64_t mask_stride, float scale, void* out) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const AttentionStep work{shape[1], shape[2], shape[3], shape[4], {q, t}, {k, t}, {v, t}, k_strides, v_strides,
                             mask, mask_stride, scale, {out, t}};
    parallel(shape[0] * shape[1], 1, [&](int64_t begin, int64_t end) { kernels().attention_step(work, begin, end); });
}

// hidden [tokens, D] in and out; states[count] of [tokens, D]
EXPORTED void trilemma_matmul_free_step(int32_t threads, const void* layers, int64_t count, int64_t tokens,
                                        float* hidden, float* const* states) {
    set_threads(threads);
    matmul_free_step(static_cast<const MatMulFreeLayer*>(layers), count, tokens, hidden, states);
}

// hidden [batch, width] in and out
EXPORTED void trilemma_transformer_step(int32_t threads, const void* layers, int64_t count, const void* shape,
                                        const void* attention, void* hidden) {
    set_threads(threads);
    transformer_step(static_cast<const AttentionLayer*>(layers), count, *static_cast<const DenseShape*>(shape),
                     *static_cast<const AttentionShape*>(attention), hidden);
}

EXPORTED void trilemma_gla_model_step(int32_t threads, const void* layers, int64_t count, const void* shape,
                                      const void* gla, void* hidden) {
    set_threads(threads);
    gla_model_step(static_cast<const GlaLayer*>(layers), count, *static_cast<const DenseShape*>(shape),
                   *static_cast<const GlaShape*>(gla), hidden);
}

EXPORTED void trilemma_scan(int32_t threads, int64_t batch, int64_t time, int64_t channels, int32_t type, const void* x,
                            const void* f, const float* initial, void* h, float* final_state) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const Scan work{time, channels, {x, t}, {f, t}, initial, {h, t}, final_state};
    parallel(batch * channels, kStripOfThread, [&](int64_t begin, int64_t end) { kernels().scan(work, begin, end); });
}

EXPORTED void trilemma_scan_gradient(int32_t threads, int64_t batch, int64_t time, int64_t channels, int32_t type,
                                     const void* f, const void* h, const void* d_h, const float* initial,
                                     const float* d_final, void* d_x, void* d_f, float* d_initial) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const ScanGradient work{time, channels, {f, t}, {h, t}, {d_h, t}, initial, d_final, {d_x, t}, {d_f, t}, d_initial};
    parallel(batch * channels, kStripOfThread,
             [&](int64_t begin, int64_t end) { kernels().scan_gradient(work, begin, end); });
}

EXPORTED int64_t trilemma_gla_segment(int64_t key, int64_t value) { return gla_segment(key, value); }

// Shapes: [batch, time, heads, key, value]. Types: of q, k, v and the output, and of g.
EXPORTED void trilemma_gla(int32_t threads, const int64_t* shape, int32_t type, int32_t gate_type, const void* q,
                           const void* k, const void* v, const void* g, const int64_t* lengths, const float* initial,
                           float scale, void* out, float* final_state, float* kept) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const GlaForward work{gla_inputs(shape, t, static_cast<Type>(gate_type), q, k, v, g, lengths, initial, scale),
                          {out, t},
                          final_state,
                          kept};
    parallel(shape[0] * shape[2], 1, [&](int64_t begin, int64_t end) { kernels().gla(work, begin, end); });
}

EXPORTED void trilemma_gla_gradient(int32_t threads, const int64_t* shape, int32_t type, int32_t gate_type,
                                    const void* q, const void* k, const void* v, const void* g, const int64_t* lengths,
                                    float scale, const void* d_out, const float* d_final, const float* kept, void* d_q,
                                    void* d_k, void* d_v, void* d_g, float* d_initial) {
    set_threads(threads);
    const Type t = static_cast<Type>(type), gate = static_cast<Type>(gate_type);
    const GlaGradient work{gla_inputs(shape, t, gate, q, k, v, g, lengths, nullptr, scale),
                           {d_out, t}, d_final, kept, {d_q, t}, {d_k, t}, {d_v, t}, {d_g, gate}, d_initial};
    parallel(shape[0] * shape[2], 1, [&](int64_t begin, int64_t end) { kernels().gla_gradient(work, begin, end); });
}

EXPORTED void trilemma_gla_step(int32_t threads, int64_t heads, int64_t key, int64_t value, int32_t type,
                                int32_t gate_type, const void* q, const void* k, const void* v, const void* g,
                                float scale, float* state, void* out) {
    set_threads(threads);
    const Type t = static_cast<Type>(type);
    const GlaStep work{key, value, {q, t}, {k, t}, {v, t}, {g, static_cast<Type>(gate_type)}, scale, state, {out, t}};
    parallel(heads, 1, [&](int64_t begin, int64_t end) { kernels().gla_step(work, begin, end); });
}

}  // extern "C"
