// Stores that are damaged: what Open and the reads answer. A wrong document is never given.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "glog/logging.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/testing/power_loss_file_system.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/log_format.h"
#include "millrace/storage/meta.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::TreeId;
using testing::BuildFlushed;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::Numbered;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::NumberedId;
using testing::OpenEngine;
using testing::PowerLossFileSystem;
using testing::QuietOptions;
using testing::ReadNumbered;
using testing::TemporaryDirectory;
using Code = absl::StatusCode;

// Collects the warnings of the log while it lives.
class WarningSink final : public google::LogSink {
 public:
  WarningSink() { google::AddLogSink(this); }
  ~WarningSink() override { google::RemoveLogSink(this); }
  void send(google::LogSeverity severity, const char* /*full_filename*/,
            const char* /*base_filename*/, int /*line*/, const google::LogMessageTime& /*time*/,
            const char* message, size_t message_len) override {
    if (severity != google::GLOG_WARNING) return;
    absl::MutexLock lock(&mutex_);
    text_.append(message, message_len);
    text_ += '\n';
  }
  std::string text() const {
    absl::MutexLock lock(&mutex_);
    return text_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::string text_;
};

// A store whose log lies in memory, and whose image can be put back again and again.
class Specimen {
 public:
  // Two batches are flushed, three more are in the log alone unless the stop is clean.
  explicit Specimen(bool stop_cleanly) {
    MakeParents(disk_);
    auto engine = OpenEngine(path(), QuietOptions(), {.files = disk_});
    const Collection collection = NumberedCollection(*engine);
    const auto commit = [&](int number) {
      EXPECT_TRUE(engine->Commit(NumberedBatch(collection, number)).Wait(testing::kPatience).ok());
    };
    for (int i = 0; i < 2; ++i) commit(i);
    EXPECT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    for (int i = 2; i < 5; ++i) commit(i);
    if (stop_cleanly) engine->Shutdown();
    image_.CopyFrom(disk_);
    std::filesystem::copy_file(path() + "/store.mdb", kept_.File("store.mdb"));
    FindGroups();
  }

  const std::string& path() const { return directory_.path(); }
  const std::string& log_path() const { return log_path_; }
  std::string log() const { return image_.Contents(log_path_); }
  size_t last_group() const { return last_group_; }
  size_t end() const { return end_; }

  // Opens the store as it was, with other contents of its log file.
  absl::StatusOr<std::unique_ptr<Engine>> OpenWith(std::string log, PowerLossFileSystem& files) {
    std::filesystem::copy_file(kept_.File("store.mdb"), path() + "/store.mdb",
                               std::filesystem::copy_options::overwrite_existing);
    files.CopyFrom(image_);
    files.SetContents(log_path_, std::move(log));
    return Engine::Open(path(), QuietOptions(), {.files = files});
  }

 private:
  void MakeParents(PowerLossFileSystem& files) {
    std::string parent;
    for (const char c : path() + "/") {
      if (c == '/' && !parent.empty()) {
        EXPECT_TRUE(files.CreateDirectory(parent).ok());
      }
      parent += c;
    }
  }
  void FindGroups() {
    const std::string directory = path() + "/log";
    const absl::StatusOr<std::vector<std::string>> names = image_.List(directory);
    for (const std::string& name : *names) {
      if (storage::ParseLogFileName(name).has_value()) log_path_ = directory + "/" + name;
    }
    const std::string data = log();
    size_t offset = 0;
    for (;;) {
      const storage::LogRecord record = storage::ReadAnyLogRecord(data, offset);
      if (record.kind != storage::RecordKind::kGroup) break;
      last_group_ = offset;
      offset += record.header.length;
    }
    end_ = offset;
    EXPECT_GT(end_, 300u);
  }

