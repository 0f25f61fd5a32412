// 64-bit Arm.
#include <arm_neon.h>

#include "path.h"

namespace trilemma {
namespace {

struct Vector {
    static constexpr int kBytes = 16;
    static constexpr int kTileRows = 4;
    static constexpr int64_t kBlocksInPart = kAllBlocks;
    using Bytes = int8x16_t;
    using Sums = int32x4_t;
    static Sums zero() { return vdupq_n_s32(0); }
    static Bytes load(const void* from) { return vld1q_s8(static_cast<const int8_t*>(from)); }
    static Bytes codes(Bytes packed, int pair) {
        const uint8x16_t shifted = vshlq_u8(vreinterpretq_u8_s8(packed), vdupq_n_s8(static_cast<int8_t>(-2 * pair)));
        return vreinterpretq_s8_u8(vandq_u8(shifted, vdupq_n_u8(3)));
    }
    static Sums dot(Sums sums, Bytes codes, Bytes levels) {
        const int16x8_t low = vmull_s8(vget_low_s8(codes), vget_low_s8(levels));
        return vpadalq_s16(sums, vmlal_s8(low, vget_high_s8(codes), vget_high_s8(levels)));
    }
    static Sums sum(Sums sums, Sums part) { return vaddq_s32(sums, part); }
    static int32_t total(Sums sums) { return vaddvq_s32(sums); }
};

}  // namespace

const Kernels kNeon = table("neon", ternary_product<Vector>);

}  // namespace trilemma
