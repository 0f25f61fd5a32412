// What every instruction set offers. One table of functions is chosen when the library is loaded.
//
// All functions work on a range of rows, channels or sequences that one thread was given; sizes may be any.
#pragma once
#include <cstdint>

namespace trilemma {

// Element types of what comes from outside.
enum class Type : int32_t { kFloat32 = 0, kBFloat16 = 1 };

struct Values {
    const void* data;
    Type type;
};

struct MutableValues {
    void* data;
    Type type;
};

// Ternary weights are packed by rows in blocks of 256: 64 bytes, of which byte j holds the weights j, 64 + j,
// 128 + j and 192 + j of the block in its bit pairs, from the lowest up, as weight + 1. Beyond the channels the
// pairs are 1 (a weight of 0).
constexpr int64_t kBlock = 256;
constexpr int64_t kBlockBytes = kBlock / 4;

struct Ternary {
    const uint8_t* packed;  // [rows, blocks * 64]
    int64_t blocks;
    float scale;
};

// out [tokens, rows] = x [tokens, channels] times a weight [rows, channels] transposed.
struct Dense {
    Values weight;
    int64_t rows, channels, tokens;
    const float* x;  // [tokens, channels], beside a bfloat16 weight as `split` leaves them
    void* out;       // of the weight's type
};

// y = x / rms(x) * weight over rows [rows, channels], times silu(gate) where there is one
struct Norm {
    int64_t channels;
    Values x, gate;  // gate's data may be null
    const float* weight;
    double eps;
    MutableValues y;
    float* inverse_rms;  // [rows], or null
};

struct NormGradient {
    int64_t rows, channels, block;  // rows a block
    Values x, gate;
    const float *weight, *inverse_rms;
    Values d_y;
    MutableValues d_x, d_gate;
    float* d_weight;  // [blocks, channels]
};

// The channel pairs (c, size / 2 + c) of every head turned by angles: x [batch, time, heads, size].
struct Rotation {
    int64_t time, heads, size, angle_batch;  // angles of every sequence, or of one for all
    Values x;
    const float *cos, *sin;  // [angle_batch, time, size / 2]
    float direction;         // 1, or -1 to turn back
    MutableValues y;
};

// One query a sequence, q [batch, heads, size], over cached keys and values of heads / kv_heads query heads each.
struct AttentionStep {
    int64_t heads, kv_heads, size, length;
    Values q, k, v;
    const int64_t *k_strides, *v_strides;  // elements between sequences, heads and steps
    const uint8_t* mask;                   // [batch or 1, length], 0 where not seen, or null
    int64_t mask_stride;                   // between sequences
    float scale;
    MutableValues out;
};

// Activations as 8-bit levels: level * step is the value.
struct Levels {
    int8_t* levels;  // [tokens, stride], -127 to 127, zeros beyond the channels
    int32_t* sums;   // [tokens], of the levels
    float* steps;    // [tokens]
    int64_t stride;  // for products with packed weights: blocks * 256
};

// RMS norm, then rounding to 8 bits by token.
struct Quantization {
    Values x;             // [tokens, channels]
    const float* weight;  // of the norm, [channels]
    double eps;
    int64_t channels;
    Levels out;
    float* inverse_rms;  // [tokens], or null
};

// h_t = f_t h_{t-1} + x_t over [batch, time, channels]
struct Scan {
    int64_t time, channels;
    Values x, f;
    const float* initial;  // [batch, channels], or null
    MutableValues h;
    float* final_state;  // [batch, channels], or null
};

struct ScanGradient {
    int64_t time, channels;
    Values f, h, d_h;      // d_h may be null
    const float* initial;  // [batch, channels], or null
    const float* d_final;  // likewise
    MutableValues d_x, d_f;
    float* d_initial;  // [batch, channels], or null
};

// h_t = f_t h_{t-1} + (1 - f_t) silu(i_t), f_t = b + (1 - b) sigmoid(f_t) over [batch, time, channels]
struct MlGru {
    int64_t time, channels;
    Values i, f;
    const float* lower_bound;  // b [channels], or null for 0
    const uint8_t* pads;       // [batch, time], not 0 where h stays as it is, or null
    const float* initial;      // [batch, channels], or null
    MutableValues h;
    float* final_state;  // [batch, channels], or null
};

struct MlGruGradient {
    int64_t time, channels;
    Values i, f, h;
    const float* lower_bound;
    const uint8_t* pads;
    const float* initial;
    Values d_h;            // data may be null
    const float* d_final;  // or null
    MutableValues d_i, d_f;
    float* d_bound;    // [batch, channels]
    float* d_initial;  // [batch, channels], or null
};

// y = silu(gate) up over rows [rows, channels]; rows of gate and up stand `stride` elements apart.
struct Glu {
    int64_t channels, stride;
    Values gate, up;
    MutableValues y;
};

struct GluGradient {
    int64_t channels, stride;
    Values gate, up, d_y;
    MutableValues d_gate, d_up;  // with the stride of gate and up
};

// Gated linear attention over [batch, time, heads, key or value].
struct Gla {
    int64_t time, heads, key, value;
    Values q, k, v, g;
    const int64_t* lengths;  // steps of every sequence [batch], or null for all
    const float* initial;    // [batch, heads, key, value], or null
    float scale;
};

// Steps between the states that are kept for the gradients: few enough for a segment's inputs to stay in the
// second-level cache, more where a state is as large as the inputs of many steps.
static inline int64_t gla_segment(int64_t key, int64_t value) { return key * value > (32 << 10) ? 1024 : 256; }

struct GlaForward {
    Gla in;
    MutableValues out;
    float* final_state;  // [batch, heads, key, value], or null
    float* kept;         // [batch, heads, segments, key, value], or null
};

struct GlaGradient {
    Gla in;
    Values d_out;          // data may be null
    const float* d_final;  // or null
    const float* kept;
    MutableValues d_q, d_k, d_v, d_g;
    float* d_initial;  // or null
};

// One step: state is updated in place.
struct GlaStep {
    int64_t key, value;
    Values q, k, v, g;  // [batch, heads, key or value]
    float scale;
    float* state;  // [batch, heads, key, value]
    MutableValues out;
};

struct Kernels {
    const char* name;

