#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/index_query.h"
#include "millrace/storage/row_view.h"

namespace millrace::storage {

// Lookups through indexes and links in one view of the store: what a snapshot does with them. Every
// candidate is judged by its record in the same view. Thread-compatible.
class Lookup {
 public:
  // `ended` is asked between two rows; its error ends the lookup.
  Lookup(const RowView& view, absl::FunctionRef<absl::Status()> ended)
      : view_(view), ended_(ended) {}

  absl::StatusOr<IndexDefinition> FindIndex(CollectionId collection, std::string_view name) const;
  absl::StatusOr<std::vector<IndexInfo>> ListIndexes() const;
  absl::StatusOr<Relation> FindRelation(std::string_view name) const;
  absl::StatusOr<std::vector<RelationInfo>> ListRelations() const;

  // One record that was found. Views end with the call.
  struct Found {
    std::string_view id;
    Version version = kNoVersion;
    std::string_view document;
  };
  absl::StatusOr<FoundPage> Find(const IndexDefinition& index, const IndexQuery& query,
                                 absl::FunctionRef<bool(const Found&)> visit) const;

  // The records that have one of the values, in the values' order; `value` says which.
  struct ManyQuery {
    const std::vector<IndexValue>& values;
    std::string_view owner;
  };
  absl::StatusOr<FoundPage> FindMany(
      const IndexDefinition& index, const ManyQuery& query,
      absl::FunctionRef<bool(size_t value, const Found&)> visit) const;
  // `count` of the records that the query finds, drawn by `random`: see Snapshot::Sample.
  struct SampleQuery {
    const IndexQuery& query;
    uint64_t count;
    absl::FunctionRef<uint64_t()> random;
  };
  absl::Status Sample(const IndexDefinition& index, const SampleQuery& sample,
                      absl::FunctionRef<void(const Found&)> visit) const;

  // Where a record stands; its tree and branch are not looked at.
  absl::Status Memberships(const RowKey& record,
                           absl::FunctionRef<bool(const Relation&, const LinkRef&)> visit) const;
  absl::StatusOr<std::vector<IndexedValue>> IndexedIn(const RowKey& record) const;

  absl::StatusOr<FoundPage> Links(const Relation& relation, std::string_view end, bool of_owner,
                                  const LinkQuery& query,
                                  absl::FunctionRef<bool(const LinkRef&)> visit) const;

 private:
  // What a query asks, in the terms of encoded values.
  struct Range {
    std::string begin;  // Entries [begin, end), as value and id; an empty end has none.
    std::string end;
    IndexKey equal;
    IndexKey from;
    IndexKey to;
    std::string prefix;
    // Whether a value, whole, is asked for.
    bool Holds(std::string_view full) const;
    // Whether a place lies above the range, and whether the walk is past it.
    bool IsAbove(std::string_view place) const { return !end.empty() && place >= end; }
    bool Ends(std::string_view place, bool reverse) const {
      return reverse ? place < begin : IsAbove(place);
    }
  };
  // An index as it is in this view, with the relation that scopes it, and its builds.
  struct Target {
    IndexDefinition index;
    std::optional<Relation> scope;
    GenerationState generations;
  };
  // A lookup whose words make sense.
  struct Asked {
    const Target& target;
    const IndexQuery& query;
    const Range& range;
  };
  class Judge;

  static absl::StatusOr<Range> RangeOf(const IndexQuery& query);
  static absl::StatusOr<Range> RangeBetween(const IndexQuery& query);
  static absl::Status CheckAfter(const IndexQuery& query, const Range& range);
  absl::StatusOr<IndexDefinition> Current(const IndexDefinition& index) const;
  absl::StatusOr<std::optional<Relation>> ScopeOf(const IndexDefinition& index) const;
  absl::StatusOr<Target> TargetOf(const IndexDefinition& index, std::string_view owner,
                                  bool may_scan) const;
  absl::Status ForEachPlace(const Asked& asked,
                            absl::FunctionRef<absl::StatusOr<bool>(std::string_view)> visit) const;
  absl::StatusOr<FoundPage> Walk(const Asked& asked,
                                 absl::FunctionRef<bool(const Found&)> visit) const;
  absl::StatusOr<FoundPage> Scan(const Asked& asked,
                                 absl::FunctionRef<bool(const Found&)> visit) const;
  absl::Status Collect(const Asked& asked, absl::FunctionRef<void(std::string)> take) const;
  absl::StatusOr<std::vector<std::string>> DrawEntries(const Asked& asked,
                                                       const SampleQuery& sample) const;
  absl::StatusOr<std::vector<std::string>> DrawRecords(const Asked& asked,
                                                       const SampleQuery& sample) const;
  using IdsByValue = absl::flat_hash_map<std::string, std::vector<std::string>>;  // Encoded, whole.
  absl::Status CollectMany(const Target& target, std::string_view owner, IdsByValue* ids) const;
  absl::StatusOr<FoundPage> ScanMany(
      const Target& target, const ManyQuery& query,
      absl::FunctionRef<bool(size_t value, const Found&)> visit) const;
  absl::StatusOr<std::vector<std::string>> Places(const Asked& asked) const;
  absl::StatusOr<std::optional<Found>> FindRecord(const IndexDefinition& index,
                                                  std::string_view id) const;
  absl::StatusOr<bool> IsInScope(const Target& target, std::string_view owner,
                                 std::string_view id) const;
  absl::Status AddValues(const IndexInfo& index, std::string_view id, std::string_view document,
                         std::vector<IndexedValue>* out) const;
  absl::StatusOr<bool> HasEntry(const IndexInfo& index, IndexEntry entry) const;
  absl::StatusOr<std::optional<LinkRef>> JudgeLink(const Relation& relation, std::string_view key,
                                                   bool staged) const;

  const RowView& view_;
  absl::FunctionRef<absl::Status()> ended_;
};

}  // namespace millrace::storage
