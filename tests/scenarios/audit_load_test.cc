// Audits and repairs beside commits and flushes, and repairs that are cut short.

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/team_store.h"
#include "tests/testing/io_shim.h"
#include "tests/testing/sound_store.h"

namespace millrace {
namespace {

using storage::AuditFault;
using storage::AuditPart;
using storage::AuditReport;
using storage::TreeId;
using storage::WriteTransaction;
using ::testing::HasSubstr;

// Commits that wait for memory end the oldest snapshots, those of an audit, too.
bool WasEnded(const AuditReport& report) {
  return std::any_of(report.parts.begin(), report.parts.end(),
                     [](const AuditPart& part) { return absl::IsAborted(part.not_checked); });
}

// The first thing that is wrong, or "".
std::string FirstFault(const AuditReport& report) {
  for (const AuditPart& part : report.parts) {
    if (!part.checked() && !absl::IsAborted(part.not_checked)) {
      return absl::StrCat(part.name, ": ", part.not_checked.message());
    }
    if (part.fault_count() > 0) return absl::StrCat(part.name, ": ", part.samples.front());
  }
  return "";
}

// People move between names, cities and teams, come, go, and are linked and unlinked, as fast as
// they can; small buffers, so that a flush is always under way.
class Load {
 public:
  Load(Engine& engine, const storage::Collection& people, const storage::Collection& teams,
       const storage::Relation& relation, uint64_t seed) {
    for (uint64_t i = 0; i < 2; ++i) {
      threads_.emplace_back([&engine, people, teams, relation, seed, i, this] {
        std::mt19937_64 random(seed + i);
        while (!stop_) {
          storage::WriteBatch batch;
          for (int k = 0; k < 20; ++k) AddOne(random, people, teams, relation, &batch);
          // A name that another has, or a link to nobody, refuses the batch.
          engine.Commit(std::move(batch), {.durability = Durability::kNone}).Wait().IgnoreError();
          ++committed_;
        }
      });
    }
  }
  ~Load() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }
  uint64_t committed() const { return committed_; }

