// One token through all layers of Transformer++ or of gated linear attention, in one call. Every operator rounds its
// result to the model's type, as the modules do that this stands for.
#include "dense_step.h"

#include <initializer_list>
#include <vector>

#include "floats.h"
#include "parallel.h"

namespace trilemma {
namespace {

constexpr int64_t kRows = 16;

template <typename T>
struct Product {
    const void* weight;
    int64_t rows;
    T* out;  // [batch, rows]
};

template <typename T>
class Step {
   public:
    explicit Step(const DenseShape& shape)
        : shape_(shape),
          normed_(shape.batch * shape.width),
          delta_(shape.batch * shape.width),
          gate_(shape.batch * shape.mlp_width),
          up_(shape.batch * shape.mlp_width),
          gated_(shape.batch * shape.mlp_width) {}

    // Normed rows [batch, width].
    const T* norm(const T* hidden, const void* weight) {
        norm_rows(hidden, nullptr, weight, shape_.batch, shape_.width, normed_.data());
        return normed_.data();
    }

    void norm_rows(const T* x, const T* gate, const void* weight, int64_t rows, int64_t channels, T* y) {
        weight_.resize(channels);
        for (int64_t c = 0; c < channels; ++c) weight_[c] = to_float(static_cast<const T*>(weight)[c]);
        const Type type = shape_.type;
        const Norm work{channels, {x, type}, {gate, type}, weight_.data(), shape_.eps, {y, type}, nullptr};
        kernels().norm(work, 0, rows);
    }

    // Products with one input [batch, channels] as one loop over all their rows.
    void multiply(const T* x, int64_t channels, std::initializer_list<Product<T>> products) {
        const float* values = floats(x, channels);
        int64_t all = 0;
        for (const Product<T>& product : products) all += product.rows;
        parallel(all, kRows, [&](int64_t begin, int64_t end) {
            int64_t offset = 0;
            for (const Product<T>& product : products) {
                const int64_t first = begin > offset ? begin - offset : 0;
                const int64_t last = end - offset < product.rows ? end - offset : product.rows;
                const Dense work{{product.weight, shape_.type}, product.rows, channels, shape_.batch, values, product.out};
                if (first < last) kernels().dense(work, first, last);
                offset += product.rows;
            }
        });
    }

    // hidden += x times a weight [width, channels]
    void add_product(const T* x, int64_t channels, const void* weight, T* hidden) {
        multiply(x, channels, {{weight, shape_.width, delta_.data()}});
        for (int64_t c = 0; c < shape_.batch * shape_.width; ++c) {
            from_float(to_float(hidden[c]) + to_float(delta_[c]), hidden + c);
        }
    }

    void mlp(const DenseMlp& mlp, T* hidden) {
        const int64_t width = shape_.mlp_width;
        multiply(norm(hidden, mlp.norm), shape_.width, {{mlp.gate, width, gate_.data()}, {mlp.up, width, up_.data()}});
        const Type type = shape_.type;
        kernels().glu_rows({width, width, {gate_.data(), type}, {up_.data(), type}, {gated_.data(), type}}, 0, shape_.batch);
        add_product(gated_.data(), width, mlp.down, hidden);
    }

   private:
    const float* floats(const float* x, int64_t) { return x; }

    const float* floats(const uint16_t* x, int64_t channels) {
        split_.resize(shape_.batch * channels);
        for (int64_t t = 0; t < shape_.batch; ++t) kernels().split(x + t * channels, channels, split_.data() + t * channels);
        return split_.data();
    }

