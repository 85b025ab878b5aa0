#include "millrace/storage/record.h"

#include <bit>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

// A call into the library costs as much as the checksum of a small record.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace millrace::storage {
namespace {

static_assert(std::endian::native == std::endian::little, "records are little endian");

constexpr uint64_t kTombstoneBit = uint64_t{1} << 63;

uint64_t VersionWord(const RecordView& record) {
  return record.version | (record.tombstone ? kTombstoneBit : 0);
}

// `bytes` hold a whole header.
RecordView ReadWithoutCheck(std::string_view bytes) {
  uint64_t version_word;
  std::memcpy(&version_word, bytes.data(), sizeof(version_word));
  return {.version = version_word & ~kTombstoneBit,
          .tombstone = (version_word & kTombstoneBit) != 0,
          .payload = bytes.substr(kRecordHeaderBytes)};
}

absl::Status Damaged(std::string_view row_key, absl::string_view what) {
  std::string_view rest = row_key;
  BranchId branch = kTrunk;
  CollectionId collection = 0;
  std::string row;
  if (ConsumeOrderedInteger(&rest, &branch) && ConsumeOrderedInteger(&rest, &collection)) {
    row = absl::StrCat("'", absl::Utf8SafeCHexEscape(ToAbsl(rest)), "' of collection ", collection);
    if (branch != kTrunk) absl::StrAppend(&row, " in branch ", branch);
  } else {
    row = absl::StrCat("under key ", absl::BytesToHexString(ToAbsl(row_key)));
  }
  return absl::DataLossError(absl::StrCat("record ", row, ": ", what,
                                          "; the rest of the store stays readable, restore this "
                                          "record from a backup or put it again"));
}

}  // namespace

uint64_t RecordChecksum(std::string_view row_key, const RecordView& record) {
  const uint64_t seed = XXH3_64bits_withSeed(row_key.data(), row_key.size(), VersionWord(record));
  return XXH3_64bits_withSeed(record.payload.data(), record.payload.size(), seed);
}

void EncodeRecord(std::string_view row_key, const RecordView& record, char* out) {
  const uint64_t header[2] = {VersionWord(record), RecordChecksum(row_key, record)};
  static_assert(sizeof(header) == kRecordHeaderBytes);
  std::memcpy(out, header, sizeof(header));
  if (!record.payload.empty()) {
    std::memcpy(out + sizeof(header), record.payload.data(), record.payload.size());
  }
}

absl::StatusOr<RecordView> PeekRecord(std::string_view row_key, std::string_view bytes) {
  if (bytes.size() < kRecordHeaderBytes) {
    return Damaged(row_key, absl::StrCat("only ", bytes.size(), " bytes"));
  }
  return ReadWithoutCheck(bytes);
}

absl::StatusOr<RecordView> DecodeRecord(std::string_view row_key, std::string_view bytes) {
  RecordView record;
  if (TryDecodeRecord(row_key, bytes, &record)) return record;
  if (bytes.size() < kRecordHeaderBytes) return PeekRecord(row_key, bytes);
  return Damaged(row_key, "checksum mismatch");
}

bool TryDecodeRecord(std::string_view row_key, std::string_view bytes, RecordView* record) {
  if (bytes.size() < kRecordHeaderBytes) return false;
  *record = ReadWithoutCheck(bytes);
  uint64_t checksum;
  std::memcpy(&checksum, bytes.data() + sizeof(uint64_t), sizeof(checksum));
  return checksum == RecordChecksum(row_key, *record);
}

}  // namespace millrace::storage
