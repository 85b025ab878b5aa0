// What do commits feel of a flush? How long the Committer takes to rotate a buffer of 10,000 rows,
// and how fast 16 clients commit in the half second after a rotation of a million rows, whose
// stream takes at least that long, beside the same clients with nothing to flush.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/harness.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

using Metrics = std::vector<BenchMetric>;

constexpr int kClients = 16;
constexpr absl::Duration kWindow = absl::Milliseconds(500);

// An engine that rotates only when it is asked to, on a directory of its own.
class Store {
 public:
  absl::Status Open() {
    EngineOptions options;
    options.rotate_bytes = 0;
    options.rotate_rows = 0;
    options.rotate_interval = absl::InfiniteDuration();
    options.l0_soft_bytes_max = uint64_t{1} << 30;
    options.l0_hard_bytes_max = uint64_t{2} << 30;
    absl::StatusOr<std::unique_ptr<Engine>> engine =
        Engine::Open(directory_.path() + "/millrace", options);
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    absl::StatusOr<storage::Collection> collection = engine_->CreateCollection("records");
    if (!collection.ok()) return collection.status();
    collection_ = *std::move(collection);
    return absl::OkStatus();
  }

  Engine& engine() { return *engine_; }

  Pending<CommitReceipt> Commit(uint64_t number, size_t rows) {
    storage::WriteBatch batch;
    for (size_t row = 0; row < rows; ++row, ++number) {
      // Multiplied, so that rows come in no order.
      batch.Put(collection_, absl::StrCat("key:", number * 0x9e3779b97f4a7c15), document_);
    }
    return engine_->Commit(std::move(batch));
  }
  // `rows` rows, not flushed.
  absl::Status Fill(size_t rows) {
    constexpr size_t kBatch = 1'000;
    std::vector<Pending<CommitReceipt>> pending;
    for (size_t done = 0; done < rows; done += kBatch) pending.push_back(Commit(done, kBatch));
    for (Pending<CommitReceipt>& commit : pending) {
      if (absl::Status status = commit.Wait().status(); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  const BenchDirectory directory_;
  std::unique_ptr<Engine> engine_;
  storage::Collection collection_;
  const storage::Document document_ =
      storage::DocumentBuilder().Set("v", std::string(100, '#')).Finish().value();
};

// The histogram's buckets end at powers of two: the figure is the upper end.
absl::StatusOr<Metrics> Rotate(size_t rotations) {
  Store store;
  if (absl::Status status = store.Open(); !status.ok()) return status;
  for (size_t i = 0; i < rotations; ++i) {
    if (absl::Status status = store.Fill(10'000); !status.ok()) return status;
    if (absl::Status status = store.engine().Flush().Wait().status(); !status.ok()) return status;
  }
  const HistogramSnapshot rotate_ns = store.engine().GetStatus().flush.rotate_ns;
  if (rotate_ns.count() < rotations) return absl::InternalError("rotations are missing");
  return Metrics{
      {"p50_us", "us", static_cast<double>(rotate_ns.Percentile(0.5)) / 1e3},
      {"max_us", "us", static_cast<double>(rotate_ns.Percentile(1.0)) / 1e3},
  };
}

absl::StatusOr<Metrics> CommitBeside(size_t rows, bool flush) {
  Store store;
  if (absl::Status status = store.Open(); !status.ok()) return status;
  if (absl::Status status = store.Fill(rows); !status.ok()) return status;
  std::atomic<uint64_t> commits = 0;
  std::atomic<bool> failed = false;
  std::vector<std::thread> clients;
  Pending<FlushReceipt> published;
  const auto begin = std::chrono::steady_clock::now();
  const auto end = begin + absl::ToChronoMilliseconds(kWindow);
  if (flush) published = store.engine().Flush();
  for (int client = 0; client < kClients; ++client) {
    clients.emplace_back([&, client] {
      uint64_t number = static_cast<uint64_t>(client + 1) << 40;
      while (std::chrono::steady_clock::now() < end) {
        if (!store.Commit(number++, 1).Wait().ok()) failed = true;
        commits.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (failed) return absl::InternalError("a commit failed");
  if (flush) {
    if (absl::Status status = published.Wait().status(); !status.ok()) return status;
  }
  Metrics metrics = {{"per_second", "commits/s", static_cast<double>(commits) / seconds.count()}};
  if (flush) {
    const HistogramSnapshot stream_ns = store.engine().GetStatus().flush.stream_ns;
    metrics.push_back({"stream_ms", "ms", static_cast<double>(stream_ns.Percentile(1.0)) / 1e6});
  }
  return metrics;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;  // NOLINT(google-build-using-namespace)
  BenchSuite suite("flush", argc, argv);
  const size_t rotations = static_cast<size_t>(suite.Scale(30, 2));
  suite.Add("rotate rows=10000", "millrace", [rotations] { return Rotate(rotations); });
  // A rotation's limit is the time itself.
  suite.Add("rotate rows=10000", "100 us", []() -> absl::StatusOr<Metrics> {
    return Metrics{{"p50_us", "us", 100}, {"max_us", "us", 100}};
  });
  suite.Goal({.case_name = "rotate rows=10000",
              .metric = "p50_us",
              .system = "millrace",
              .rival = "100 us",
              .at_most = 1.0});
  const size_t rows = static_cast<size_t>(suite.Scale(1'000'000, 10'000));
  const std::string beside = "clients=16 stream";
  suite.Add(beside, "millrace", [rows] { return CommitBeside(rows, true); });
  suite.Add(beside, "millrace-idle", [rows] { return CommitBeside(rows, false); });
  suite.Goal({.case_name = beside,
              .metric = "per_second",
              .system = "millrace",
              .rival = "millrace-idle",
              .at_least = 0.8});
  return suite.Run();
}
