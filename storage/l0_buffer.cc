#include "millrace/storage/l0_buffer.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "glog/logging.h"

namespace millrace::storage {
namespace {

constexpr Version kNewest = std::numeric_limits<Version>::max();

}  // namespace

L0Buffer::L0Buffer(const Options& options)
    : rows_(alignof(L0StoredRow), options.bytes_max),
      tree_(options.bytes_max),
      filter_(options.expected_rows) {
}

absl::Status L0Buffer::Reserve(size_t rows, size_t bytes) {
  if (!prepared_) {
    if (absl::Status prepared = filter_.Prepare(); !prepared.ok()) return prepared;
    prepared_ = true;
  }
  const size_t row_bytes = sizeof(L0StoredRow) + alignof(L0StoredRow) - 1;
  if (absl::Status reserved = rows_.Reserve(rows * row_bytes + bytes); !reserved.ok()) {
    return reserved;
  }
  return tree_.Reserve(rows);
}

void L0Buffer::Insert(absl::Span<const L0Row> rows) {
  if (!prepared_) {
    const absl::Status reserved = Reserve(0, 0);
    CHECK(reserved.ok()) << reserved;
  }
  Version first = first_version() == kNoVersion ? kNewest : first_version();
  Version last = last_version();
  for (size_t done = 0; done < rows.size();) {
    const L0StoredRow* group[L0Tree::kGroupRowsMax];
    uint64_t hashes[L0Tree::kGroupRowsMax];
    const size_t count = std::min(rows.size() - done, L0Tree::kGroupRowsMax);
    for (size_t i = 0; i < count; ++i) {
      const L0Row& row = rows[done + i];
      hashes[i] = KeyFilter::Hash(row.key);
      filter_.Prefetch(hashes[i]);
      group[i] = Copy(row);
      first = std::min(first, row.version);
      last = std::max(last, row.version);
    }
    for (size_t i = 0; i < count; ++i) filter_.Add(hashes[i]);
    tree_.Insert({group, count});
    done += count;
  }
  row_count_.store(row_count() + rows.size(), std::memory_order_relaxed);
  if (!rows.empty()) first_version_.store(first, std::memory_order_relaxed);
  last_version_.store(last, std::memory_order_relaxed);
}

const L0StoredRow* L0Buffer::Copy(const L0Row& row) {
  char* const memory = rows_.Allocate(sizeof(L0StoredRow) + row.key.size() + row.value.size());
  char* const bytes = memory + sizeof(L0StoredRow);
  if (!row.key.empty()) memcpy(bytes, row.key.data(), row.key.size());
  if (!row.value.empty()) memcpy(bytes + row.key.size(), row.value.data(), row.value.size());
  return new (memory) L0StoredRow{.version = row.version,
                                  .value_size = static_cast<uint32_t>(row.value.size()),
                                  .key_size = static_cast<uint16_t>(row.key.size()),
                                  .tombstone = row.tombstone};
}

bool L0Buffer::Find(std::string_view key, Version at_most, L0Row* row) const {
  if (!filter_.MayContain(key)) return false;
  const L0Tree::Place place = tree_.AtOrAfter({key, at_most});
  if (place.leaf == nullptr || place.row().key() != key) return false;
  *row = place.row().row();
  return true;
}

void L0Buffer::Cursor::Seek(std::string_view key) {
  place_ = tree_.AtOrAfter({key, kNewest});
}

void L0Buffer::Cursor::SeekBefore(std::string_view key) {
  place_ = tree_.Before({key, kNewest});
  ToNewest();
}

void L0Buffer::Cursor::SeekToLast() {
  place_ = tree_.Last();
  ToNewest();
}

// From the oldest version of a key to its newest.
void L0Buffer::Cursor::ToNewest() {
  if (Valid()) place_ = tree_.AtOrAfter({place_.row().key(), kNewest});
}

void L0Buffer::Cursor::Next() {
  place_ = L0Tree::After(place_);
}

void L0Buffer::Cursor::NextKey() {
  // Most keys have few versions; for one with many a search is shorter than the walk.
  constexpr int kStepsMax = 8;
  const std::string_view key = place_.row().key();
  for (int steps = 0; steps < kStepsMax; ++steps) {
    Next();
    if (!Valid() || place_.row().key() != key) return;
  }
  place_ = tree_.AtOrAfter({key, kNoVersion});
}

}  // namespace millrace::storage
