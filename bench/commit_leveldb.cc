#include "bench/commit_system.h"
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

namespace millrace {
namespace {

leveldb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}

absl::Status ToStatus(const leveldb::Status& status) {
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.ToString());
}

leveldb::WriteOptions Synced() {
  leveldb::WriteOptions options;
  options.sync = true;
  return options;
}

class Leveldb final : public CommitSystem {
 public:
  explicit Leveldb(leveldb::DB* database) : database_(database) {}

  absl::Status Commit(const CommitRecord& record) override {
    return ToStatus(database_->Put(Synced(), ToSlice(record.key), ToSlice(record.value)));
  }
  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override {
    return std::make_unique<BatchStream>(outstanding_max,
                                         [this](absl::Span<const CommitRecord> records) {
                                           leveldb::WriteBatch batch;
                                           for (const CommitRecord& record : records) {
                                             batch.Put(ToSlice(record.key), ToSlice(record.value));
                                           }
                                           return ToStatus(database_->Write(Synced(), &batch));
                                         });
  }
  absl::Status Check(absl::Span<const CommitRecord> records) override {
    std::string value;
    for (const CommitRecord& record : records) {
      const auto status = database_->Get(leveldb::ReadOptions(), ToSlice(record.key), &value);
      if (!status.ok() || value != record.value) return MissingRecord("leveldb", record);
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<leveldb::DB> database_;
};

}  // namespace

OpenedSystem OpenLeveldb(const std::string& directory, size_t commits_max) {
  leveldb::Options options;
  options.create_if_missing = true;
  leveldb::DB* database = nullptr;
  const leveldb::Status status = leveldb::DB::Open(options, directory + "/leveldb", &database);
  if (!status.ok()) return ToStatus(status);
  return std::make_unique<Leveldb>(database);
}

}  // namespace millrace