    // out[token * stride + row] = or += the product, for the rows begin..end of the weight and all tokens
    void (*ternary)(const Ternary&, const Levels&, int64_t tokens, int64_t begin, int64_t end, float* out,
                    int64_t stride, bool add);
    void (*split)(const uint16_t* bfloat16, int64_t channels, float* out);  // even channels before odd ones
    void (*dense)(const Dense&, int64_t begin, int64_t end);  // of the weight's rows
    void (*norm)(const Norm&, int64_t begin, int64_t end);                    // of rows
    void (*norm_gradient)(const NormGradient&, int64_t begin, int64_t end);   // of blocks of rows
    void (*rotate)(const Rotation&, int64_t begin, int64_t end);              // of steps of all sequences
    void (*attention_step)(const AttentionStep&, int64_t begin, int64_t end); // of heads of all sequences
    void (*quantize)(const Quantization&, int64_t begin, int64_t end);

    // Rows of one MatMul-Free decoding step.
    void (*rms_norm)(const float* x, const float* weight, double eps, int64_t channels, float* out);
    // h = f h + (1 - f) silu(i), with f = sigmoid(f) raised to its lower bound (or null); out = normed g * silu(h)
    void (*mlgru)(const float* i, const float* f, const float* g, const float* lower_bound, const float* g_norm,
                  double eps, int64_t channels, float* h, float* out);
    void (*glu)(const float* gate, const float* up, int64_t channels, float* out);
    // out = log(sigmoid(x)) / divisor
    void (*log_sigmoid)(const Values& x, int64_t count, float divisor, float* out);

    // Of channels begin..end, counted through the batch.
    void (*scan)(const Scan&, int64_t begin, int64_t end);
    void (*scan_gradient)(const ScanGradient&, int64_t begin, int64_t end);

    void (*mlgru_scan)(const MlGru&, int64_t begin, int64_t end);
    void (*mlgru_gradient)(const MlGruGradient&, int64_t begin, int64_t end);
    void (*glu_rows)(const Glu&, int64_t begin, int64_t end);  // of rows
    void (*glu_gradient)(const GluGradient&, int64_t begin, int64_t end);

    // Of heads begin..end, counted through the batch.
    void (*gla)(const GlaForward&, int64_t begin, int64_t end);
    void (*gla_gradient)(const GlaGradient&, int64_t begin, int64_t end);
    void (*gla_step)(const GlaStep&, int64_t begin, int64_t end);
};

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvx512;
#elif defined(__aarch64__)
extern const Kernels kNeon;
#endif

// The table in use.
const Kernels& kernels();

}  // namespace trilemma
