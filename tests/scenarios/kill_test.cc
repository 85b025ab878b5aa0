// A child commits under load and is killed, again and again on the same store. What is found
// afterwards must be a prefix of its commits that holds every one it was answered.

#include <signal.h>
#include <sys/wait.h>

#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/child_process.h"
#include "tests/scenarios/kill_work.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using storage::Version;
using testing::KillAnswer;
using testing::kKillBatchesKept;
using testing::kKillThreadCount;

class KillTest : public ::testing::Test {
 protected:
  // Lets a child work until it has reported `answer_count` commits, then kills it. With 0 it is
  // killed while it opens the store, or a little later.
  void RunAndKill(uint64_t seed, uint64_t answer_count, int timeout_ms) {
    testing::ChildProcess child(
        {MILLRACE_KILL_CHILD, "commit", directory_.path(), std::to_string(seed)});
    std::string bytes;
    std::array<char, 16 * sizeof(KillAnswer)> chunk;
    if (answer_count == 0) {
      bytes.append(chunk.data(), child.Read(chunk.data(), chunk.size(), timeout_ms));
      child.Kill();
    }
    Collect(child, answer_count == 0 ? ~uint64_t{0} : answer_count, std::move(bytes));
  }

  // Lets a child work until the shim kills it, as the rule says; false if it has not come to that
  // when it has reported `answer_max` commits.
  bool RunToFault(const std::string& rule, uint64_t seed, uint64_t answer_max) {
    testing::ChildProcess child({"/usr/bin/env", "LD_PRELOAD=" MILLRACE_IO_SHIM_PATH,
                                 "ASAN_OPTIONS=verify_asan_link_order=0",
                                 "MILLRACE_IO_FAULTS=" + rule, MILLRACE_KILL_CHILD, "commit",
                                 directory_.path(), std::to_string(seed)});
    return !Collect(child, answer_max, "");
  }

  // What the child reports, to the end of the pipe: what was reported before the kill counts. Kills
  // it after so many answers, and says whether it did. `bytes` were read before.
  bool Collect(testing::ChildProcess& child, uint64_t answer_max, std::string bytes) {
    bool killed = false;
    std::array<char, 16 * sizeof(KillAnswer)> chunk;
    while (const size_t size = child.Read(chunk.data(), chunk.size())) {
      bytes.append(chunk.data(), size);
      if (killed || bytes.size() / sizeof(KillAnswer) < answer_max) continue;
      child.Kill();
      killed = true;
    }
    const int status = child.Wait();
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "the child ended by itself: " << status;
    EXPECT_EQ(bytes.size() % sizeof(KillAnswer), 0u);
    for (size_t offset = 0; offset < bytes.size(); offset += sizeof(KillAnswer)) {
      KillAnswer answer;
      std::memcpy(&answer, bytes.data() + offset, sizeof(answer));
      EXPECT_EQ(answered_[answer.thread].count(answer.batch), 0u);
      answered_[answer.thread][answer.batch] = answer.version;
      ++answer_count_;
    }
    return killed;
  }

  void CheckStore() {
    ASSERT_NO_FATAL_FAILURE(testing::ExpectSound(directory_.path()));
    const std::unique_ptr<Engine> engine =
        testing::OpenEngine(directory_.path(), testing::KillEngine());
    ASSERT_NE(engine, nullptr);
    ASSERT_NO_FATAL_FAILURE(CheckRecords(*engine));
    if (flush_before_close_) {
      testing::MustFlush(*engine);
      ASSERT_NO_FATAL_FAILURE(CheckRecords(*engine));
    }
    const ShutdownReport report = engine->Shutdown();
    EXPECT_TRUE(report.Balanced()) << report.ToString();
    testing::ExpectSound(directory_.path());
    flush_before_close_ = !flush_before_close_;
  }

  void CheckRecords(Engine& engine) {
    const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot("parent");
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    const absl::StatusOr<storage::Collection> collection =
        snapshot->FindCollection(testing::kKillCollection);
    if (!collection.ok()) {
      ASSERT_EQ(snapshot->version(), 0u) << collection.status();
      ASSERT_EQ(answer_count_, 0u);
      return;
    }
    std::map<std::string, Version> want;  // Id to version; 0 where it is not known.
    uint64_t commit_count = 1;            // The collection.
    for (uint64_t thread = 0; thread < kKillThreadCount; ++thread) {
      const uint64_t end = testing::NextBatch(*snapshot, *collection, thread);
      commit_count += end;
      ASSERT_NO_FATAL_FAILURE(CheckAnswered(thread, end));
      if (end > 0) want[testing::CounterId(thread)] = 0;
      for (uint64_t batch = end - std::min(end, kKillBatchesKept); batch < end; ++batch) {
        const auto answered = answered_[thread].find(batch);
        for (uint64_t row = 0; row < testing::RowsOf(batch); ++row) {
          want[testing::RowId(thread, batch, row)] =
              answered == answered_[thread].end() ? 0 : answered->second;
        }
      }
    }
    // Versions are dense: nothing in the middle is missing, and nothing is there twice.
    ASSERT_EQ(snapshot->version(), commit_count);
    const absl::StatusOr<uint64_t> count = snapshot->Count(*collection);
    ASSERT_TRUE(count.ok()) << count.status();
    ASSERT_EQ(*count, want.size());
    ASSERT_NO_FATAL_FAILURE(CheckRows(*snapshot, *collection, want));
  }

