#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The value of a row in the LMDB tree `records`: 16 bytes of header, then the payload. All of this
// file is thread-safe. `row_key` is the row's key as the tree holds it: branch, collection, id (an
// encoded row key without its tree byte).
//
//   uint64  version; the top bit says tombstone
//   uint64  checksum over row key, version, tombstone bit and payload
//   bytes   the document; of a tombstone nothing
//
// Integers are little endian, and not aligned: LMDB aligns values to two bytes.
inline constexpr size_t kRecordHeaderBytes = 16;

// A decoded record. Value; `payload` views into the bytes that were decoded.
struct RecordView {
  Version version = kNoVersion;
  bool tombstone = false;
  std::string_view payload;
};

inline constexpr size_t EncodedRecordSize(size_t payload_size) {
  return kRecordHeaderBytes + payload_size;
}

// XXH3-64. The key is part of it, so that a record that is found under another's key is noticed.
uint64_t RecordChecksum(std::string_view row_key, const RecordView& record);

// Writes EncodedRecordSize(record.payload.size()) bytes to `out`. Versions are below 2^63.
void EncodeRecord(std::string_view row_key, const RecordView& record, char* out);

// DataLoss naming the collection and the id, if `bytes` are not what was encoded for this key.
absl::StatusOr<RecordView> DecodeRecord(std::string_view row_key, std::string_view bytes);

// The same for walks of many rows: false where the other says DataLoss.
bool TryDecodeRecord(std::string_view row_key, std::string_view bytes, RecordView* record);

// Version and tombstone bit without a look at the rest: for walks that only compare versions.
// DataLoss if there is no whole header.
absl::StatusOr<RecordView> PeekRecord(std::string_view row_key, std::string_view bytes);

}  // namespace millrace::storage
