#include <utility>

#include "bench/commit_system.h"

#include "millrace/actors/engine.h"

namespace millrace {
namespace {

// The record's value is the one field of its document. The client has the document already, as the
// rivals' clients have their bytes: those of a model, with the value exchanged.
class DocumentMaker {
 public:
  DocumentMaker() {
    const std::string filler(kCommitValueBytes, '#');
    model_ = std::move(storage::DocumentBuilder().Set("v", filler).Finish().value()).TakeBytes();
    at_ = model_.find(filler);
  }
  storage::Document Make(std::string_view value) const {
    std::string bytes = model_;
    bytes.replace(at_, kCommitValueBytes, value);
    return storage::Document::FromTrustedBytes(std::move(bytes));
  }

 private:
  std::string model_;
  size_t at_;
};

// Thread-safe.
class Millrace final : public CommitSystem {
 public:
  absl::Status Open(const std::string& directory, const EngineOptions& options) {
    absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory + "/millrace", options);
    if (!engine.ok()) return engine.status();
    engine_ = *std::move(engine);
    absl::StatusOr<storage::Collection> collection = engine_->CreateCollection("records");
    if (!collection.ok()) return collection.status();
    collection_ = *std::move(collection);
    return absl::OkStatus();
  }

  Pending<CommitReceipt> Submit(const CommitRecord& record) {
    storage::WriteBatch batch;
    batch.Put(collection_, record.key, documents_.Make(record.value));
    return engine_->Commit(std::move(batch));
  }

  absl::Status Commit(const CommitRecord& record) override {
    return Submit(record).Wait().status();
  }
  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override;

  absl::Status Settle() override { return engine_->Flush().Wait().status(); }

  absl::Status Check(absl::Span<const CommitRecord> records) override {
    absl::StatusOr<storage::Snapshot> snapshot = engine_->TakeSnapshot("bench");
    if (!snapshot.ok()) return snapshot.status();
    for (const CommitRecord& record : records) {
      const absl::StatusOr<storage::Record> found = snapshot->Get(collection_, record.key);
      if (!found.ok() || found->document != documents_.Make(record.value)) {
        return MissingRecord("millrace", record);
      }
    }
    return absl::OkStatus();
  }

 private:
  const DocumentMaker documents_;
  std::unique_ptr<Engine> engine_;
  storage::Collection collection_;
};

// A ring of commits: the oldest is waited for when all are out.
class MillraceStream final : public CommitStream {
 public:
  MillraceStream(Millrace& system, size_t outstanding_max)
      : system_(system), ring_(outstanding_max) {}

  absl::Status Add(const CommitRecord& record) override {
    Pending<CommitReceipt>& pending = ring_[next_];
    next_ = next_ + 1 < ring_.size() ? next_ + 1 : 0;
    absl::Status status = pending.valid() ? pending.Wait().status() : absl::OkStatus();
    pending = system_.Submit(record);
    return status;
  }
  absl::Status Finish() override {
    absl::Status status;
    for (Pending<CommitReceipt>& pending : ring_) {
      if (pending.valid()) status.Update(pending.Wait().status());
    }
    return status;
  }

 private:
  Millrace& system_;
  std::vector<Pending<CommitReceipt>> ring_;
  size_t next_ = 0;
};

std::unique_ptr<CommitStream> Millrace::NewStream(size_t outstanding_max) {
  return std::make_unique<MillraceStream>(*this, outstanding_max);
}

OpenedSystem Open(const std::string& directory, const EngineOptions& options) {
  auto system = std::make_unique<Millrace>();
  if (absl::Status status = system->Open(directory, options); !status.ok()) return status;
  return system;
}

// A burst must not be slowed down by the flush behind it: how fast commits are is the question.
EngineOptions Unthrottled() {
  EngineOptions options;
  options.l0_soft_bytes_max = uint64_t{2} << 30;
  options.l0_hard_bytes_max = uint64_t{4} << 30;
  return options;
}

}  // namespace

OpenedSystem OpenMillrace(const std::string& directory, size_t commits_max) {
  return Open(directory, Unthrottled());
}

OpenedSystem OpenMillraceUnflushed(const std::string& directory, size_t commits_max) {
  EngineOptions options = Unthrottled();
  options.rotate_bytes = 0;
  options.rotate_rows = 0;
  options.rotate_interval = absl::InfiniteDuration();
  return Open(directory, options);
}

OpenedSystem OpenMillraceWithDefaults(const std::string& directory, size_t commits_max) {
  return Open(directory, {});
}

}  // namespace millrace
