// A pool of threads that share loops; asleep between them, so that torch has the processor to itself.
#pragma once
#include <cstdint>

namespace trilemma {

using Body = void (*)(const void* context, int64_t begin, int64_t end);

// Threads of the loops to come, the caller's included.
void set_threads(int count);

// Run body over [0, count) in parts of whole grains (the last may be shorter), on all threads.
void parallel_for(int64_t count, int64_t grain, Body body, const void* context);

template <typename F>
void parallel(int64_t count, int64_t grain, const F& function) {
    parallel_for(
        count, grain,
        [](const void* context, int64_t begin, int64_t end) { (*static_cast<const F*>(context))(begin, end); },
        &function);
}

}  // namespace trilemma
