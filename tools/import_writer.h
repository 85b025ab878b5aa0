#pragma once

#include <cstdint>
#include <deque>

#include "absl/status/status.h"

#include "millrace/actors/engine.h"
#include "millrace/tools/record_reader.h"

namespace millrace {

// Puts records into a collection in batches, many of them under way at once: the log syncs them in
// groups. Thread-compatible.
class ImportWriter {
 public:
  ImportWriter(Engine& engine, const storage::Collection& collection);

  // Takes a record. Blocks while the batches under way are at their limit. The first failure of a
  // commit is returned by this and every later call.
  absl::Status Add(const SourceRecord& record);
  // Sends what has been taken, full batch or not.
  absl::Status Send();
  // Sends, and waits for all answers.
  absl::Status Finish();

  // Records whose commit has been answered: durable.
  uint64_t committed_count() const { return committed_count_; }

 private:
  struct UnderWay {
    Pending<CommitReceipt> answer;
    uint64_t record_count;
  };

  // Takes the answers that are there; waits for the oldest while more than `count_max` are missing.
  absl::Status TakeAnswers(size_t count_max);

  Engine& engine_;
  const storage::Collection& collection_;
  storage::WriteBatch batch_;
  std::deque<UnderWay> under_way_;
  uint64_t committed_count_ = 0;
  absl::Status failure_;
};

}  // namespace millrace