  TemporaryDirectory directory_;
  TemporaryDirectory kept_;
  PowerLossFileSystem disk_;
  PowerLossFileSystem image_;
  std::string log_path_;
  size_t last_group_ = 0;
  size_t end_ = 0;
};

struct Verdicts {
  int whole = 0;
  int cut = 0;
  int refused = 0;
};

// All is there; or DataLoss that names file and offset; or, where `may_cut`, all but the last batch
// and a warning that names them. Anything else fails the test.
void Judge(Specimen& specimen, std::string log, bool may_cut, Verdicts* verdicts) {
  WarningSink warnings;
  PowerLossFileSystem files;
  const auto engine = specimen.OpenWith(std::move(log), files);
  const std::string place = "log file " + specimen.log_path() + ", offset ";
  if (!engine.ok()) {
    EXPECT_EQ(engine.status().code(), Code::kDataLoss) << engine.status();
    EXPECT_THAT(MessageOf(engine.status()), HasSubstr(place));
    EXPECT_THAT(MessageOf(engine.status()), HasSubstr("restore the store from a backup"));
    ++verdicts->refused;
    return;
  }
  const Numbered found = ReadNumbered(**engine);
  EXPECT_EQ(found.fault, "");
  EXPECT_TRUE(found.IsPrefix());
  if (found.batches.size() == 5) {
    ++verdicts->whole;
    return;
  }
  EXPECT_TRUE(may_cut) << found.batches.size() << " batches of 5, and no error";
  EXPECT_EQ(found.batches.size(), 4u);
  EXPECT_THAT(warnings.text(), HasSubstr(place));
  ++verdicts->cut;
}

// Under sanitizers every third byte must do.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kStride = 7;
#else
constexpr size_t kStride = 1;
#endif

void FlipEveryByte(bool stop_cleanly) {
  Specimen specimen(stop_cleanly);
  const std::string sound = specimen.log();
  Verdicts verdicts;
  Judge(specimen, sound, false, &verdicts);
  ASSERT_EQ(verdicts.whole, 1);
  for (size_t at = 0; at < specimen.end() + 8; at += kStride) {
    SCOPED_TRACE(absl::StrCat("byte ", at, " of ", specimen.end()));
    std::string log = sound;
    log[at] = static_cast<char>(log[at] ^ (1 << (at % 8)));
    Judge(specimen, std::move(log), !stop_cleanly && at >= specimen.last_group(), &verdicts);
    if (::testing::Test::HasFailure()) return;
  }
  std::cout << "bytes flipped: " << verdicts.refused << " refused, " << verdicts.cut << " cut, "
            << verdicts.whole << " whole" << std::endl;
  EXPECT_GT(verdicts.refused, 20);
  EXPECT_EQ(verdicts.cut > 0, !stop_cleanly);
}

TEST(DamageTest, FlippedByteInTheLogOfAKilledStoreIsNamedOrCutsTheLastGroup) {
  FlipEveryByte(false);
}

TEST(DamageTest, FlippedByteInTheLogOfACleanlyStoppedStoreIsNamed) {
  FlipEveryByte(true);
}

TEST(DamageTest, LogCutShortIsNamedOrLosesTheLastGroup) {
  for (const bool stop_cleanly : {false, true}) {
    Specimen specimen(stop_cleanly);
    const std::string sound = specimen.log();
    Verdicts verdicts;
    for (size_t size = 0; size <= specimen.end() + 4; size += 5) {
      SCOPED_TRACE(absl::StrCat("cut at ", size, " of ", specimen.end(), ", clean ", stop_cleanly));
      Judge(specimen, sound.substr(0, size), !stop_cleanly && size >= specimen.last_group(),
            &verdicts);
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(verdicts.refused, 10);
  }
}

TEST(DamageTest, LogFileThatIsMissingIsDataLoss) {
  TemporaryDirectory directory;
  {
    auto engine = OpenEngine(directory.path());
    const Collection collection = NumberedCollection(*engine);
    ASSERT_TRUE(engine->Commit(NumberedBatch(collection, 1)).Wait(testing::kPatience).ok());
    ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  }
  std::filesystem::remove_all(directory.File("log"));
  const auto engine = Engine::Open(directory.path(), QuietOptions());
  EXPECT_EQ(engine.status().code(), Code::kDataLoss) << engine.status();
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr(directory.File("log")));
}

// --- LMDB ---

// Changes rows of a closed store, below the engine.
void ChangeRows(const std::string& directory,
                absl::FunctionRef<void(storage::WriteTransaction&)> change) {
  auto environment = storage::Environment::Open(
      {.directory = directory, .create_if_missing = false, .quota_bytes = uint64_t{1} << 30});
  ASSERT_TRUE(environment.ok()) << environment.status();
  const auto permit = (*environment)->TakeWritePermit();
  auto write = (*environment)->BeginWrite(*permit);
  ASSERT_TRUE(write.ok()) << write.status();
  change(*write);
  ASSERT_TRUE(write->Commit().ok());
}

std::string RowOf(storage::WriteTransaction& write, TreeId tree, std::string_view key) {
  const auto row = write.Get(tree, key);
  EXPECT_TRUE(row.ok() && row->has_value()) << std::string(key);
  return row.ok() && row->has_value() ? std::string(**row) : "";
}

std::string RecordKey(const Collection& collection, const std::string& id) {
  return storage::EncodeRowKey({.collection = collection.id, .id = id}).substr(1);
}

TEST(DamageTest, FlippedByteInARecordIsNamedAndTheRestStaysReadable) {
  TemporaryDirectory directory;
  const Collection collection = BuildFlushed(directory.path(), 120);
  // Record 2k/1 has its (k mod size)-th byte flipped.
  size_t row_bytes = 0;
  ChangeRows(directory.path(), [&](storage::WriteTransaction& write) {
    for (int k = 0; k < 60; ++k) {
      const std::string key = RecordKey(collection, NumberedId(2 * k, 1));
      std::string row = RowOf(write, TreeId::kRecords, key);
      row_bytes = row.size();
      char& byte = row[static_cast<size_t>(k) % row.size()];
      byte = static_cast<char>(byte ^ (1 << (k % 8)));
      ASSERT_TRUE(write.Put(TreeId::kRecords, key, row).ok());
    }
  });
  EXPECT_LT(row_bytes, 60u) << "not every byte of a record was flipped";
  const auto engine = OpenEngine(directory.path());
  ASSERT_NE(engine, nullptr);
  const auto snapshot = engine->TakeSnapshot();
  ASSERT_TRUE(snapshot.ok());
  for (int i = 0; i < 120; ++i) {
    for (int part = 0; part < testing::kRecordsPerBatch; ++part) {
      const std::string id = NumberedId(i, part);
      const auto record = snapshot->Get(collection, id);
      if (part == 1 && i % 2 == 0) {
        EXPECT_EQ(record.status().code(), Code::kDataLoss) << id;
        EXPECT_THAT(MessageOf(record.status()), HasSubstr("'" + id + "' of collection"));
      } else {
        ASSERT_TRUE(record.ok()) << id << ": " << record.status();
        EXPECT_EQ(record->document.ToJson(), testing::NumberedDocument(i, 10).ToJson());
      }
    }
  }
  const absl::Status scanned = snapshot->Scan(collection, {}, [](const auto&) { return true; });
  EXPECT_EQ(scanned.code(), Code::kDataLoss);
  EXPECT_THAT(MessageOf(scanned), HasSubstr("'0/1' of collection"));
  const auto count = snapshot->Count(collection);
  ASSERT_TRUE(count.ok()) << count.status();
  EXPECT_EQ(*count, 360u);

  // A merge would build on what is damaged; a put mends it.
  storage::WriteBatch merge;
  merge.Merge(collection, "0/1", testing::NumberedDocument(0));
  EXPECT_EQ(engine->Commit(std::move(merge)).Wait(testing::kPatience).status().code(),
            Code::kDataLoss);
  EXPECT_TRUE(engine->Commit(NumberedBatch(collection, 0)).Wait(testing::kPatience).ok());
  EXPECT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  const auto mended = engine->TakeSnapshot();
  EXPECT_TRUE(mended->Get(collection, "0/1").ok());
  EXPECT_EQ(*mended->Count(collection), 360u);
}

TEST(DamageTest, RecordsThatChangedPlacesOrLostTheirEndAreNamed) {
  TemporaryDirectory directory;
  const Collection collection = BuildFlushed(directory.path(), 4);
  ChangeRows(directory.path(), [&](storage::WriteTransaction& write) {
    const std::string one = RecordKey(collection, NumberedId(0, 0));
    const std::string other = RecordKey(collection, NumberedId(1, 0));
    const std::string kept = RowOf(write, TreeId::kRecords, one);
    ASSERT_TRUE(write.Put(TreeId::kRecords, one, RowOf(write, TreeId::kRecords, other)).ok());
    ASSERT_TRUE(write.Put(TreeId::kRecords, other, kept).ok());
    const std::string third = RecordKey(collection, NumberedId(2, 0));
    const std::string cut = RowOf(write, TreeId::kRecords, third);
    ASSERT_TRUE(write.Put(TreeId::kRecords, third, cut.substr(0, cut.size() - 1)).ok());
    ASSERT_TRUE(write.Put(TreeId::kRecords, RecordKey(collection, NumberedId(3, 0)), "").ok());
  });
  const auto engine = OpenEngine(directory.path());
  const auto snapshot = engine->TakeSnapshot();
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(snapshot->Get(collection, NumberedId(i, 0)).status().code(), Code::kDataLoss) << i;
    EXPECT_TRUE(snapshot->Get(collection, NumberedId(i, 1)).ok()) << i;
  }
}

