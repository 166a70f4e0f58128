#include "kernels/cpu/engine/arena.h"

#include <algorithm>
#include <cstring>

#include "kernels/error.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace nigiri::cpu {

namespace {

constexpr size_t line = 64, huge_page = size_t{2} << 20;

size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

void* Arena::allocate_bytes(size_t bytes) {
    bytes = rounded(std::max<size_t>(bytes, 1), line);
    if (bytes > left_) {
        const size_t size = rounded(bytes, huge_page);
        std::unique_ptr<std::byte, Free> piece(static_cast<std::byte*>(std::aligned_alloc(huge_page, size)));
        if (!piece) throw Error("out of memory: an engine needed " + std::to_string(size >> 20) + " MiB more");
#ifdef MADV_HUGEPAGE
        madvise(piece.get(), size, MADV_HUGEPAGE);  // a wish; small pages do as well
#endif
        std::memset(piece.get(), 0, size);
        next_ = piece.get();
        left_ = size;
        pieces_.push_back(std::move(piece));
    }
    void* block = next_;
    next_ += bytes;
    left_ -= bytes;
    used_ += bytes;
    return block;
}

}  // namespace nigiri::cpu
