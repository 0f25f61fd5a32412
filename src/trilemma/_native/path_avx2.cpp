// x86 with AVX2 and FMA (Haswell, Zen and later).
#include <immintrin.h>

#include "path.h"

namespace trilemma {
namespace {

struct Vector {
    static constexpr int kBytes = 32;
    using Bytes = __m256i;
    using Sums = __m256i;
    static Sums zero() { return _mm256_setzero_si256(); }
    static Bytes load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
    static Bytes codes(Bytes packed, int pair) {
        return _mm256_and_si256(_mm256_srli_epi16(packed, 2 * pair), _mm256_set1_epi8(3));
    }
    static Sums dot(Sums sums, Bytes codes, Bytes levels) {
        const __m256i pairs = _mm256_maddubs_epi16(codes, levels);  // at most 2 * 2 * 128: never saturates
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    static int32_t total(Sums sums) {
        __m128i half = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0x4e));
        half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0xb1));
        return _mm_cvtsi128_si32(half);
    }
};

}  // namespace

const Kernels kAvx2 = table("avx2", ternary_product<Vector>);

}  // namespace trilemma
