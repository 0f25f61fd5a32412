// Float vectors of the instruction set that a file is compiled for, small matrix products and transposition on
// them. Included once by every instruction set.
#pragma once
#include <cstdint>
#include <cstdlib>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trilemma {
namespace {

#if defined(__AVX512F__)
constexpr int kFloats = 16, kTileRows = 8, kTileColumns = 2;
#elif defined(__AVX2__)
constexpr int kFloats = 8, kTileRows = 4, kTileColumns = 2;
#else
constexpr int kFloats = 4, kTileRows = 4, kTileColumns = 2;
#endif

// Widths of local matrices are padded to a multiple of this, whole vectors of every instruction set.
constexpr int64_t kWhole = 16;

inline int64_t whole(int64_t width) { return (width + kWhole - 1) / kWhole * kWhole; }

typedef float Floats __attribute__((vector_size(4 * kFloats)));
typedef float LooseFloats __attribute__((vector_size(4 * kFloats), aligned(4), may_alias));

inline Floats load(const float* from) { return *reinterpret_cast<const LooseFloats*>(from); }
inline void store(float* to, Floats x) { *reinterpret_cast<LooseFloats*>(to) = x; }

inline float total_of(Floats x) {
    float total = 0.0f;
    for (int lane = 0; lane < kFloats; ++lane) total += x[lane];
    return total;
}

// Memory of one thread's work, at vector boundaries, freed with its owner.
class Memory {
   public:
    explicit Memory(int64_t floats)
        : data_(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((floats * 4 + 63) / 64 * 64)))) {
        if (data_ == nullptr) std::abort();
        next_ = data_;
    }
    ~Memory() { std::free(data_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    // The next `floats` of it, a multiple of 16.
    float* take(int64_t floats) {
        float* taken = next_;
        next_ += floats;
        return taken;
    }

   private:
    float* data_;
    float* next_;
};

// Products of many decays end below what float32 can hold: such numbers count as 0 while this lives, since
// arithmetic on them is a hundred times slower.
class FlushToZero {
   public:
#if defined(__x86_64__)
    FlushToZero() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
    ~FlushToZero() { _mm_setcsr(before_); }

   private:
    unsigned before_;
#elif defined(__aarch64__)
    FlushToZero() {
        asm volatile("mrs %0, fpcr" : "=r"(before_));
        asm volatile("msr fpcr, %0" ::"r"(before_ | (1ull << 24)));
    }
    ~FlushToZero() { asm volatile("msr fpcr, %0" ::"r"(before_)); }

   private:
    uint64_t before_;
#else
    FlushToZero() {}
#endif
};

template <int ROWS, int COLUMNS, bool ADD>
inline void product_tile(int64_t inner, const float* a, int64_t a_row, int64_t a_inner, const float* b, int64_t b_row,
                         float* c, int64_t c_row) {
    Floats sums[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; ++r) {
        for (int j = 0; j < COLUMNS; ++j) sums[r][j] = ADD ? load(c + r * c_row + j * kFloats) : Floats{};
    }
    for (int64_t k = 0; k < inner; ++k) {
        Floats right[COLUMNS];
        for (int j = 0; j < COLUMNS; ++j) right[j] = load(b + k * b_row + j * kFloats);
        for (int r = 0; r < ROWS; ++r) {
            const float left = a[r * a_row + k * a_inner];
            for (int j = 0; j < COLUMNS; ++j) sums[r][j] += right[j] * left;
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        for (int j = 0; j < COLUMNS; ++j) store(c + r * c_row + j * kFloats, sums[r][j]);
    }
}

template <int ROWS, bool ADD>
inline void product_rows(int64_t columns, int64_t inner, const float* a, int64_t a_row, int64_t a_inner,
                         const float* b, int64_t b_row, float* c, int64_t c_row) {
    int64_t j = 0;
    for (; j + kTileColumns * kFloats <= columns; j += kTileColumns * kFloats) {
        product_tile<ROWS, kTileColumns, ADD>(inner, a, a_row, a_inner, b + j, b_row, c + j, c_row);
    }
    for (; j < columns; j += kFloats) {
        product_tile<ROWS, 1, ADD>(inner, a, a_row, a_inner, b + j, b_row, c + j, c_row);
    }
}

// c [rows, columns] = (or += where ADD) a [rows, inner] b [inner, columns]. Element (r, k) of a stands at
// r * a_row + k * a_inner, so a may be transposed. columns is a multiple of 16.
template <bool ADD>
inline void product(int64_t rows, int64_t columns, int64_t inner, const float* a, int64_t a_row, int64_t a_inner,
                    const float* b, int64_t b_row, float* c, int64_t c_row) {
    int64_t r = 0;
    for (; r + kTileRows <= rows; r += kTileRows) {
        product_rows<kTileRows, ADD>(columns, inner, a + r * a_row, a_row, a_inner, b, b_row, c + r * c_row, c_row);
    }
    for (; r < rows; ++r) {
        product_rows<1, ADD>(columns, inner, a + r * a_row, a_row, a_inner, b, b_row, c + r * c_row, c_row);
    }
}

typedef float Four __attribute__((vector_size(16)));
typedef float LooseFour __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t FourIndices __attribute__((vector_size(16)));

#if defined(__clang__)
#define TRILEMMA_SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define TRILEMMA_SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (FourIndices{i, j, k, l}))
#endif

// to [columns, rows] = from [rows, columns] transposed; both counts are multiples of 4.
inline void transpose(const float* from, int64_t rows, int64_t columns, int64_t from_row, float* to, int64_t to_row) {
    for (int64_t r = 0; r < rows; r += 4) {
        for (int64_t c = 0; c < columns; c += 4) {
            const auto row = [&](int64_t i) -> Four {
                return *reinterpret_cast<const LooseFour*>(from + (r + i) * from_row + c);
            };
            const Four a = TRILEMMA_SHUFFLE(row(0), row(1), 0, 4, 1, 5), b = TRILEMMA_SHUFFLE(row(0), row(1), 2, 6, 3, 7);
            const Four d = TRILEMMA_SHUFFLE(row(2), row(3), 0, 4, 1, 5), e = TRILEMMA_SHUFFLE(row(2), row(3), 2, 6, 3, 7);
            const auto put = [&](int64_t i, Four x) { *reinterpret_cast<LooseFour*>(to + (c + i) * to_row + r) = x; };
            put(0, TRILEMMA_SHUFFLE(a, d, 0, 1, 4, 5));
            put(1, TRILEMMA_SHUFFLE(a, d, 2, 3, 6, 7));
            put(2, TRILEMMA_SHUFFLE(b, e, 0, 1, 4, 5));
            put(3, TRILEMMA_SHUFFLE(b, e, 2, 3, 6, 7));
        }
    }
}

}  // namespace
}  // namespace trilemma
