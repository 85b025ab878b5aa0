#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {

// The commit log on disk. A log file is a sequence of groups without gaps; behind the last one
// stands a length of zero. All integers are little endian.
//
//    0  u32  length        bytes of the whole record, never 0
//    4  u32  batch count
//    8  u64  checksum      XXH3-64 of bytes [16, length), seeded with bytes [0, 8)
//   16  u64  file number   of the file this was written to; a recycled file holds older ones
//   24  u64  first version of the batches, or of the next one if there are none
//   32  u64  durable       the newest version known durable when this was written
//   40       per batch: u32 length, then that many bytes of effects (opaque to the log)
//
// A group without batches stands in two places only. Two of them open a file that recovery wrote;
// its name stays that of the file it replaced, and they carry its number (two, so that damage to
// one cannot pass for a file that was never written). One closes the log in a clean stop.

inline constexpr size_t kGroupHeaderBytes = 40;
inline constexpr size_t kBatchHeaderBytes = 4;
inline constexpr size_t kEndMarkBytes = 4;
inline constexpr size_t kOpeningBytes = 2 * kGroupHeaderBytes;
inline constexpr size_t kClosingBytes = kGroupHeaderBytes + kEndMarkBytes;
// Kept free at the end of each file: the opening of its rewrite and a closing group.
inline constexpr size_t kFileTailBytes = kOpeningBytes + kClosingBytes;
// File numbers count from 1.
inline constexpr uint64_t kFileNumberMax = uint64_t{1} << 62;
inline constexpr uint64_t kLogFileBytesMin = 4096;
inline constexpr uint64_t kLogFileBytesMax = uint64_t{1} << 30;

// The fields of a group. Value.
struct GroupHeader {
  uint32_t length = kGroupHeaderBytes;
  uint32_t batch_count = 0;
  uint64_t file_number = 0;
  Version first_version = kNoVersion;
  Version durable_version = kNoVersion;

  Version next_version() const { return first_version + batch_count; }
};

// Writes the header of the group at `record` (header.length bytes, batches already in place) and
// the checksum of it all.
void SealGroup(const GroupHeader& header, char* record);
// The fields of the header at `record`, unchecked.
GroupHeader PeekGroupHeader(const char* record);

// What stands at some place of a log file.
enum class RecordKind {
  kGroup,    // A whole group of this file.
  kEnd,      // The end mark.
  kForeign,  // A group, or the remains of one, of another file: this file was recycled.
  kBad,      // None of these: torn or damaged, or the file ends without an end mark.
};

// One look at a log file. Value.
struct LogRecord {
  RecordKind kind = RecordKind::kBad;
  GroupHeader header;  // Meaningful if kind is kGroup; for kBad what could be read.
};

// Looks at `offset` of the log file `data` whose groups carry `file_number`.
LogRecord ReadLogRecord(std::string_view data, size_t offset, uint64_t file_number);
// As above for whichever file number stands there: kGroup, or kBad.
LogRecord ReadAnyLogRecord(std::string_view data, size_t offset);
// Calls `each` with the effects of every batch of the group at `record`, in order, while it
// answers true. The views are into `record`. Only for a record that was read as kGroup.
void ForEachBatch(std::string_view record, absl::FunctionRef<bool(std::string_view)> each);

// The names in the log directory. A *log file* is named by the number it had when it was first
// used. A *spare* holds nothing of use; no group in it carries a number above that in its name.
std::string LogFileName(uint64_t number);
std::string SpareFileName(uint64_t number);
// The number in such a name; nullopt for any other name.
std::optional<uint64_t> ParseLogFileName(std::string_view name);
std::optional<uint64_t> ParseSpareFileName(std::string_view name);
// Files under way: the next one while it is filled with zeros, and the rewrite of recovery.
inline constexpr std::string_view kNextFileName = "next.tmp";
inline constexpr std::string_view kRewriteFileName = "rewrite.tmp";

// A group under construction: a buffer laid out as the record will be, so that effects are encoded
// in place and nothing is copied before the write. Batches are added whole or not at all. Owned by
// the Committer thread.
class LogGroup {
 public:
  // Begins a batch and returns the buffer to append its effects to (append only: what stands in it
  // belongs to the group). Then exactly one of CloseBatch and AbandonBatch.
  std::string& OpenBatch();
  // The batch belongs to the group. Returns its effects; the view is good until the next change.
  // A batch must be below 4 GiB.
  std::string_view CloseBatch();
  // The group is as it was before OpenBatch.
  void AbandonBatch();
  // OpenBatch, append, CloseBatch: for effects that were encoded elsewhere.
  void Add(std::string_view effects);

  // The version that the first batch will get; each further one gets the next.
  Version first_version() const { return first_version_; }
  size_t batch_count() const { return batch_count_; }
  bool empty() const { return batch_count_ == 0; }
  // The size of the record as it stands, in bytes: what CommitLog::Reserve takes.
  size_t bytes() const { return buffer_.size(); }

 private:
  friend class CommitLog;
  void Clear(Version first_version);

  Version first_version_ = 1;
  size_t batch_count_ = 0;
  size_t batch_begin_ = 0;  // Offset of the open batch's header; 0 if none is open.
  std::string buffer_ = std::string(kGroupHeaderBytes, '\0');
};

}  // namespace millrace::storage
