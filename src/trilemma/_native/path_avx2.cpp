// x86 with AVX2 and FMA (Haswell, Zen and later).
#include <immintrin.h>

#include "path.h"

namespace trilemma {
namespace {

struct Vector {
    static constexpr int kBytes = 32;
    static constexpr int kTileRows = 2;
    using Bytes = __m256i;
    using Sums = __m256i;
    static Sums zero() { return _mm256_setzero_si256(); }
    static Bytes load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
    static Bytes codes(Bytes packed, int pair) {
        return _mm256_and_si256(_mm256_srli_epi16(packed, 2 * pair), _mm256_set1_epi8(3));
    }
    // Sums of 16 bits, to which a block adds eight times two products of a code of at most 2 and a level.
    static constexpr int64_t kBlocksInPart = 8;
    static_assert(kBlocksInPart * 8 * 2 * 2 * 127 <= 32767);
    static Sums dot(Sums part, Bytes codes, Bytes levels) {
        return _mm256_add_epi16(part, _mm256_maddubs_epi16(codes, levels));
    }
    static Sums sum(Sums sums, Sums part) {
        return _mm256_add_epi32(sums, _mm256_madd_epi16(part, _mm256_set1_epi16(1)));
    }
    static int32_t total(Sums sums) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
        return _mm_cvtsi128_si32(half);
    }
};

// One token has no use for an unpacked weight but one: every second bit pair stays where it is, as a code times 4,
// and its sums are shifted in the end.
void one_token(const Ternary& weight, const Levels& x, int64_t begin, int64_t end, float* out, bool add) {
    constexpr int64_t kBlocksInPart = 4;
    static_assert(kBlocksInPart * 4 * 2 * 8 * 127 <= 32767);
    const int64_t row_bytes = weight.blocks * kBlockBytes;
    const __m256i pair = _mm256_set1_epi8(3), pair_times_4 = _mm256_set1_epi8(12);
    const float scale = x.steps[0] * weight.scale;
    for (int64_t row = begin; row < end; ++row) {
        const uint8_t* packed = weight.packed + row * row_bytes;
        const int8_t* levels = x.levels;
        __m256i sums = _mm256_setzero_si256();
        for (int64_t block = 0; block < weight.blocks;) {
            __m256i part = _mm256_setzero_si256(), part_times_4 = part;
            const int64_t last = block + kBlocksInPart < weight.blocks ? block + kBlocksInPart : weight.blocks;
            for (; block < last; ++block) {
                fetch_ahead(packed);
#pragma GCC unroll 2
                for (int at = 0; at < kBlockBytes; at += Vector::kBytes) {
                    const __m256i low = Vector::load(packed + at), high = _mm256_srli_epi16(low, 4);
                    const auto level = [&](int quarter) { return Vector::load(levels + quarter * kBlockBytes + at); };
                    part = Vector::dot(part, _mm256_and_si256(low, pair), level(0));
                    part_times_4 = Vector::dot(part_times_4, _mm256_and_si256(low, pair_times_4), level(1));
                    part = Vector::dot(part, _mm256_and_si256(high, pair), level(2));
                    part_times_4 = Vector::dot(part_times_4, _mm256_and_si256(high, pair_times_4), level(3));
                }
                packed += kBlockBytes;
                levels += kBlock;
            }
            const __m256i shifted = _mm256_srai_epi32(Vector::sum(_mm256_setzero_si256(), part_times_4), 2);
            sums = _mm256_add_epi32(Vector::sum(sums, part), shifted);
        }
        const float value = static_cast<float>(Vector::total(sums) - x.sums[0]) * scale;
        out[row] = add ? out[row] + value : value;
    }
}

void product(const Ternary& weight, const Levels& x, int64_t tokens, int64_t begin, int64_t end, float* out,
             int64_t stride, bool add) {
    if (tokens == 1) return one_token(weight, x, begin, end, out, add);
    ternary_product<Vector>(weight, x, tokens, begin, end, out, stride, add);
}

}  // namespace

const Kernels kAvx2 = table("avx2", product);

}  // namespace trilemma