 private:
  static void AddOne(std::mt19937_64& random, const storage::Collection& people,
                     const storage::Collection& teams, const storage::Relation& relation,
                     storage::WriteBatch* batch) {
    const std::string person = absl::StrCat("q", random() % 300);
    const std::string team = absl::StrCat("t", random() % 4);
    switch (random() % 8) {
      case 0:
        batch->Delete(people, person);
        break;
      case 1:
        batch->Unlink(relation, team, person);
        break;
      case 2:
        batch->Put(teams, absl::StrCat("t", 10 + random() % 3), testing::Number(1));
        batch->Link(relation, absl::StrCat("t", 10 + random() % 3), person, random() % 10);
        break;
      case 3:
        batch->Delete(teams, absl::StrCat("t", 10 + random() % 3));
        break;
      default:
        batch->Put(
            people, person,
            testing::Json(absl::StrCat(R"({"name":"m)", random() % 3000, R"(","city":)",
                                       random() % 20, R"(,"badge":"c)", random() % 50, R"("})")));
        if (random() % 2 == 0) batch->Link(relation, team, person, random() % 10);
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> committed_{0};
  std::vector<std::thread> threads_;
};

class AuditLoadTest : public ::testing::Test, protected testing::TeamStore {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(Build()); }

  static EngineOptions Options() {
    EngineOptions options = testing::SmallEngine();
    options.rotate_rows = 200;
    return options;
  }
};

TEST_F(AuditLoadTest, AuditBesideCommitsAndFlushesReportsNoFaultThatIsNone) {
  const std::unique_ptr<Engine> engine = testing::OpenEngine(kept(), Options());
  ASSERT_NE(engine, nullptr);
  uint64_t under_way = 0;
  uint64_t whole = 0;
  {
    const Load load(*engine, people_, teams_, relation_, testing::Seed());
    const uint64_t audits = testing::Scaled(400);
    for (uint64_t i = 0; i < audits; ++i) {
      const absl::StatusOr<AuditReport> report = engine->Audit();
      ASSERT_TRUE(report.ok()) << report.status();
      ASSERT_EQ(FirstFault(*report), "") << "audit " << i;
      for (const AuditPart& part : report->parts) under_way += part.under_way;
      if (!WasEnded(*report)) ++whole;
    }
    EXPECT_GT(load.committed(), 0u);
  }
  EXPECT_GT(whole, 0u);
  std::cout << "whole audits: " << whole << ", differences that flushes explained: " << under_way
            << std::endl;
  testing::MustFlush(*engine);
  EXPECT_TRUE(engine->Audit()->complete());
  EXPECT_EQ(FirstFault(*engine->Audit()), "");
}

TEST_F(AuditLoadTest, RealFaultsAreFoundAndMendedBesideCommitsAndFlushes) {
  const std::string store = Changed([&](WriteTransaction& write) {
    Delete(write, TreeId::kIndex, Entry(city_, int64_t{5}, "p5"));
    Put(write, TreeId::kIndex, Entry(name_, std::string("gone"), "p6"), "");
    Put(write, TreeId::kIndex, Entry(badge_, std::string("b6"), "p6", "t2"), "");
    Delete(write, TreeId::kRelations, MemberRow("t2", "p2"));
    Delete(write, TreeId::kRelations, OwnerRow("t1", "p11", 11));
  });
  {
    const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Options());
    ASSERT_NE(engine, nullptr);
    {
      const Load load(*engine, people_, teams_, relation_, testing::Seed());
      for (uint64_t i = 0; i < testing::Scaled(50); ++i) {
        const absl::StatusOr<AuditReport> report = engine->Audit();
        ASSERT_TRUE(report.ok()) << report.status();
        if (WasEnded(*report)) continue;
        ASSERT_EQ(report->fault_count(), 6u) << "audit " << i;
      }
      absl::StatusOr<RepairReport> repaired = engine->Repair();
      for (int i = 0; i < 20 && repaired.ok() && WasEnded(repaired->after); ++i) {
        repaired = engine->Repair();
      }
      ASSERT_TRUE(repaired.ok()) << repaired.status();
      EXPECT_TRUE(repaired->done());
      EXPECT_EQ(FirstFault(repaired->after), "");
      for (uint64_t i = 0; i < testing::Scaled(50); ++i) {
        ASSERT_EQ(FirstFault(*engine->Audit()), "") << "audit " << i;
      }
    }
    testing::MustFlush(*engine);
    EXPECT_EQ(FirstFault(*engine->Audit()), "");
  }
  testing::ExpectSound(store);
}

// A hundred times as many links as one message holds are wrong, and clients change the same ones.
TEST_F(AuditLoadTest, RepairNeverUndoesWhatClientsChange) {
  constexpr int kMembers = 600;
  {
    const std::unique_ptr<Engine> engine = testing::OpenEngine(kept(), Quiet());
    storage::WriteBatch batch;
    for (int i = 0; i < kMembers; ++i) {
      batch.Put(people_, absl::StrCat("w", i), testing::Json(R"({"badge":"w"})"));
      batch.Link(relation_, "t1", absl::StrCat("w", i), 1000 + i);
    }
    testing::MustCommit(*engine, std::move(batch));
  }
  const std::string store = Changed([&](WriteTransaction& write) {
    for (int i = 0; i < kMembers; ++i) {
      const std::string id = absl::StrCat("w", i);
      if (i % 2 == 0) Delete(write, TreeId::kRelations, MemberRow("t1", id));
      if (i % 2 == 1) Delete(write, TreeId::kRelations, OwnerRow("t1", id, 1000 + i));
    }
  });
  const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Options());
  ASSERT_NE(engine, nullptr);
  std::thread client([&] {
    for (int i = 1; i < kMembers; i += 4) {
      storage::WriteBatch batch;
      batch.Unlink(relation_, "t1", absl::StrCat("w", i));
      testing::MustCommit(*engine, std::move(batch));
      if (i % 16 == 1) testing::MustFlush(*engine);
    }
  });
  const absl::StatusOr<RepairReport> repaired = engine->Repair();
  client.join();
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  testing::MustFlush(*engine);
  ASSERT_TRUE(engine->Repair().ok());  // What the two did to one another, if anything.
  EXPECT_EQ(FirstFault(*engine->Audit()), "");
  std::string members;
  ASSERT_TRUE(engine->TakeSnapshot()
                  ->Members(relation_, "t1", {},
                            [&](const storage::LinkRef& link) {
                              absl::StrAppend(&members, std::string(link.member), " ");
                              return true;
                            })
                  .ok());
  for (int i = 1; i < kMembers; i += 4) {
    EXPECT_THAT(members, ::testing::Not(HasSubstr(absl::StrCat("w", i, " ")))) << "unlinked";
  }
}

