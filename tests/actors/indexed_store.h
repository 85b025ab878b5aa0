#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/actors/pipeline_store.h"

#include "millrace/actors/batch_effects.h"
#include "millrace/storage/index_entry.h"

namespace millrace::testing {

inline const storage::Collection kTeams{.id = 2, .name = "teams"};

inline storage::Document Json(const std::string& json) {
  return *storage::Document::FromJson(json);
}

// A store with indexes and relations whose commits and flushes are driven step by step, without
// actors: what was accepted a moment ago is seen by the next batch. Thread-compatible.
class IndexedStore {
 public:
  IndexedStore() { Opened(); }

  // All over kPeople; live from birth.
  storage::IndexDefinition AddIndex(const std::string& field, storage::IndexKind kind,
                                    storage::RelationId scope = 0) {
    const storage::IndexDefinition definition{.id = indexes_.size() + 1,
                                              .collection = kPeople.id,
                                              .name = field,
                                              .field = field,
                                              .kind = kind,
                                              .scope = scope,
                                              .complete_at = 1};
    indexes_.emplace(definition.id, storage::MarkedIndex(definition));
    SetMarks();
    return definition;
  }
  storage::Relation AddRelation(const std::string& name, const storage::Collection& owners,
                                storage::MemberOrder order = storage::MemberOrder::kId,
                                uint64_t member_max = 0) {
    const storage::Relation relation{.id = relations_.size() + 1,
                                     .name = name,
                                     .owners = owners.id,
                                     .members = kPeople.id,
                                     .order = order,
                                     .member_max = member_max};
    relations_.emplace(relation.id, relation);
    SetMarks();
    return relation;
  }
  // After a change of indexes().
  void SetMarks() {
    marks_ = storage::MakeMarks(indexes_, relations_);
    effects_->SetMarks(marks_);
  }

  // Accepts the batch: its effects, encoded, are committed. They, or the error, are the answer.
  absl::StatusOr<std::string> Accept(storage::WriteBatch batch) {
    batch.Normalize();
    absl::Status status = batch.status();
    std::string out;
    if (status.ok()) status = effects_->Prepare(batch);
    if (status.ok()) status = effects_->Append(batch, next_version_, &out);
    if (!status.ok()) {
      EXPECT_TRUE(out.empty());
      return status;
    }
    storage::WriteBatch effects;
    std::string_view rest = out;
    storage::Operation operation;
    while (storage::ConsumeOperation(&rest, &operation)) effects.Add(operation);
    EXPECT_LE(effects.operation_count(), effects_->row_count());
    EXPECT_EQ(pipeline_.Commit(effects), next_version_);
    ++next_version_;
    current_->Renew();
    return out;
  }

  FlushJob Rotate() {
    FlushJob job = pipeline_.Rotate();
    job.marks = marks_;
    current_->SetBuffers(pipeline_.view().buffers());
    return job;
  }
  // LMDB holds the oldest sealed buffer.
  void Drop() {
    current_->Renew();
    pipeline_.recovered().l0->DropOldest();
    current_->SetBuffers(pipeline_.view().buffers());
  }
  void FlushAll(size_t rows_max = 100) {
    pipeline_.Flush(Rotate(), rows_max);
    Drop();
  }
  // As after a kill. What was under way is a job again.
  std::optional<FlushJob> Reopen() {
    current_.reset();
    pipeline_.Reopen();
    Opened();
    SetMarks();
    std::optional<FlushJob> resumed = std::move(pipeline_.recovered().resumed);
    if (resumed.has_value()) resumed->marks = marks_;
    return resumed;
  }

  PipelineStore& pipeline() { return pipeline_; }
  BatchEffects& effects() { return *effects_; }
  storage::Marks::Indexes& indexes() { return indexes_; }
  const storage::Marks::Relations& relations() const { return relations_; }
  const storage::Marks& marks() const { return *marks_; }
  storage::Version next_version() const { return next_version_; }

 private:
  void Opened() {
    current_ = std::make_unique<storage::CurrentRows>(pipeline_.environment());
    current_->SetBuffers(pipeline_.view().buffers());
    effects_ = std::make_unique<BatchEffects>(*current_);
    effects_->AddCollection(kPeople.id);
    effects_->AddCollection(kTeams.id);
  }

  PipelineStore pipeline_;
  std::unique_ptr<storage::CurrentRows> current_;
  std::unique_ptr<BatchEffects> effects_;
  storage::Marks::Indexes indexes_;
  storage::Marks::Relations relations_;
  storage::MarksRef marks_;
  storage::Version next_version_ = 1;
};

}  // namespace millrace::testing
