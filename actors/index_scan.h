#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_build.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/run_sorter.h"

namespace millrace {

// What a build fills, and from where. Value.
struct IndexPlan {
  storage::IndexDefinition definition;
  std::optional<storage::Relation> scope;  // Of a scoped index.
  storage::Generation generation = 0;
  storage::BuildSource source = storage::BuildSource::kInstances;
};
// InvalidArgument: an index that is not scoped has no participation. NotFound: the scope's relation
// is not defined.
absl::Status CheckPlan(const IndexPlan& plan);

// The first part of a build: reads the source in batches, each in a fresh read transaction, and
// gives the entries to a sorter. All that changes behind a batch is the flushes' business, which
// maintain the generation since the fence. Owned by the Rebuilder thread.
class IndexScan {
 public:
  // Goes on behind `cursor`, with what was counted before.
  IndexScan(storage::Environment& environment, IndexPlan plan, std::string cursor,
            const storage::BuildCounts& counts);

  // How many rows the source has, by the store's own count; of a participation, by a walk.
  absl::StatusOr<uint64_t> CountSource();

  // Reads up to `row_max` rows; stops earlier when the sorter is full. DataLoss names a damaged
  // row. FailedPrecondition: the source gave nothing, but the store counts records in it.
  absl::Status Read(size_t row_max, storage::RunSorter* sorter);
  // The source is at its end.
  bool done() const { return done_; }
  // The last row that was read.
  const std::string& cursor() const { return cursor_; }
  // Records of the collection, by the store's own count, when the source was at its end.
  uint64_t record_count() const { return record_count_; }
  // `indexed` counts entries.
  const storage::BuildCounts& counts() const { return counts_; }

 private:
  absl::Status ReadRow(const storage::ReadTransaction& transaction, const storage::Cursor& row);
  absl::Status ReadRecord(const storage::ReadTransaction& transaction, std::string_view key,
                          std::string_view value);
  // The version of a record that has a place in the index, with its value_; else kNoVersion.
  absl::StatusOr<storage::Version> Extract(std::string_view key, std::string_view value);
  absl::Status ReadLink(const storage::ReadTransaction& transaction, std::string_view key,
                        std::string_view value);
  absl::Status AddOfEachOwner(const storage::ReadTransaction& transaction, std::string_view id,
                              storage::Version version);
  void AddEntry(std::string_view owner, std::string_view id, storage::Version version);
  absl::Status Finish(const storage::ReadTransaction& transaction);

  storage::Environment& environment_;
  const IndexPlan plan_;
  const storage::IndexField field_;
  const storage::TreeId tree_;  // That is walked.
  const std::string prefix_;    // Of the rows that are walked.
  const std::string records_;   // Prefix of the collection's records.
  std::string cursor_;
  storage::BuildCounts counts_;
  bool done_ = false;
  uint64_t record_count_ = 0;
  storage::RunSorter* sorter_ = nullptr;  // During Read.
  // Buffers, used again and again.
  storage::IndexKey value_;
  std::string entry_;
  std::string record_key_;
  std::string link_key_;
};

}  // namespace millrace