// A repair of many slices, and the disk is full in the middle of it.
class CutShortTest : public AuditLoadTest {
 protected:
  static constexpr int kMany = 4'000;

  // Nobody's entries, which a repair removes, and wrong counts.
  std::string Wrong() {
    return Changed([&](WriteTransaction& write) {
      for (int i = 0; i < kMany; ++i) {
        Put(write, TreeId::kIndex, Entry(city_, int64_t{i}, absl::StrCat("nobody", i)), "");
      }
      Delete(write, TreeId::kRelations, MemberRow("t2", "p2"));
    });
  }
};

TEST_F(CutShortTest, TransactionThatFailsInTheMiddleIsAFailedStage) {
  if (testing::RanWithIoShim()) return;
  const std::string store = Wrong();
  int failed = 0;
  for (int write = 1; write <= 64; write *= 2) {
    const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
    ASSERT_NE(engine, nullptr);
    // Not of the meta pages: those would stop the engine.
    const std::string fault =
        absl::StrCat(" path=store.mdb from=8192 nth=", write, " errno=", ENOSPC);
    ASSERT_TRUE(testing::SetIoFaults(absl::StrCat("pwrite", fault, ";writev", fault).c_str()));
    const absl::StatusOr<RepairReport> repaired = engine->Repair();
    const int64_t struck = testing::IoFaultCount();
    ASSERT_TRUE(testing::SetIoFaults(""));
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    if (!repaired->done()) ++failed;
    // Each fault is one stage's; the others are done.
    const auto failed_stages = std::count_if(
        repaired->stages.begin(), repaired->stages.end(), [](const RepairStage& stage) {
          EXPECT_TRUE(stage.status.ok() || absl::IsResourceExhausted(stage.status))
              << stage.name << ": " << stage.status;
          return !stage.status.ok();
        });
    EXPECT_LE(failed_stages, struck);
    if (write == 1) {
      EXPECT_EQ(repaired->stages.size(), 3u);
    }
  }
  EXPECT_GT(failed, 0);
  const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
  const absl::StatusOr<RepairReport> repaired = engine->Repair();
  ASSERT_TRUE(repaired.ok()) << repaired.status();
  EXPECT_EQ(FirstFault(repaired->after), "");
}

// Whatever was done is whole, and the next repair does the rest.
TEST_F(CutShortTest, KillInTheMiddleLeavesAStoreThatTheNextRepairMends) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "ThreadSanitizer lets no thread begin behind a fork";
#endif
  if (testing::RanWithIoShim()) return;
  const std::string store = Wrong();
  uint64_t faults_before = kMany + 2;
  int killed = 0;
  for (int write = 2; killed < 12; write += 3) {
    const pid_t child = fork();
    if (child == 0) {
      const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
      testing::SetIoFaults(absl::StrCat("pwrite path=store.mdb nth=", write, " kill").c_str());
      engine->Repair().IgnoreError();
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status)) break;
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    ++killed;
    const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
    ASSERT_NE(engine, nullptr);
    const absl::StatusOr<AuditReport> report = engine->Audit();
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_LE(report->fault_count(), faults_before);
    faults_before = report->fault_count();
  }
  EXPECT_GT(killed, 0);
  {
    const std::unique_ptr<Engine> engine = testing::OpenEngine(store, Quiet());
    ASSERT_NE(engine, nullptr);
    const absl::StatusOr<RepairReport> repaired = engine->Repair();
    ASSERT_TRUE(repaired.ok()) << repaired.status();
    EXPECT_EQ(FirstFault(repaired->after), "");
  }
  testing::ExpectSound(store);
}

}  // namespace
}  // namespace millrace
