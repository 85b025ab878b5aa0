#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "tests/scenarios/child_process.h"
#include "tests/scenarios/kill_work.h"
#include "tests/testing/temporary_directory.h"

namespace millrace::testing {

// A store that children use and die over, and what they were answered: what must be there. Failures
// are the test's. Thread-compatible.
class KilledStore {
 public:
  const std::string& path() const { return directory_.path(); }
  uint64_t answer_count() const { return answer_count_; }
  uint64_t kill_count() const { return kill_count_; }

  // Lets a child work until it has reported `answer_count` commits, then kills it. With 0 it is
  // killed while it opens the store, or a little later.
  void RunAndKill(uint64_t seed, uint64_t answer_count, int timeout_ms);
  // The same, but the child is told to stop in order.
  void RunAndStop(uint64_t seed, uint64_t answer_count);
  // Lets a child work until the I/O shim kills it, as the rule says; false if it has not come to
  // that when it has reported `answer_max` commits.
  bool RunToFault(const std::string& rule, uint64_t seed, uint64_t answer_max);

  // Verifies the store as it was left, opens it, compares it with the answers, every other time
  // also behind a flush, closes and verifies it again.
  void Check();

 private:
  enum class End : uint8_t { kKill, kStop };

  bool Collect(ChildProcess& child, uint64_t answer_max, std::string bytes, End end);
  void Take(const std::string& bytes);
  void CheckContents(Engine& engine);

  // A kill loses nothing of the page cache, so no test waits for a device that others use.
  TemporaryDirectory directory_ = TemporaryDirectory::InMemory();
  // By batch, of those whose records are kept.
  std::array<std::map<uint64_t, storage::Version>, kKillThreadCount> answered_;
  std::array<uint64_t, kKillThreadCount> batch_counts_{};  // At least so many must be there.
  uint64_t answer_count_ = 0;
  uint64_t kill_count_ = 0;
  bool flush_before_close_ = false;
};

}  // namespace millrace::testing
