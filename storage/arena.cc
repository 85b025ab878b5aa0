#include "millrace/storage/arena.h"

#include <string.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"

namespace millrace::storage {
namespace {

constexpr size_t kHugePageBytes = size_t{2} << 20;
// Small buffers stay small: chunks double from here up to a huge page.
constexpr size_t kFirstChunkBytes = size_t{64} << 10;

size_t RoundUp(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Null if the kernel refuses. `size` is a multiple of the page size; from a huge page on the result
// is aligned to one.
char* Map(size_t size) {
  const size_t slack = size >= kHugePageBytes ? kHugePageBytes : 0;
  void* const mapped = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const begin = static_cast<char*>(mapped);
  if (slack == 0) return begin;
  const size_t head = RoundUp(reinterpret_cast<uintptr_t>(begin), kHugePageBytes) -
                      reinterpret_cast<uintptr_t>(begin);
  if (head > 0) munmap(begin, head);
  if (slack > head) munmap(begin + head + size, slack - head);
  // Advice: without huge pages everything still works.
  madvise(begin + head, size, MADV_HUGEPAGE);
  return begin + head;
}

}  // namespace

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) munmap(chunk.data, chunk.size);
}

absl::Status Arena::Reserve(size_t bytes) {
  if (static_cast<size_t>(end_ - next_) >= bytes || spare_.size >= bytes) return absl::OkStatus();
  return MapSpare(bytes);
}

absl::Status Arena::MapSpare(size_t bytes) {
  const size_t mapped = mapped_bytes();
  size_t size = std::clamp(mapped, kFirstChunkBytes, kHugePageBytes);
  if (bytes > size)
    size = RoundUp(bytes, bytes < kHugePageBytes ? kFirstChunkBytes : kHugePageBytes);
  if (size > bytes_max_ - std::min(mapped, bytes_max_)) {
    return absl::ResourceExhaustedError(absl::StrCat("arena: ", size,
                                                     " more bytes pass its limit of ", bytes_max_,
                                                     " (", mapped, " are mapped)"));
  }
  char* const data = Map(size);
  if (data == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("arena: mmap of ", size, " bytes failed: ", strerror(errno)));
  }
  chunks_.push_back({data, size});
  mapped_bytes_.store(mapped + size, std::memory_order_relaxed);
  // A smaller spare that was never used stays mapped until the end.
  spare_ = chunks_.back();
  return absl::OkStatus();
}

char* Arena::Allocate(size_t bytes) {
  bytes = RoundUp(bytes, alignment_);
  if (static_cast<size_t>(end_ - next_) < bytes) {
    if (spare_.size < bytes) {
      const absl::Status mapped = MapSpare(bytes);
      CHECK(mapped.ok()) << "allocation beyond what was reserved: " << mapped;
    }
    next_ = spare_.data;
    end_ = spare_.data + spare_.size;
    spare_ = {nullptr, 0};
  }
  char* const result = next_;
  next_ += bytes;
  used_bytes_.store(used_bytes() + bytes, std::memory_order_relaxed);
  return result;
}

}  // namespace millrace::storage
