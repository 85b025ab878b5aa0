#include "bench/commit_system.h"
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

namespace millrace {
namespace {

rocksdb::Slice ToSlice(std::string_view text) {
  return {text.data(), text.size()};
}

absl::Status ToStatus(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.ToString());
}

rocksdb::WriteOptions Synced() {
  rocksdb::WriteOptions options;
  options.sync = true;
  return options;
}

class Rocksdb final : public CommitSystem {
 public:
  explicit Rocksdb(rocksdb::DB* database) : database_(database) {}

  absl::Status Commit(const CommitRecord& record) override {
    return ToStatus(database_->Put(Synced(), ToSlice(record.key), ToSlice(record.value)));
  }
  std::unique_ptr<CommitStream> NewStream(size_t outstanding_max) override {
    return std::make_unique<BatchStream>(outstanding_max,
                                         [this](absl::Span<const CommitRecord> records) {
                                           rocksdb::WriteBatch batch;
                                           for (const CommitRecord& record : records) {
                                             batch.Put(ToSlice(record.key), ToSlice(record.value));
                                           }
                                           return ToStatus(database_->Write(Synced(), &batch));
                                         });
  }
  absl::Status Check(absl::Span<const CommitRecord> records) override {
    std::string value;
    for (const CommitRecord& record : records) {
      const auto status = database_->Get(rocksdb::ReadOptions(), ToSlice(record.key), &value);
      if (!status.ok() || value != record.value) return MissingRecord("rocksdb", record);
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<rocksdb::DB> database_;
};

}  // namespace

OpenedSystem OpenRocksdb(const std::string& directory, size_t commits_max) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* database = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(options, directory + "/rocksdb", &database);
  if (!status.ok()) return ToStatus(status);
  return std::make_unique<Rocksdb>(database);
}

}  // namespace millrace
