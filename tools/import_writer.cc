#include "millrace/tools/import_writer.h"

#include <utility>

namespace millrace {
namespace {

// A batch is sent at either. 32 of them hold at most 64 MiB: a document has at most 1 MiB.
constexpr size_t kBatchRecordCount = 1'000;
constexpr size_t kBatchBytes = size_t{1} << 20;
constexpr size_t kUnderWayCountMax = 32;

}  // namespace

ImportWriter::ImportWriter(Engine& engine, const storage::Collection& collection)
    : engine_(engine), collection_(collection) {
}

absl::Status ImportWriter::Add(const SourceRecord& record) {
  if (!failure_.ok()) return failure_;
  batch_.Put(collection_, record.id, record.document);
  if (batch_.operation_count() < kBatchRecordCount && batch_.bytes() < kBatchBytes) {
    return absl::OkStatus();
  }
  return Send();
}

absl::Status ImportWriter::Send() {
  if (!failure_.ok() || batch_.empty()) return failure_;
  const uint64_t record_count = batch_.operation_count();
  under_way_.push_back(
      {.answer = engine_.Commit(std::exchange(batch_, {})), .record_count = record_count});
  return TakeAnswers(kUnderWayCountMax - 1);
}

absl::Status ImportWriter::Finish() {
  if (absl::Status s = Send(); !s.ok()) {
    // The others under way still become durable, or fail: count them.
    failure_ = absl::OkStatus();
    TakeAnswers(0).IgnoreError();
    failure_ = s;
    return s;
  }
  return TakeAnswers(0);
}

absl::Status ImportWriter::TakeAnswers(size_t count_max) {
  while (!under_way_.empty()) {
    UnderWay& oldest = under_way_.front();
    if (under_way_.size() <= count_max && !oldest.answer.ready()) break;
    const absl::StatusOr<CommitReceipt> receipt = oldest.answer.Wait();
    if (receipt.ok()) {
      committed_count_ += oldest.record_count;
    } else if (failure_.ok()) {
      failure_ = receipt.status();
    }
    under_way_.pop_front();
  }
  return failure_;
}

}  // namespace millrace
