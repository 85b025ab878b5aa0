#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bench/rebuild_system.h"
#include <rocksdb/db.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/write_batch.h>

namespace millrace {
namespace {

absl::Status ToStatus(const rocksdb::Status& status) {
  return status.ok() ? absl::OkStatus() : absl::InternalError(status.ToString());
}

// Big-endian: bytes order as numbers do.
std::string Encoded(int64_t number) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(number >> shift));
  return bytes;
}

absl::Status Fill(rocksdb::DB& database, int64_t record_count) {
  rocksdb::WriteBatch batch;
  for (int64_t i = 0; i < record_count; ++i) {
    batch.Put("r" + RebuildId(i), Encoded(RebuildNumber(i)).append(kRebuildTextBytes, 'x'));
    if (batch.Count() < 1'000 && i + 1 < record_count) continue;
    const rocksdb::Status status = database.Write({}, &batch);
    if (!status.ok()) return ToStatus(status);
    batch.Clear();
  }
  return ToStatus(database.Flush({}));
}

absl::Status BuildIndex(rocksdb::DB& database, const std::string& file) {
  std::vector<std::string> entries;
  const std::unique_ptr<rocksdb::Iterator> row(database.NewIterator({}));
  for (row->Seek("r"); row->Valid() && row->key().starts_with("r"); row->Next()) {
    entries.push_back("x" + std::string(row->value().data(), sizeof(int64_t)) +
                      std::string(row->key().data() + 1, row->key().size() - 1));
  }
  if (!row->status().ok()) return ToStatus(row->status());
  std::sort(entries.begin(), entries.end());
  rocksdb::SstFileWriter writer({}, database.GetOptions());
  rocksdb::Status status = writer.Open(file);
  for (size_t i = 0; status.ok() && i < entries.size(); ++i) status = writer.Put(entries[i], "");
  if (status.ok()) status = writer.Finish();
  rocksdb::IngestExternalFileOptions options;
  options.move_files = true;
  if (status.ok()) status = database.IngestExternalFile({file}, options);
  return ToStatus(status);
}

}  // namespace

BuildRate BuildRocksdb(const std::string& directory, int64_t record_count) {
  rocksdb::Options options;
  options.create_if_missing = true;
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status open = rocksdb::DB::Open(options, directory + "/rocksdb", &opened);
  if (!open.ok()) return ToStatus(open);
  const std::unique_ptr<rocksdb::DB> database(opened);
  absl::Status status = Fill(*database, record_count);
  if (!status.ok()) return status;
  const absl::Time begin = absl::Now();
  status = BuildIndex(*database, directory + "/index.sst");
  const double seconds = absl::ToDoubleSeconds(absl::Now() - begin);
  if (!status.ok()) return status;
  return static_cast<double>(record_count) / seconds;
}

}  // namespace millrace
