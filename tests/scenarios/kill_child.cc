// The child of kill_test and engine_life_test: uses a store until it is killed.
//   kill_child commit STORE SEED   commits from several threads, reports each answer on descriptor
//   1 kill_child hold STORE          opens the store, says so with one byte, closes it when
//   descriptor
//                                  0 ends

#include <unistd.h>

#include <cstdlib>
#include <deque>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/scenarios/kill_work.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {
namespace {

[[noreturn]] void Die(std::string_view what, const absl::Status& status) {
  std::cerr << "kill_child: " << what << ": " << status << std::endl;
  _exit(2);
}

std::unique_ptr<Engine> MustOpen(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory, KillEngine());
  if (!engine.ok()) Die("open", engine.status());
  return *std::move(engine);
}

// Writes are small enough to be atomic, so threads do not mix theirs.
void Report(const KillAnswer& answer) {
  if (write(STDOUT_FILENO, &answer, sizeof(answer)) != sizeof(answer)) _exit(3);
}

// Commits batch after batch, a few ahead of the answers, until the process dies.
class Committing {
 public:
  Committing(Engine& engine, const storage::Collection& collection, uint64_t thread, uint64_t seed)
      : engine_(engine), collection_(collection), thread_(thread), random_(seed + thread) {}

  void Run() {
    const absl::StatusOr<storage::Snapshot> snapshot = engine_.TakeSnapshot("child");
    if (!snapshot.ok()) Die("snapshot", snapshot.status());
    next_ = NextBatch(*snapshot, collection_, thread_);
    const size_t ahead_max = random_() % 8;
    for (;;) {
      CommitOptions options;
      options.durability = static_cast<Durability>(random_() % 3);
      waiting_.push_back({next_, engine_.Commit(KillBatch(collection_, thread_, next_), options)});
      ++next_;
      while (waiting_.size() > ahead_max) TakeAnswer();
    }
  }

 private:
  void TakeAnswer() {
    absl::StatusOr<CommitReceipt> receipt = waiting_.front().second.Wait();
    if (!receipt.ok()) Die("commit", receipt.status());
    Report({.thread = thread_, .batch = waiting_.front().first, .version = receipt->version});
    waiting_.pop_front();
  }

  Engine& engine_;
  const storage::Collection& collection_;
  const uint64_t thread_;
  std::mt19937_64 random_;
  uint64_t next_ = 0;
  std::deque<std::pair<uint64_t, Pending<CommitReceipt>>> waiting_;
};

int CommitUntilKilled(const std::string& directory, uint64_t seed) {
  const std::unique_ptr<Engine> engine = MustOpen(directory);
  const absl::StatusOr<storage::Collection> collection = engine->CreateCollection(kKillCollection);
  if (!collection.ok()) Die("create", collection.status());
  std::vector<std::thread> threads;
  for (uint64_t i = 0; i < kKillThreadCount; ++i) {
    threads.emplace_back([&, i] { Committing(*engine, *collection, i, seed).Run(); });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int Hold(const std::string& directory) {
  const std::unique_ptr<Engine> engine = MustOpen(directory);
  if (write(STDOUT_FILENO, "!", 1) != 1) return 3;
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}

}  // namespace
}  // namespace millrace::testing

int main(int argc, char** argv) {
  const std::string mode = argc > 2 ? argv[1] : "";
  if (mode == "commit" && argc == 4) {
    return millrace::testing::CommitUntilKilled(argv[2], std::strtoull(argv[3], nullptr, 10));
  }
  if (mode == "hold" && argc == 3) return millrace::testing::Hold(argv[2]);
  std::cerr << "usage: kill_child commit STORE SEED | hold STORE" << std::endl;
  return 64;
}
