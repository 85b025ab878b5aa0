#include "millrace/actors/changed_records.h"

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace millrace {
namespace {

uint64_t HashOf(std::string_view key) {
  return absl::HashOf(absl::string_view(key.data(), key.size()));
}

}  // namespace

void ChangedRecords::Note(std::string_view key) {
  if (full_) return;
  hashes_.insert(HashOf(key));
  if (hashes_.size() < record_max_) return;
  full_ = true;
  hashes_ = {};
}

bool ChangedRecords::MayHold(std::string_view key) const {
  return full_ || hashes_.contains(HashOf(key));
}

}  // namespace millrace
