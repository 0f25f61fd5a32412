// One decoding step of a packed MatMul-Free model.
#pragma once
#include "kernels.h"

namespace trilemma {

// Laid out as trilemma.models.packed_ternary fills them in.
struct BitLinear {
    const uint8_t* packed;
    const float* norm;
    int64_t rows, channels;
    double eps;
    float scale;
};

struct MatMulFreeLayer {
    const float* attn_norm;
    const float* g_norm;
    const float* mlp_norm;
    const float* lower_bound;  // or null
    BitLinear i, f, g, o, gate, down;
    double eps;
};

// hidden [tokens, D] goes through all layers; states[layer] [tokens, D] are updated.
void matmul_free_step(const MatMulFreeLayer* layers, int64_t count, int64_t tokens, float* hidden, float* const* states);

}  // namespace trilemma
