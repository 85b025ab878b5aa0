#pragma once

#include <atomic>
#include <cstddef>
#include <limits>
#include <vector>

#include "absl/status/status.h"

namespace millrace::storage {

// Memory that only grows and is given back all at once: the rows and nodes of one L0 buffer. It
// comes from mmap in chunks, from 2 MiB on aligned so that the kernel can back them with huge
// pages; freeing costs one munmap a chunk.
//
// Thread-compatible, except that the byte counts may be read from any thread.
class Arena {
 public:
  // Every piece is aligned to `alignment`, a power of two up to 4096. Maps at most `bytes_max`, and
  // nothing before the first Reserve or Allocate.
  explicit Arena(size_t alignment, size_t bytes_max = std::numeric_limits<size_t>::max())
      : alignment_(alignment), bytes_max_(bytes_max) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Makes sure that pieces of `bytes` in total, each rounded up to the alignment, can be allocated
  // without failing. Reserved bytes do not add up. ResourceExhausted if the limit or the machine
  // has no more; what was reserved before stays good.
  absl::Status Reserve(size_t bytes);

  // `bytes` bytes of zeroes. Beyond what was reserved it maps more, and dies if there is no more.
  char* Allocate(size_t bytes);

  // Any thread: bytes handed out, each piece rounded up, and bytes mapped for them.
  size_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  size_t mapped_bytes() const { return mapped_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Chunk {
    char* data;
    size_t size;
  };

  absl::Status MapSpare(size_t bytes);

  const size_t alignment_;
  const size_t bytes_max_;
  // The chunk that is filled: [next_, end_) is free.
  char* next_ = nullptr;
  char* end_ = nullptr;
  // Mapped, but not filled yet; size 0 if there is none. Takes over when a piece does not fit.
  Chunk spare_ = {nullptr, 0};
  std::vector<Chunk> chunks_;  // All that is mapped, the spare included.
  // Statistics of one writer: relaxed, nothing is published through them.
  std::atomic<size_t> used_bytes_{0};
  std::atomic<size_t> mapped_bytes_{0};
};

}  // namespace millrace::storage
