#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

#include "millrace/storage/collection.h"
#include "millrace/storage/document.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// What must hold of a record, as the batch finds it, for the batch to be committed. Value.
struct Precondition {
  enum class Kind : uint8_t { kNone = 0, kAbsent = 1, kVersion = 2 };
  Kind kind = Kind::kNone;
  Version version = kNoVersion;

  static constexpr Precondition None() { return {}; }
  // No such record.
  static constexpr Precondition Absent() { return {.kind = Kind::kAbsent}; }
  // The record's current version is exactly this one.
  static constexpr Precondition AtVersion(Version version) {
    return {.kind = Kind::kVersion, .version = version};
  }
};

// What an operation does to its row. The numbers are part of the log's format.
enum class OperationKind : uint8_t {
  kPut = 1,
  kDelete = 2,
  kMerge = 3,
  kRequire = 4,
  kLink = 5,
  kUnlink = 6,
};

// One operation as it stands in a batch. Value; views into the batch.
struct Operation {
  OperationKind kind = OperationKind::kPut;
  Precondition precondition;
  std::string_view key;  // Encoded row key; of a link its member's row.
  // FlexBuffer bytes of a document, or the data of a link; else empty.
  std::string_view value;
};

// Operations that are committed together or not at all. Every precondition is checked against the
// state before the batch; of several operations on one record the last one wins. A misuse (empty
// id, too large) is remembered and answered by Commit. Value; thread-compatible.
class WriteBatch {
 public:
  static constexpr size_t kOperationCountMax = 100'000;
  static constexpr size_t kBytesMax = size_t{16} << 20;

  // Replaces the whole record.
  WriteBatch& Put(const Collection& collection, std::string_view id, const Document& document,
                  Precondition precondition = {});
  // Replaces or adds the top-level members of `fields`; an absent record is created.
  WriteBatch& Merge(const Collection& collection, std::string_view id, const Document& fields,
                    Precondition precondition = {});
  // Deleting an absent record succeeds.
  WriteBatch& Delete(const Collection& collection, std::string_view id,
                     Precondition precondition = {});
  // A precondition alone; the record is not written.
  WriteBatch& Require(const Collection& collection, std::string_view id, Precondition precondition);
  // Makes `member` a member of `owner`, or gives it another score. Both records exist, or are put
  // by this batch. The link ends with either of them.
  WriteBatch& Link(const Relation& relation, std::string_view owner, std::string_view member,
                   double score = 0);
  // Prepares a link that is no membership before Link activates it. A member stays one.
  WriteBatch& Stage(const Relation& relation, std::string_view owner, std::string_view member,
                    double score = 0);
  // Ends a link, staged or not; if there is none it succeeds.
  WriteBatch& Unlink(const Relation& relation, std::string_view owner, std::string_view member);

  size_t operation_count() const { return operation_count_; }
  // Encoded size of all operations; what kBytesMax bounds.
  size_t bytes() const { return encoded_.size(); }
  bool empty() const { return operation_count_ == 0; }
  // OK, or InvalidArgument for the first operation that cannot be committed.
  const absl::Status& status() const { return status_; }

  // --- For the engine ---

  // Any operation on an encoded row key (catalog rows are written so).
  void Add(const Operation& operation);
  // Leaves one operation per row, as described above. Called once, on the client's thread.
  void Normalize();
  // True if every operation is a blind put or delete: the encoding is then already the effects.
  bool blind() const { return blind_; }
  // True if some operation may add a row or make one longer: what the quota is asked about.
  bool adds_rows() const { return adds_rows_; }
  // The operations one after the other; see Operation's encoding in write_batch.cc.
  std::string_view encoded() const { return encoded_; }

 private:
  void AddRecord(OperationKind kind, const Collection& collection, std::string_view id,
                 std::string_view value, Precondition precondition);
  void AddLink(OperationKind kind, const Relation& relation, const LinkEnds& ends,
               const LinkData& data);

  std::string encoded_;
  size_t operation_count_ = 0;
  bool blind_ = true;
  bool adds_rows_ = false;
  absl::Status status_;
};

// Appends the encoding of one operation. An effect (what the log holds) is an operation that is
// kPut or kDelete without a precondition.
void AppendOperation(const Operation& operation, std::string* out);
// Removes the first operation from `in`. False at the end, or if `in` is damaged (then `in` is not
// empty).
bool ConsumeOperation(std::string_view* in, Operation* operation);

}  // namespace millrace::storage
