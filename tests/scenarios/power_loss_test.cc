// The power goes at any moment of an engine's life, LMDB's part of it included. The calls of a life
// are recorded by the shim; images of what a disk would hold are made of them, verified, opened,
// and compared with what had been acknowledged. Each test runs in a child process with the shim
// preloaded.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/io_trace.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/verify.h"

namespace millrace {
namespace {

using storage::Collection;
using testing::IoEvent;
using testing::IoReplay;
using testing::IoTrace;
using testing::Numbered;
using testing::NumberedBatch;
using testing::RanWithIoShim;
using testing::ReadNumbered;
using testing::SetIoFaults;
using testing::TemporaryDirectory;

EngineOptions LossOptions() {
  return testing::FlushingOften(/*rotate_rows=*/40);
}

struct LifePlan {
  int first_number = 0;  // Of its batches.
  int thread_count = 1;
  int commits_each = 10;
  size_t padding_max = 200;  // Of a document, but for some that need pages of their own.
  bool stop = true;          // In order; else the recording ends before.
};

// Commits from several threads and marks each answer to a durable commit with the batch's number.
void Live(const std::string& directory, const LifePlan& plan, uint64_t seed, IoTrace& trace) {
  const auto opened = Engine::Open(directory, LossOptions());
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::unique_ptr<Engine>& engine = *opened;
  const Collection collection = testing::NumberedCollection(*engine);
  std::vector<std::thread> threads;
  for (int t = 0; t < plan.thread_count; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(t));
      for (int i = 0; i < plan.commits_each; ++i) {
        const int number = plan.first_number + t * plan.commits_each + i;
        const auto durability = static_cast<Durability>(random() % 4 == 0 ? random() % 3 : 0);
        const size_t padding = random() % 8 == 0 ? 6'000 : random() % plan.padding_max;
        const auto receipt =
            engine->Commit(NumberedBatch(collection, number, padding), {.durability = durability})
                .Wait(testing::kPatience);
        ASSERT_TRUE(receipt.ok()) << receipt.status();
        if (durability == Durability::kDurable) trace.Mark(static_cast<uint64_t>(number));
        if (random() % 16 == 0) {
          ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!plan.stop) trace.Stop();
}

// What was found wrong in images. Value.
struct Findings {
  uint64_t image_count = 0;
  uint64_t lost_count = 0;     // Images that lack an acknowledged batch.
  uint64_t unsound_count = 0;  // That verification, opening or reading finds fault with.
  std::string first;           // What was found first.

  void Add(uint64_t* count, const std::string& what) {
    ++*count;
    if (first.empty()) first = what;
  }
};

// Looks at one image: verifies it, opens it and compares, and uses it if `use`.
void Judge(const std::string& directory, const std::set<int>& acknowledged, bool use,
           Findings* findings) {
  ++findings->image_count;
  const auto unsound = [&](const std::string& what) {
    findings->Add(&findings->unsound_count, what);
  };
  const auto verify = [&](const char* when) {
    const absl::StatusOr<storage::VerifyReport> report = storage::VerifyStore(directory);
    if (report.ok() && !report->sound()) {
      unsound(absl::StrCat("verified ", when, ": ", report->damage.front()));
    }
    // Before its creation is durable there is no store.
    const bool no_store = absl::IsNotFound(report.status()) && acknowledged.empty();
    if (!report.ok() && !no_store) unsound(absl::StrCat(when, ": ", report.status().ToString()));
  };
  verify("first");
  auto engine = Engine::Open(directory, LossOptions());
  if (!engine.ok()) return unsound(absl::StrCat("opened: ", engine.status().ToString()));
  const Numbered found = ReadNumbered(**engine);
  if (!found.fault.empty()) unsound(found.fault);
  if (!found.IsPrefix() && found.version != 0) unsound("what is there is no prefix of the commits");
  for (const int number : acknowledged) {
    if (found.Holds(number)) continue;
    findings->Add(&findings->lost_count, absl::StrCat("batch ", number, " was acknowledged"));
    break;
  }
  if (!use) return;
  const Collection collection = testing::NumberedCollection(**engine);
  for (int i = 0; i < 30; ++i) {
    const auto receipt =
        (*engine)->Commit(NumberedBatch(collection, 100'000 + i)).Wait(testing::kPatience);
    if (!receipt.ok()) unsound(receipt.status().ToString());
  }
  if (!(*engine)->Shutdown().Balanced()) unsound("the stop does not balance");
  engine->reset();
  verify("after use");
}

// Lets engines live in one store, one after the other, each on an image that the one before left,
// and judges images of every life. `rules` are for the shim, while an engine lives.
Findings LivesAndLosses(uint64_t seed, uint64_t images_per_life, const char* rules) {
  Findings findings;
  std::mt19937_64 random(seed);
  TemporaryDirectory scratch = TemporaryDirectory::InMemory();
  std::string root = scratch.File("life0");
  std::set<int> durable_before;  // Acknowledged by the lives before, as far as the image goes.
  for (int life = 0; life < 3; ++life) {
    std::vector<IoEvent> events;
    IoReplay replay(root, events);
    {
      IoTrace trace(root);
      SetIoFaults(rules);
      Live(root,
           {.first_number = 1'000 * (life + 1),
            .thread_count = 1 + static_cast<int>(random() % 4),
            .commits_each = 6 + static_cast<int>(random() % 10),
            .padding_max = random() % 4 == 0 ? 60'000u : 200u,  // The former fills log files.
            .stop = random() % 2 == 0},
           random(), trace);
      SetIoFaults("");
      events = trace.Take();
    }
    std::vector<size_t> moments = {events.size()};
    while (moments.size() < images_per_life) moments.push_back(random() % (events.size() + 1));
    std::sort(moments.begin(), moments.end());
    const size_t heir = random() % moments.size();
    std::set<int> durable_now;
    for (size_t i = 0; i < moments.size(); ++i) {
      replay.AdvanceTo(moments[i]);
      std::set<int> acknowledged = durable_before;
      for (const uint64_t mark : replay.marks()) acknowledged.insert(static_cast<int>(mark));
      const uint64_t image_seed = random();
      replay.WriteImage(image_seed, scratch.File("image"));
      if (i == heir) {
        durable_now = acknowledged;
        replay.WriteImage(image_seed, scratch.File(absl::StrCat("life", life + 1)));
      }
      Judge(scratch.File("image"), acknowledged, random() % 4 == 0, &findings);
      if (!findings.first.empty()) {
        absl::StrAppend(&findings.first, " (seed ", seed, ", life ", life, ", call ", moments[i],
                        " of ", events.size(), ", image seed ", image_seed, ")");
        return findings;
      }
    }
    durable_before = durable_now;
    root = scratch.File(absl::StrCat("life", life + 1));
  }
  return findings;
}

TEST(PowerLossTest, EveryImageIsSoundAndHoldsWhatWasAcknowledged) {
  if (RanWithIoShim()) return;
  std::mt19937_64 seeds(testing::Seed());
  const uint64_t rounds = testing::Scaled(30);
  uint64_t image_count = 0;
  for (uint64_t round = 0; round < rounds; ++round) {
    const Findings findings = LivesAndLosses(seeds(), 8, "");
    image_count += findings.image_count;
    ASSERT_EQ(findings.first, "");
  }
  std::cout << "images after power losses: " << image_count << std::endl;
}

// Every moment of a short life: creation, a commit, a flush, the stop.
TEST(PowerLossTest, PowerMayFailAtEveryCallOfAShortLife) {
  if (RanWithIoShim()) return;
  TemporaryDirectory scratch = TemporaryDirectory::InMemory();
  const std::string root = scratch.File("store");
  std::vector<IoEvent> events;
  IoReplay replay(root, events);
  {
    IoTrace trace(root);
    Live(root, {.commits_each = 1}, 1, trace);
    events = trace.Take();
  }
  std::mt19937_64 random(testing::Seed());
  Findings findings;
  for (size_t moment = 0; moment <= events.size(); ++moment) {
    replay.AdvanceTo(moment);
    const std::set<int> acknowledged(replay.marks().begin(), replay.marks().end());
    for (uint64_t i = 0; i < testing::Scaled(5); ++i) {
      const uint64_t image_seed = random();
      replay.WriteImage(image_seed, scratch.File("image"));
      Judge(scratch.File("image"), acknowledged, i == 0, &findings);
      ASSERT_EQ(findings.first, "") << "call " << moment << ", image seed " << image_seed;
    }
  }
  std::cout << "images after power losses: " << findings.image_count << " at " << events.size()
            << " calls" << std::endl;
}

// An engine whose syncs do nothing: if nothing were found, the test above would prove nothing.
uint64_t RoundsWithFindings(const char* rules, uint64_t rounds) {
  uint64_t found = 0;
  for (uint64_t seed = 1; seed <= rounds; ++seed) {
    found += !LivesAndLosses(seed, 8, rules).first.empty();
  }
  return found;
}

TEST(PowerLossTest, ControlSyncsOfTheLogThatDoNothingAreFound) {
  if (RanWithIoShim()) return;
  EXPECT_GE(RoundsWithFindings("fdatasync path=/log/ forever lie", 3), 2u);
}

TEST(PowerLossTest, ControlSyncsOfLmdbThatDoNothingAreFound) {
  if (RanWithIoShim()) return;
  EXPECT_GE(RoundsWithFindings("fdatasync path=store.mdb forever lie", 3), 2u);
}

TEST(PowerLossTest, ControlSyncsOfDirectoriesThatDoNothingAreFound) {
  if (RanWithIoShim()) return;
  EXPECT_GE(RoundsWithFindings("fsync path=/ forever lie", 6), 1u);
}

}  // namespace
}  // namespace millrace
