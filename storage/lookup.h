#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
  absl::StatusOr<std::vector<Relation>> ListRelations() const;

  // One record that was found. Views end with the call.
  struct Found {
    std::string_view id;
    Version version = kNoVersion;
    std::string_view document;
  };
  absl::StatusOr<FoundPage> Find(const IndexDefinition& index, const IndexQuery& query,
                                 absl::FunctionRef<bool(const Found&)> visit) const;

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
  // A lookup whose words make sense. The scope is null unless the index is scoped.
  struct Asked {
    const IndexDefinition& index;
    const Relation* scope;
    const IndexQuery& query;
    const Range& range;
  };
  class Judge;

  static absl::StatusOr<Range> RangeOf(const IndexQuery& query);
  static absl::StatusOr<Range> RangeBetween(const IndexQuery& query);
  static absl::Status CheckAfter(const IndexQuery& query, const Range& range);
  absl::StatusOr<IndexDefinition> Current(const IndexDefinition& index) const;
  absl::StatusOr<std::optional<Relation>> ScopeOf(const IndexDefinition& index) const;
  absl::StatusOr<FoundPage> Walk(const Asked& asked, Generation generation,
                                 absl::FunctionRef<bool(const Found&)> visit) const;
  absl::StatusOr<FoundPage> Scan(const Asked& asked,
                                 absl::FunctionRef<bool(const Found&)> visit) const;
  absl::Status Collect(const Asked& asked, absl::FunctionRef<void(std::string)> take) const;
  absl::StatusOr<std::vector<std::string>> Places(const Asked& asked) const;
  absl::StatusOr<bool> IsMember(const Relation& scope, std::string_view owner,
                                std::string_view member) const;
  absl::StatusOr<std::optional<LinkRef>> JudgeLink(const Relation& relation, std::string_view key,
                                                   bool staged) const;

  const RowView& view_;
  absl::FunctionRef<absl::Status()> ended_;
};

}  // namespace millrace::storage
