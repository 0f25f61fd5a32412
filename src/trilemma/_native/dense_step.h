// One decoding step of the models with dense weights, Transformer++ and gated linear attention.
#pragma once
#include "kernels.h"

namespace trilemma {

// Weights are of one type, [out, in]; laid out as trilemma.ops.decoding.dense_step fills them in.
struct DenseMlp {
    const void *norm, *gate, *up, *down;
};

struct AttentionLayer {
    const void *norm, *q, *k, *v, *o;
    void *keys, *values;                       // of the cache, where the first cached step of the first sequence stands
    int64_t key_strides[3], value_strides[3];  // elements between sequences, heads and steps
    DenseMlp mlp;
};

struct GlaLayer {
    const void *norm, *q, *k, *v, *gate_down, *gate_up, *gate_bias, *out_gate, *out_norm, *o;
    float* state;  // [batch, heads, key, value], updated in place
    DenseMlp mlp;
};

struct DenseShape {
    int64_t batch, width, mlp_width;
    Type type;
    double eps;  // of the norms
};

// Rotary angles are [angle_batch, size / 2]; the mask is as attention_step's.
struct AttentionShape {
    int64_t heads, kv_heads, size, seen, angle_batch;
    const float *cos, *sin;
    const uint8_t* mask;
    int64_t mask_stride;
};

struct GlaShape {
    int64_t heads, key, value, gate_rank;
    float gate_divisor;
};

// hidden [batch, width] goes through all layers.
void transformer_step(const AttentionLayer* layers, int64_t count, const DenseShape& shape, const AttentionShape& attention,
                      void* hidden);
void gla_model_step(const GlaLayer* layers, int64_t count, const DenseShape& shape, const GlaShape& gla, void* hidden);

}  // namespace trilemma
