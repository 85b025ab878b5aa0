#include "tests/scenarios/killed_store.h"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/sound_store.h"

namespace millrace::testing {
namespace {

using Chunk = std::array<char, 16 * sizeof(KillAnswer)>;

}  // namespace

void KilledStore::RunAndKill(uint64_t seed, uint64_t answer_count, int timeout_ms) {
  ChildProcess child({MILLRACE_KILL_CHILD, "commit", path(), std::to_string(seed)});
  std::string bytes;
  if (answer_count == 0) {
    Chunk chunk;
    bytes.append(chunk.data(), child.Read(chunk.data(), chunk.size(), timeout_ms));
    child.Kill();
  }
  Collect(child, answer_count == 0 ? ~uint64_t{0} : answer_count, std::move(bytes), End::kKill);
}

void KilledStore::RunAndStop(uint64_t seed, uint64_t answer_count) {
  ChildProcess child({MILLRACE_KILL_CHILD, "commit", path(), std::to_string(seed)});
  Collect(child, answer_count, "", End::kStop);
}

bool KilledStore::RunToFault(const std::string& rule, uint64_t seed, uint64_t answer_max) {
  ChildProcess child({"/usr/bin/env", "LD_PRELOAD=" MILLRACE_IO_SHIM_PATH,
                      "ASAN_OPTIONS=verify_asan_link_order=0", "MILLRACE_IO_FAULTS=" + rule,
                      MILLRACE_KILL_CHILD, "commit", path(), std::to_string(seed)});
  return !Collect(child, answer_max, "", End::kKill);
}

// What the child reports, to the end of the pipe: what was reported before the kill counts. Ends it
// after so many answers, and says whether it did. `bytes` were read before.
bool KilledStore::Collect(ChildProcess& child, uint64_t answer_max, std::string bytes, End end) {
  bool ended = false;
  Chunk chunk;
  while (const size_t size = child.Read(chunk.data(), chunk.size())) {
    bytes.append(chunk.data(), size);
    if (ended || bytes.size() / sizeof(KillAnswer) < answer_max) continue;
    if (end == End::kKill) child.Kill();
    child.CloseInput();
    ended = true;
  }
  const int status = child.Wait();
  if (end == End::kKill) {
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "the child ended by itself: " << status;
    ++kill_count_;
  } else {
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child ended so: " << status;
  }
  Take(bytes);
  return ended;
}

void KilledStore::Take(const std::string& bytes) {
  EXPECT_EQ(bytes.size() % sizeof(KillAnswer), 0u);
  for (size_t offset = 0; offset < bytes.size(); offset += sizeof(KillAnswer)) {
    KillAnswer answer;
    std::memcpy(&answer, bytes.data() + offset, sizeof(answer));
    EXPECT_TRUE(answered_[answer.thread].emplace(answer.batch, answer.version).second);
    batch_counts_[answer.thread] = std::max(batch_counts_[answer.thread], answer.batch + 1);
    ++answer_count_;
  }
}

void KilledStore::Check() {
  const bool none_yet =
      answer_count_ == 0 && absl::IsNotFound(storage::VerifyStore(path()).status());
  if (!none_yet) {
    ASSERT_NO_FATAL_FAILURE(ExpectSound(path()));
  }
  const std::unique_ptr<Engine> engine = OpenEngine(path(), KillEngine());
  ASSERT_NE(engine, nullptr);
  ASSERT_NO_FATAL_FAILURE(CheckContents(*engine));
  if (flush_before_close_) {
    MustFlush(*engine);
    ASSERT_NO_FATAL_FAILURE(CheckContents(*engine));
  }
  const ShutdownReport report = engine->Shutdown();
  EXPECT_TRUE(report.Balanced()) << report.ToString();
  ExpectSound(path());
  flush_before_close_ = !flush_before_close_;
}

// Everything that was answered is there, at the version that was answered; what is there stays.
void KilledStore::CheckContents(Engine& engine) {
  const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot("parent");
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  const KillContents contents = ReadKillStore(*snapshot);
  ASSERT_EQ(contents.fault, "");
  for (size_t thread = 0; thread < kKillThreadCount; ++thread) {
    ASSERT_GE(contents.batch_counts[thread], batch_counts_[thread])
        << "thread " << thread << " lost a commit";
    batch_counts_[thread] = contents.batch_counts[thread];
    for (const auto& [batch, version] : contents.versions[thread]) {
      const storage::Version answered = answered_[thread].emplace(batch, version).first->second;
      ASSERT_EQ(version, answered) << "batch " << batch << " of thread " << thread;
    }
    const uint64_t kept = std::min(kKillBatchesKept, batch_counts_[thread]);
    answered_[thread].erase(answered_[thread].begin(),
                            answered_[thread].lower_bound(batch_counts_[thread] - kept));
  }
}

}  // namespace millrace::testing
