// Any processor with a C++ compiler.
#include "path.h"

namespace trilemma {
namespace {

struct Vector {
    static constexpr int kBytes = 16;
    static constexpr int kTileRows = 4;
    static constexpr int64_t kBlocksInPart = kAllBlocks;
    struct Bytes {
        uint8_t bytes[kBytes];
    };
    struct Sums {
        int32_t lanes[kBytes];
    };
    static Sums zero() { return {}; }
    static Bytes load(const void* from) {
        Bytes loaded;
        std::memcpy(&loaded, from, sizeof loaded);
        return loaded;
    }
    static Bytes codes(Bytes packed, int pair) {
        for (uint8_t& byte : packed.bytes) byte = (byte >> (2 * pair)) & 3;
        return packed;
    }
    static Sums dot(Sums sums, const Bytes& codes, const Bytes& levels) {
        for (int j = 0; j < kBytes; ++j) sums.lanes[j] += codes.bytes[j] * static_cast<int8_t>(levels.bytes[j]);
        return sums;
    }
    static Sums sum(Sums sums, const Sums& part) {
        for (int j = 0; j < kBytes; ++j) sums.lanes[j] += part.lanes[j];
        return sums;
    }
    static int32_t total(const Sums& sums) {
        int32_t all = 0;
        for (int32_t lane : sums.lanes) all += lane;
        return all;
    }
};

}  // namespace

const Kernels kPortable = table("portable", ternary_product<Vector>);

}  // namespace trilemma
