#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"

#include "millrace/actors/engine.h"

// What the child of the kill tests writes, and its parent expects. Thread t's batch k, numbered
// from 0 without gaps over all children of a store,
//   - puts the record "count/t" with {"n": k},
//   - puts 1 + k % 3 records "t/k/i" with {"n": k} and more, of different lengths,
//   - makes some of them members of "count/t", stages others, and ends links of batch k - 5,
//   - deletes the records of batch k - kKillBatchesKept, and so their links.
// So the counts tell how many commits there are, which is the version, less the definitions.

namespace millrace::testing {

inline constexpr char kKillCollection[] = "work";
inline constexpr uint64_t kKillThreadCount = 4;
inline constexpr uint64_t kKillBatchesKept = 300;

// One answered commit, as the child reports it. Value.
struct KillAnswer {
  uint64_t thread = 0;
  uint64_t batch = 0;
  uint64_t version = 0;
};

// Flushes all the time; other seeds, other sizes and times. 0 is the usual one.
EngineOptions KillEngine(uint64_t seed = 0);

// What is defined before the first batch. Value.
struct KillSchema {
  storage::Collection work;
  storage::Relation rows;           // Of each counter.
  storage::IndexDefinition number;  // "n".
  storage::IndexDefinition key;     // "key", unique: of the rows alone.
  storage::IndexDefinition slot;    // "slot", unique among the rows of a counter.
};
absl::StatusOr<KillSchema> DefineKillSchema(Engine& engine);

storage::WriteBatch KillBatch(const KillSchema& schema, uint64_t thread, uint64_t batch_number);

// The number of the thread's first batch that is not in the store.
uint64_t NextBatch(const storage::Snapshot& snapshot, const storage::Collection& collection,
                   uint64_t thread);

// What a snapshot holds of all that. Value.
struct KillContents {
  std::array<uint64_t, kKillThreadCount> batch_counts{};
  // Of the batches whose rows are kept.
  std::array<std::map<uint64_t, storage::Version>, kKillThreadCount> versions;
  std::string fault;   // Not empty: what is wrong.
  bool ended = false;  // The engine ended the snapshot meanwhile: nothing is known.
};
// Reads everything, and compares: exactly the records of whole batches, each in one version; the
// counts; every index and relation; and that the version says how many commits there were.
KillContents ReadKillStore(const storage::Snapshot& snapshot);

}  // namespace millrace::testing
