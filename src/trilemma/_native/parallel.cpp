#include "parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace trilemma {
namespace {

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// A worker looks for work this many times before it sleeps: about 20 microseconds, longer than the gap between
// two products of a decoding step, and too short to keep a processor from torch.
constexpr int kSpins = 400;
// The caller looks this many times for the last worker before it offers its processor.
constexpr int kPatience = 10000;
// Parts are taken as threads come, so that one that lost its processor delays the loop by one part only.
constexpr int kPartsPerThread = 4;

class Pool {
   public:
    static Pool& instance() {
        static const int registered = pthread_atfork(nullptr, nullptr, [] { current() = new Pool; });
        (void)registered;  // a forked child has no workers: it starts a pool of its own
        return *current();
    }

    void resize(int count) {
        count = std::max(1, count);
        if (count == size_.load(std::memory_order_relaxed)) return;
        std::lock_guard<std::mutex> busy(use_);
        stop();
        for (int i = 1; i < count; ++i) {
            // It has seen all that was handed out before it: work that comes while it starts is not missed.
            workers_.emplace_back([this, seen = generation()] { work(seen); });
        }
        size_ = count;
    }

    void run(int64_t count, int64_t grain, Body body, const void* context) {
        if (count <= 0) return;
        const int64_t units = (count + grain - 1) / grain;
        // Another thread's loop may have the workers: then this one does not wait for them.
        std::unique_lock<std::mutex> busy(use_, std::defer_lock);
        if (units == 1 || size_.load(std::memory_order_relaxed) == 1 || !busy.try_lock()) {
            body(context, 0, count);
            return;
        }
        const int64_t threads = static_cast<int64_t>(workers_.size()) + 1;
        const int64_t step = std::max<int64_t>(1, units / (kPartsPerThread * threads)) * grain;
        const int64_t parts = (count + step - 1) / step;
        // Closed first: a worker that comes late to the last loop must not take a part of it by the sizes of this one.
        const uint64_t job = generation() + 1;
        ticket_.store((job - 1) << kPartBits | kClosed, std::memory_order_relaxed);
        count_.store(count, std::memory_order_release);
        step_.store(step, std::memory_order_release);
        body_.store(body, std::memory_order_release);
        context_.store(context, std::memory_order_release);
        done_.store(0, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex_);
            ticket_.store(job << kPartBits, std::memory_order_release);
        }
        if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
        take(job);
        // Only parts that workers have taken are waited for, not workers that have not come.
        for (int looked = 0; done_.load(std::memory_order_acquire) < parts; ++looked) {
            if (looked < kPatience) {
                pause();
            } else {
                std::this_thread::yield();
            }
        }
    }

   private:
    static Pool*& current() {
        static Pool* pool = new Pool;  // never destroyed: its workers may outlive static objects
        return pool;
    }

    uint64_t generation() const { return ticket_.load(std::memory_order_acquire) >> kPartBits; }

    // Run parts of job number `job` until none is left. A worker that comes late finds another job's number, no
    // part left, or the job closed. Whoever reads a field of the next job has seen the ticket closed before it, so
    // that its claim of a part of this one fails.
    void take(uint64_t job) {
        for (;;) {
            uint64_t ticket = ticket_.load(std::memory_order_acquire);
            const int64_t count = count_.load(std::memory_order_acquire), step = step_.load(std::memory_order_acquire);
            const Body body = body_.load(std::memory_order_acquire);
            const void* context = context_.load(std::memory_order_acquire);
            const int64_t begin = static_cast<int64_t>(ticket & kClosed) * step;
            if (ticket >> kPartBits != job || (ticket & kClosed) == kClosed || begin >= count) return;
            if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
            body(context, begin, std::min(count, begin + step));
            done_.fetch_add(1, std::memory_order_release);
        }
    }

    void work(uint64_t seen) {
        for (;;) {
            for (int looked = 0; generation() == seen; ++looked) {
                if (looked < kSpins) {
                    pause();
                    continue;
                }
                std::unique_lock<std::mutex> lock(mutex_);
                sleeping_.fetch_add(1, std::memory_order_release);
                wake_.wait(lock, [&] { return generation() != seen || stopping_; });
                sleeping_.fetch_sub(1, std::memory_order_release);
                if (stopping_) return;
            }
            seen = generation();
            take(seen);
        }
    }

    void stop() {
        {
            std::lock_guard<std::mutex> lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers_) worker.join();
        workers_.clear();
        stopping_ = false;
    }

    static constexpr int kPartBits = 16;
    static constexpr uint64_t kClosed = (uint64_t{1} << kPartBits) - 1;  // as the number of a part

    std::mutex use_;    // held by the thread whose loop has the workers
    std::mutex mutex_;  // orders falling asleep and handing out work
    std::condition_variable wake_;
    std::atomic<uint64_t> ticket_{0};  // number of the job, and of its next part
    std::atomic<int64_t> count_{0}, step_{1}, done_{0};
    std::atomic<Body> body_{nullptr};
    std::atomic<const void*> context_{nullptr};
    std::atomic<int> sleeping_{0};
    std::atomic<int> size_{1};
    bool stopping_ = false;  // guarded by mutex_
    std::vector<std::thread> workers_;
};

}  // namespace

void set_threads(int count) { Pool::instance().resize(count); }

void parallel_for(int64_t count, int64_t grain, Body body, const void* context) {
    Pool::instance().run(count, grain, body, context);
}

}  // namespace trilemma