constexpr int kRowBatches = 6;

// A store with several manifests, remembered outcomes and batches in the log alone.
void BuildStoreWithRows(const std::string& directory) {
  auto engine = OpenEngine(directory);
  const Collection collection = NumberedCollection(*engine);
  for (int i = 0; i < kRowBatches; ++i) {
    ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i), {.token = engine->NewToken()})
                    .Wait(testing::kPatience)
                    .ok());
    if (i % 2 == 0) {
      ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    }
  }
}

// `to` becomes what `from` was.
void CopyStore(const TemporaryDirectory& from, const TemporaryDirectory& to) {
  for (const char* name : {"store.mdb", "log"}) {
    std::filesystem::remove_all(to.File(name));
    std::filesystem::copy(from.File(name), to.File(name), std::filesystem::copy_options::recursive);
  }
}

std::string HeadManifestKey(const std::string& directory) {
  std::string key;
  ChangeRows(directory, [&](storage::WriteTransaction& write) {
    const auto head =
        storage::DecodeNumber(storage::kHeadKey, RowOf(write, TreeId::kMeta, storage::kHeadKey));
    ASSERT_TRUE(head.ok());
    key = storage::ManifestKey(*head);
  });
  return key;
}

// Every byte of every row that says where L1 stands: the open says DataLoss and names the row.
TEST(DamageTest, FlippedByteInARowAboutTheStoreIsNamed) {
  TemporaryDirectory directory;
  TemporaryDirectory kept;
  BuildStoreWithRows(kept.path());
  CopyStore(kept, directory);
  struct Row {
    TreeId tree;
    std::string key;
    std::string name;  // In the message.
  };
  const std::vector<Row> rows = {
      {TreeId::kMeta, std::string(storage::kHeadKey), "head"},
      {TreeId::kMeta, std::string(storage::kIngestedKey), "ingested"},
      {TreeId::kManifests, HeadManifestKey(directory.path()), "manifest"},
      {TreeId::kCatalog, storage::CollectionKey("numbered").substr(1), "numbered"},
  };
  for (const Row& row : rows) {
    size_t row_bytes = 1;
    for (size_t at = 0; at < row_bytes; ++at) {
      SCOPED_TRACE(absl::StrCat(row.name, " byte ", at));
      CopyStore(kept, directory);
      ChangeRows(directory.path(), [&](storage::WriteTransaction& write) {
        std::string bytes = RowOf(write, row.tree, row.key);
        row_bytes = bytes.size();
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at % 8)));
        ASSERT_TRUE(write.Put(row.tree, row.key, bytes).ok());
      });
      const absl::Status status = Engine::Open(directory.path(), QuietOptions()).status();
      EXPECT_EQ(status.code(), Code::kDataLoss) << status;
      EXPECT_NE(status.message().find(row.name), absl::string_view::npos) << status;
    }
  }
}

