// x86 with AVX-512 and its VNNI (Ice Lake, Zen 4 and later).
#include <immintrin.h>

#include "path.h"

namespace trilemma {
namespace {

struct Vector {
    static constexpr int kBytes = 64;
    static constexpr int kTileRows = 4;
    static constexpr int64_t kBlocksInPart = kAllBlocks;
    using Bytes = __m512i;
    using Sums = __m512i;
    static Sums zero() { return _mm512_setzero_si512(); }
    static Bytes load(const void* from) { return _mm512_loadu_si512(from); }
    static Bytes codes(Bytes packed, int pair) {
        return _mm512_and_si512(_mm512_srli_epi16(packed, 2 * pair), _mm512_set1_epi8(3));
    }
    static Sums dot(Sums sums, Bytes codes, Bytes levels) { return _mm512_dpbusd_epi32(sums, codes, levels); }
    static Sums sum(Sums sums, Sums part) { return _mm512_add_epi32(sums, part); }
    static int32_t total(Sums sums) { return _mm512_reduce_add_epi32(sums); }
};

// One token is bound by reading the weights. Bit pairs stay where they are, as codes times 1, 4, 16 and 64, and
// the four sums are shifted once, at the end of a row.
void one_token(const Ternary& weight, const Levels& x, int64_t begin, int64_t end, float* out, bool add) {
    const int64_t row_bytes = weight.blocks * kBlockBytes;
    const __m512i mask = _mm512_set1_epi8(3);
    const __m512i mask4 = _mm512_slli_epi16(mask, 2), mask16 = _mm512_slli_epi16(mask, 4);
    const __m512i mask64 = _mm512_slli_epi16(mask, 6);
    const float scale = x.steps[0] * weight.scale;
    for (int64_t row = begin; row < end; ++row) {
        const uint8_t* packed = weight.packed + row * row_bytes;
        const int8_t* levels = x.levels;
        __m512i sum = _mm512_setzero_si512(), sum4 = sum, sum16 = sum, sum64 = sum;
        // Fewer instructions a block: the processor then looks further ahead in memory, which is all the time there is.
#pragma GCC unroll 4
        for (int64_t block = 0; block < weight.blocks; ++block) {
            fetch_ahead(packed);
            const __m512i bytes = _mm512_loadu_si512(packed);
            sum = _mm512_dpbusd_epi32(sum, _mm512_and_si512(bytes, mask), _mm512_loadu_si512(levels));
            sum4 = _mm512_dpbusd_epi32(sum4, _mm512_and_si512(bytes, mask4), _mm512_loadu_si512(levels + 64));
            sum16 = _mm512_dpbusd_epi32(sum16, _mm512_and_si512(bytes, mask16), _mm512_loadu_si512(levels + 128));
            sum64 = _mm512_dpbusd_epi32(sum64, _mm512_and_si512(bytes, mask64), _mm512_loadu_si512(levels + 192));
            packed += kBlockBytes;
            levels += kBlock;
        }
        sum = _mm512_add_epi32(sum, _mm512_srai_epi32(sum4, 2));
        sum16 = _mm512_add_epi32(_mm512_srai_epi32(sum16, 4), _mm512_srai_epi32(sum64, 6));
        const int32_t total = _mm512_reduce_add_epi32(_mm512_add_epi32(sum, sum16)) - x.sums[0];
        const float value = static_cast<float>(total) * scale;
        out[row] = add ? out[row] + value : value;
    }
}

void product(const Ternary& weight, const Levels& x, int64_t tokens, int64_t begin, int64_t end, float* out,
             int64_t stride, bool add) {
    if (tokens == 1) return one_token(weight, x, begin, end, out, add);
    ternary_product<Vector>(weight, x, tokens, begin, end, out, stride, add);
}

}  // namespace

const Kernels kAvx512 = table("avx512", product);

}  // namespace trilemma