  // Everything that was answered is there, at the version that was answered.
  void CheckAnswered(uint64_t thread, uint64_t end) {
    if (answered_[thread].empty()) return;
    ASSERT_LT(answered_[thread].rbegin()->first, end) << "thread " << thread << " lost a commit";
  }

  // Exactly the records of whole batches, each at one version and with its content.
  void CheckRows(const storage::Snapshot& snapshot, const storage::Collection& collection,
                 std::map<std::string, Version>& want) {
    std::map<std::string, Version> batch_versions;  // By "thread/batch".
    std::string fault;
    const auto visit = [&](const storage::RecordRef& record) {
      const auto expected = want.find(std::string(record.id));
      const auto number = storage::DocumentView(record.document).Field("n");
      const uint64_t batch = static_cast<uint64_t>(std::get<int64_t>(*number));
      if (expected == want.end()) {
        fault = absl::StrCat("unexpected ", std::string(record.id));
      } else if (expected->second != 0 && expected->second != record.version) {
        fault = absl::StrCat(std::string(record.id), " at version ", record.version, ", answered ",
                             expected->second);
      } else if (record.document != testing::RowDocument(batch).bytes()) {
        fault = absl::StrCat("wrong document of ", std::string(record.id));
      } else if (!record.id.starts_with("count/")) {
        const std::string name(record.id.substr(0, record.id.rfind('/')));
        const Version version = batch_versions.emplace(name, record.version).first->second;
        if (version != record.version) fault = absl::StrCat("batch ", name, " is in two versions");
      }
      if (expected != want.end()) want.erase(expected);
      return fault.empty();
    };
    const absl::Status status = snapshot.Scan(collection, {}, visit);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(fault, "");
    ASSERT_TRUE(want.empty()) << want.begin()->first << " is missing";
  }

  testing::TemporaryDirectory directory_;
  std::array<std::map<uint64_t, Version>, kKillThreadCount> answered_;
  uint64_t answer_count_ = 0;
  bool flush_before_close_ = false;
};

TEST_F(KillTest, StoreHoldsAPrefixWithEveryAnsweredCommit) {
  std::mt19937_64 random(testing::Seed());
  const uint64_t kill_count = testing::Scaled(50);
  for (uint64_t kill = 0; kill < kill_count; ++kill) {
    SCOPED_TRACE(absl::StrCat("kill ", kill));
    const uint64_t answers = random() % 5 == 0 ? 0 : 1 + random() % 3'000;
    ASSERT_NO_FATAL_FAILURE(RunAndKill(random(), answers, static_cast<int>(random() % 60)));
    // Sometimes the next child finds what this one left.
    if (random() % 4 == 0) continue;
    ASSERT_NO_FATAL_FAILURE(CheckStore());
  }
  ASSERT_NO_FATAL_FAILURE(CheckStore());
  EXPECT_GT(answer_count_, kill_count);
  std::cout << kill_count << " kills, " << answer_count_ << " answered commits" << std::endl;
}

// At each step of rotate (the log's sync), slice and publish (LMDB's pages, sync and meta page),
// preparing and recycling log files: before it, and so after the one before.
TEST_F(KillTest, KilledAtAnyStepOfAFlushTheStoreHoldsAPrefixAndTheFlushIsResumed) {
  std::mt19937_64 random(testing::Seed());
  const char* const steps[] = {
      "fdatasync path=/log/",              // Rotate owes a sync to what was not durable.
      "writev path=store.mdb",             // Pages of a slice.
      "pwrite path=store.mdb",             // A single page, or the meta page.
      "fdatasync path=store.mdb",          // Between pages and meta page.
      "pwrite path=store.mdb below=8192",  // The meta page: the publication itself.
      "rename path=/log/",                 // A file recycled, or made ready.
      "fsync path=/log",                   // The directory, behind it.
      "pwrite path=/log/",
  };
  uint64_t fault_count = 0;
  for (const char* step : steps) {
    for (uint64_t round = 0; round < testing::Scaled(5); ++round) {
      const std::string rule = absl::StrCat(step, " nth=", 1 + random() % 25, " kill");
      SCOPED_TRACE(rule);
      fault_count += RunToFault(rule, random(), 6'000) ? 1 : 0;
      ASSERT_NO_FATAL_FAILURE(CheckStore());
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(fault_count, testing::Scaled(5) * std::size(steps) / 2) << "most steps are come to";
  std::cout << fault_count << " kills, " << answer_count_ << " answered commits" << std::endl;
}

}  // namespace
}  // namespace millrace