    const DenseShape& shape_;
    std::vector<T> normed_, delta_, gate_, up_, gated_;
    std::vector<float> weight_, split_;
};

template <typename T>
void transformer(const AttentionLayer* layers, int64_t count, const DenseShape& shape, const AttentionShape& a, T* hidden) {
    const int64_t q_width = a.heads * a.size, kv_width = a.kv_heads * a.size;
    const Type type = shape.type;
    Step<T> step(shape);
    std::vector<T> q(shape.batch * q_width), k(shape.batch * kv_width), v(shape.batch * kv_width);
    std::vector<T> turned(shape.batch * q_width), turned_k(shape.batch * kv_width);
    const auto rotate = [&](const std::vector<T>& from, int64_t heads, std::vector<T>& to) {
        // One step a sequence: the angles of sequence b are at b, or at 0 for all.
        kernels().rotate({1, heads, a.size, a.angle_batch, {from.data(), type}, a.cos, a.sin, 1.0f, {to.data(), type}}, 0,
                         shape.batch);
    };
    const auto keep = [&](const std::vector<T>& from, void* cache, const int64_t* strides) {
        for (int64_t b = 0; b < shape.batch; ++b) {
            for (int64_t h = 0; h < a.kv_heads; ++h) {
                T* to = static_cast<T*>(cache) + b * strides[0] + h * strides[1] + a.seen * strides[2];
                const T* row = from.data() + (b * a.kv_heads + h) * a.size;
                for (int64_t c = 0; c < a.size; ++c) to[c] = row[c];
            }
        }
    };
    for (int64_t l = 0; l < count; ++l) {
        const AttentionLayer& layer = layers[l];
        step.multiply(step.norm(hidden, layer.norm), shape.width,
                      {{layer.q, q_width, q.data()}, {layer.k, kv_width, k.data()}, {layer.v, kv_width, v.data()}});
        rotate(q, a.heads, turned);
        rotate(k, a.kv_heads, turned_k);
        keep(turned_k, layer.keys, layer.key_strides);
        keep(v, layer.values, layer.value_strides);
        const AttentionStep attention{a.heads,
                                      a.kv_heads,
                                      a.size,
                                      a.seen + 1,
                                      {turned.data(), type},
                                      {layer.keys, type},
                                      {layer.values, type},
                                      layer.key_strides,
                                      layer.value_strides,
                                      a.mask,
                                      a.mask_stride,
                                      static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(a.size))),
                                      {q.data(), type}};
        parallel(shape.batch * a.heads, 1,
                 [&](int64_t begin, int64_t end) { kernels().attention_step(attention, begin, end); });
        step.add_product(q.data(), q_width, layer.o, hidden);
        step.mlp(layer.mlp, hidden);
    }
}

template <typename T>
void gated(const GlaLayer* layers, int64_t count, const DenseShape& shape, const GlaShape& g, T* hidden) {
    const int64_t B = shape.batch, K = g.heads * g.key, V = g.heads * g.value;
    const Type type = shape.type;
    Step<T> step(shape);
    std::vector<T> q(B * K), k(B * K), v(B * V), low(B * g.gate_rank), logits(B * K), out_gate(B * V), read(B * V), out(B * V);
    std::vector<float> gates(B * K);
    for (int64_t l = 0; l < count; ++l) {
        const GlaLayer& layer = layers[l];
        step.multiply(step.norm(hidden, layer.norm), shape.width,
                      {{layer.q, K, q.data()},
                       {layer.k, K, k.data()},
                       {layer.v, V, v.data()},
                       {layer.gate_down, g.gate_rank, low.data()},
                       {layer.out_gate, V, out_gate.data()}});
        step.multiply(low.data(), g.gate_rank, {{layer.gate_up, K, logits.data()}});
        for (int64_t b = 0; b < B; ++b) {
            for (int64_t c = 0; c < K; ++c) {
                T* logit = logits.data() + b * K + c;
                from_float(to_float(*logit) + to_float(static_cast<const T*>(layer.gate_bias)[c]), logit);
            }
        }
        kernels().log_sigmoid({logits.data(), type}, B * K, g.gate_divisor, gates.data());
        const GlaStep work{g.key,
                           g.value,
                           {q.data(), type},
                           {k.data(), type},
                           {v.data(), type},
                           {gates.data(), Type::kFloat32},
                           static_cast<float>(1.0 / __builtin_sqrt(static_cast<double>(g.key))),
                           layer.state,
                           {read.data(), type}};
        parallel(B * g.heads, 1, [&](int64_t begin, int64_t end) { kernels().gla_step(work, begin, end); });
        step.norm_rows(read.data(), out_gate.data(), layer.out_norm, B * g.heads, g.value, out.data());
        step.add_product(out.data(), V, layer.o, hidden);
        step.mlp(layer.mlp, hidden);
    }
}

}  // namespace

void transformer_step(const AttentionLayer* layers, int64_t count, const DenseShape& shape, const AttentionShape& attention,
                      void* hidden) {
    if (shape.type == Type::kFloat32) {
        transformer(layers, count, shape, attention, static_cast<float*>(hidden));
    } else {
        transformer(layers, count, shape, attention, static_cast<uint16_t*>(hidden));
    }
}

void gla_model_step(const GlaLayer* layers, int64_t count, const DenseShape& shape, const GlaShape& gla, void* hidden) {
    if (shape.type == Type::kFloat32) {
        gated(layers, count, shape, gla, static_cast<float*>(hidden));
    } else {
        gated(layers, count, shape, gla, static_cast<uint16_t*>(hidden));
    }
}

}  // namespace trilemma