TEST(DamageTest, FlippedByteInTheFlushRowIsNamed) {
  TemporaryDirectory directory;
  BuildStoreWithRows(directory.path());
  ChangeRows(directory.path(), [&](storage::WriteTransaction& write) {
    std::string damaged = storage::EncodeFlushRow(
        {.sequence = 100, .first_version = 1, .last_version = 2, .cursor = "c"});
    damaged.back() = static_cast<char>(damaged.back() ^ 1);
    ASSERT_TRUE(write.Put(TreeId::kMeta, storage::kFlushKey, damaged).ok());
  });
  const absl::Status status = Engine::Open(directory.path(), QuietOptions()).status();
  EXPECT_EQ(status.code(), Code::kDataLoss) << status;
  EXPECT_NE(status.message().find("flush row"), absl::string_view::npos) << status;
}

TEST(DamageTest, StoreOfAnotherFormatVersionIsRefusedAndLeftAlone) {
  TemporaryDirectory directory;
  BuildFlushed(directory.path(), 3);
  ChangeRows(directory.path(), [&](storage::WriteTransaction& write) {
    ASSERT_TRUE(write.Put(TreeId::kMeta, "format", "2").ok());
  });
  const auto engine = Engine::Open(directory.path(), QuietOptions());
  EXPECT_EQ(engine.status().code(), Code::kFailedPrecondition) << engine.status();
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr("format version 2"));
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr("reads version 1"));
  EXPECT_THAT(MessageOf(engine.status()), HasSubstr(directory.path()));
}

TEST(DamageTest, StoreFileThatIsCutShortOrOverwrittenIsRefused) {
  for (const int kind : {0, 1, 2}) {
    TemporaryDirectory directory;
    BuildFlushed(directory.path(), 30);
    const std::string file = directory.File("store.mdb");
    if (kind == 0) std::filesystem::resize_file(file, 4096);
    if (kind == 1) std::ofstream(file) << "this is no database";
    if (kind == 2) std::filesystem::resize_file(file, 0);
    const auto engine = Engine::Open(directory.path(), QuietOptions());
    if (kind == 2 && engine.ok()) {
      // As a store that was never flushed: the log still holds everything.
      EXPECT_EQ(ReadNumbered(**engine).batches.size(), 30u);
      continue;
    }
    EXPECT_FALSE(engine.ok()) << "kind " << kind;
    EXPECT_THAT(engine.status().code(),
                ::testing::AnyOf(Code::kDataLoss, Code::kFailedPrecondition))
        << "kind " << kind << ": " << engine.status();
    EXPECT_THAT(MessageOf(engine.status()), HasSubstr(directory.path())) << "kind " << kind;
  }
}

}  // namespace
}  // namespace millrace
