#pragma once

#include <thread>
#include <utility>

namespace millrace::storage {

class Environment;

// The right to begin write transactions on one environment. There is one per environment, handed
// out once by Environment::TakeWritePermit(); it can be moved (handed over) but neither copied nor
// made. Owned by the writer's thread: the first BeginWrite() binds it to the calling thread, and
// only a move unbinds it.
class WritePermit {
 public:
  WritePermit(WritePermit&& other) noexcept
      : environment_(std::exchange(other.environment_, nullptr)) {}
  WritePermit& operator=(WritePermit&& other) noexcept {
    environment_ = std::exchange(other.environment_, nullptr);
    thread_ = std::thread::id();
    return *this;
  }
  WritePermit(const WritePermit&) = delete;
  WritePermit& operator=(const WritePermit&) = delete;

 private:
  friend class Environment;
  explicit WritePermit(const Environment* environment) : environment_(environment) {}

  const Environment* environment_;  // Null once moved from.
  mutable std::thread::id thread_;  // Of no thread until the first BeginWrite().
};

}  // namespace millrace::storage
