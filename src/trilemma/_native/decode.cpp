// One decoding step of a packed MatMul-Free model (Zhu et al. 2024, arXiv 2406.02528) in one call: what lies
// between two products takes less time than a call from Python would.
#include "decode.h"

#include <cstring>
#include <vector>

#include "parallel.h"

namespace trilemma {
namespace {

constexpr int64_t kRows = 16;

// Rounded activations of all tokens of the step.
class Rounded {
   public:
    Rounded(int64_t tokens, int64_t most_channels)
        : levels_(tokens * padded(most_channels)), sums_(tokens), steps_(tokens), tokens_(tokens) {}

    static int64_t padded(int64_t channels) { return (channels + kBlock - 1) / kBlock * kBlock; }

    // Norm and rounding as `layer` asks for.
    const Levels& of(const float* x, const BitLinear& layer) {
        view_ = Levels{levels_.data(), sums_.data(), steps_.data(), padded(layer.channels)};
        const Quantization work{{x, Type::kFloat32}, layer.norm, layer.eps, layer.channels, view_, nullptr};
        parallel(tokens_, 1, [&](int64_t begin, int64_t end) { kernels().quantize(work, begin, end); });
        return view_;
    }

   private:
    std::vector<int8_t> levels_;
    std::vector<int32_t> sums_;
    std::vector<float> steps_;
    int64_t tokens_;
    Levels view_{};
};

struct Product {
    const BitLinear* layer;
    const Levels* x;
    float* out;  // [tokens, rows]
};

// Several products as one loop over all their rows.
template <size_t N>
void multiply(const Product (&products)[N], int64_t tokens, bool add) {
    int64_t all = 0;
    for (const Product& product : products) all += product.layer->rows;
    parallel(all, kRows, [&](int64_t begin, int64_t end) {
        int64_t offset = 0;
        for (const Product& product : products) {
            const int64_t rows = product.layer->rows;
            const int64_t first = begin > offset ? begin - offset : 0;
            const int64_t last = end - offset < rows ? end - offset : rows;
            if (first < last) {
                const Ternary weight{product.layer->packed, product.x->stride / kBlock, product.layer->scale};
                kernels().ternary(weight, *product.x, tokens, first, last, product.out, rows, add);
            }
            offset += rows;
        }
    });
}

}  // namespace

void matmul_free_step(const MatMulFreeLayer* layers, int64_t count, int64_t tokens, float* hidden, float* const* states) {
    const int64_t D = layers[0].i.channels, width = layers[0].down.channels;
    const int64_t widest = D > width ? D : width;
    Rounded rounded(tokens, widest), rounded_f(tokens, D), rounded_g(tokens, D);
    std::vector<float> normed(tokens * D), i(tokens * D), f(tokens * D), g(tokens * D), mixed(tokens * widest);
    std::vector<float> both(tokens * 2 * width);
    const auto norm = [&](const float* weight, double eps) {
        for (int64_t t = 0; t < tokens; ++t) kernels().rms_norm(hidden + t * D, weight, eps, D, normed.data() + t * D);
    };
    for (int64_t l = 0; l < count; ++l) {
        const MatMulFreeLayer& layer = layers[l];
        norm(layer.attn_norm, layer.eps);
        const Levels& x_i = rounded.of(normed.data(), layer.i);
        const Levels& x_f = rounded_f.of(normed.data(), layer.f);
        const Levels& x_g = rounded_g.of(normed.data(), layer.g);
        multiply({Product{&layer.i, &x_i, i.data()}, Product{&layer.f, &x_f, f.data()}, Product{&layer.g, &x_g, g.data()}},
                 tokens, false);
        for (int64_t t = 0; t < tokens; ++t) {
            kernels().mlgru(i.data() + t * D, f.data() + t * D, g.data() + t * D, layer.lower_bound, layer.g_norm,
                            layer.eps, D, states[l] + t * D, mixed.data() + t * D);
        }
        multiply({Product{&layer.o, &rounded.of(mixed.data(), layer.o), hidden}}, tokens, true);
        norm(layer.mlp_norm, layer.eps);
        multiply({Product{&layer.gate, &rounded.of(normed.data(), layer.gate), both.data()}}, tokens, false);
        for (int64_t t = 0; t < tokens; ++t) {
            const float* gate = both.data() + t * 2 * width;
            kernels().glu(gate, gate + width, width, mixed.data() + t * width);
        }
        multiply({Product{&layer.down, &rounded.of(mixed.data(), layer.down), hidden}}, tokens, true);
    }
}

}  // namespace trilemma
