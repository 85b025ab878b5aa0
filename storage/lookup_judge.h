#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#include "millrace/storage/lookup.h"

namespace millrace::storage {

// Judges the entries and candidates of one lookup by their records. Owned by one thread.
class Lookup::Judge {
 public:
  // Lookup and question outlive it.
  Judge(const Lookup& lookup, const Asked& asked)
      : lookup_(lookup),
        asked_(asked),
        field_(asked.target.index.field),
        record_key_(EncodeCollectionPrefix(Tree::kRecords, kTrunk, asked.target.index.collection)),
        record_prefix_bytes_(record_key_.size()) {}

  // The record that the place (value, id) stands for, if it still has the value, and if that is
  // asked for. DataLoss: it is no place.
  absl::StatusOr<std::optional<Found>> Find(std::string_view place) {
    std::string_view id = place;
    if (!SkipIndexValue(&id) || id.empty()) {
      return absl::DataLossError(absl::StrCat("index '", asked_.target.index.name,
                                              "' holds a damaged entry; rebuild the index"));
    }
    record_key_.resize(record_prefix_bytes_);
    record_key_.append(id);
    const absl::StatusOr<std::optional<CurrentRow>> record = lookup_.view_.Find(record_key_);
    if (!record.ok()) return record.status();
    if (!record->has_value() || !field_.Extract((*record)->payload, &key_)) return std::nullopt;
    if (key_.entry() != place.substr(0, place.size() - id.size())) return std::nullopt;
    if (!asked_.range.Holds(key_.full)) return std::nullopt;
    const absl::StatusOr<bool> in_scope = lookup_.IsInScope(asked_.target, asked_.query.owner, id);
    if (!in_scope.ok()) return in_scope.status();
    if (!*in_scope) return std::nullopt;
    return Found{.id = id, .version = (*record)->version, .document = (*record)->payload};
  }

 private:
  const Lookup& lookup_;
  const Asked& asked_;
  const IndexField field_;
  std::string record_key_;
  const size_t record_prefix_bytes_;
  IndexKey key_;
};

}  // namespace millrace::storage
