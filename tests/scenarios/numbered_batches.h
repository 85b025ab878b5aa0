#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "millrace/actors/engine.h"

// What the tests of faults write and look for: batches that have a number, so that it can be told
// which are there and whether they are whole.

namespace millrace::testing {

inline constexpr int kRecordsPerBatch = 3;
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Nothing is flushed unless a test asks; the log has the smallest files.
inline EngineOptions QuietOptions() {
  EngineOptions options;
  options.quota_bytes = uint64_t{1} << 30;
  options.rotate_interval = absl::InfiniteDuration();
  options.rotate_rows = 100'000;
  options.log_file_bytes = uint64_t{1} << 20;
  return options;
}

// The same, but it rotates often, and who waits for a device that fails does not wait long.
inline EngineOptions FlushingOften(uint64_t rotate_rows) {
  EngineOptions options = QuietOptions();
  options.rotate_rows = rotate_rows;
  options.sync_interval = absl::Milliseconds(1);
  options.commit_timeout = absl::Seconds(5);
  return options;
}

inline std::unique_ptr<Engine> OpenEngine(const std::string& directory,
                                          const EngineOptions& options = QuietOptions(),
                                          const Engine::Dependencies& dependencies = {}) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory, options, dependencies);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

inline storage::Collection NumberedCollection(Engine& engine) {
  absl::StatusOr<storage::Collection> collection = engine.CreateCollection("numbered");
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? *collection : storage::Collection();
}

inline storage::Document NumberedDocument(int number, size_t padding = 0) {
  absl::StatusOr<storage::Document> document = storage::Document::FromJson(
      absl::StrCat("{\"n\":", number, ",\"pad\":\"", std::string(padding, 'p'), "\"}"));
  EXPECT_TRUE(document.ok()) << document.status();
  return *document;
}

inline std::string NumberedId(int number, int part) {
  return absl::StrCat(number, "/", part);
}

// Three records that belong together; their ids lie apart from one another and from other batches'.
inline storage::WriteBatch NumberedBatch(const storage::Collection& collection, int number,
                                         size_t padding = 0) {
  storage::WriteBatch batch;
  for (int part = 0; part < kRecordsPerBatch; ++part) {
    batch.Put(collection, NumberedId(number, part), NumberedDocument(number, padding));
  }
  return batch;
}

inline storage::WriteBatch NumberedDelete(const storage::Collection& collection, int number) {
  storage::WriteBatch batch;
  for (int part = 0; part < kRecordsPerBatch; ++part) {
    batch.Delete(collection, NumberedId(number, part));
  }
  return batch;
}

// What a store holds of numbered batches. Value.
struct Numbered {
  std::map<int, storage::Version> batches;  // By number.
  storage::Version version = 0;             // Of the snapshot.
  std::string fault;                        // Not empty: what is wrong.

  bool Holds(int number) const { return batches.count(number) > 0; }
  // Whether they are, with the collection, all commits up to the snapshot's version.
  bool IsPrefix() const { return version == batches.size() + 1; }
};

// Reads everything twice, by Scan and by Get, and compares; a batch in part, with wrong documents
// or with records of several versions is a fault, and so is a Count that differs.
inline Numbered ReadNumbered(Engine& engine) {
  Numbered found;
  const auto fault = [&found](const std::string& text) {
    if (found.fault.empty()) found.fault = text;
    return found;
  };
  const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot();
  if (!snapshot.ok()) return fault(snapshot.status().ToString());
  found.version = snapshot->version();
  const absl::StatusOr<storage::Collection> collection = snapshot->FindCollection("numbered");
  if (!collection.ok()) {
    return found.version == 0 ? found : fault(collection.status().ToString());
  }
  std::map<int, int> parts;
  uint64_t record_count = 0;
  const absl::Status scanned =
      snapshot->Scan(*collection, {}, [&](const storage::RecordRef& record) {
        ++record_count;
        const int number = std::stoi(std::string(record.id));
        const auto n = storage::DocumentView(record.document).Field("n");
        if (!n.has_value() || *n != storage::FieldValue(int64_t{number})) {
          fault(absl::StrCat("record ", std::string(record.id), " holds another's document"));
        }
        const auto [it, added] = found.batches.emplace(number, record.version);
        if (it->second != record.version) fault(absl::StrCat("batch ", number, " is mixed"));
        ++parts[number];
        return true;
      });
  if (!scanned.ok()) return fault(scanned.ToString());
  for (const auto& [number, count] : parts) {
    if (count != kRecordsPerBatch) fault(absl::StrCat("batch ", number, " is there in part"));
    for (int part = 0; part < kRecordsPerBatch; ++part) {
      const auto record = snapshot->Get(*collection, NumberedId(number, part));
      if (!record.ok() || record->version != found.batches[number]) {
        fault(absl::StrCat("Get and Scan differ in ", NumberedId(number, part)));
      }
    }
  }
  const absl::StatusOr<uint64_t> count = snapshot->Count(*collection);
  if (!count.ok() || *count != record_count) {
    fault(absl::StrCat("Count says ", count.ok() ? absl::StrCat(*count) : "an error", ", Scan ",
                       record_count));
  }
  return found;
}

// A store of `count` batches, all in LMDB, stopped cleanly.
inline storage::Collection BuildFlushed(const std::string& directory, int count) {
  const std::unique_ptr<Engine> engine = OpenEngine(directory);
  const storage::Collection collection = NumberedCollection(*engine);
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE(engine->Commit(NumberedBatch(collection, i, 10)).Wait(kPatience).ok());
  }
  return collection;
}

// Whether all actors have stopped, of themselves.
inline bool AwaitStopped(const Engine& engine) {
  const absl::Time deadline = absl::Now() + kPatience;
  while (absl::Now() < deadline) {
    bool stopped = true;
    for (const ActorStatus& actor : engine.GetStatus().actors) {
      stopped =
          stopped && (actor.state == ActorState::kStopped || actor.state == ActorState::kFailed);
    }
    if (stopped) return true;
    std::this_thread::yield();
  }
  return false;
}

inline std::string MessageOf(const absl::Status& status) {
  return std::string(status.message());
}

}  // namespace millrace::testing
