// Memory that lives as long as an engine, in few large pieces: what is used together lies together, and huge pages keep
// the processor from looking up addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

namespace nigiri::cpu {

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // `count` zeros on a cache line of their own; one block follows the other in the order of the calls. Throws Error
    // where there is no memory.
    template <class T>
    T* allocate(int64_t count) {
        return static_cast<T*>(allocate_bytes(static_cast<size_t>(count) * sizeof(T)));
    }
    size_t bytes() const { return used_; }  // handed out

  private:
    struct Free {
        void operator()(std::byte* p) const { std::free(p); }
    };
    void* allocate_bytes(size_t bytes);

    std::vector<std::unique_ptr<std::byte, Free>> pieces_;
    size_t left_ = 0, used_ = 0;
    std::byte* next_ = nullptr;
};

}  // namespace nigiri::cpu
