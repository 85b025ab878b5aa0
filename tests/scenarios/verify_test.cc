// That verification calls every sound store sound, names every damage that changes anything, and
// changes nothing itself.

#include "millrace/storage/verify.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/scenarios/changed_store.h"
#include "tests/scenarios/numbered_batches.h"
#include "tests/scenarios/test_engine.h"
#include "tests/testing/sound_store.h"
#include "tests/testing/temporary_directory.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/log_format.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/outcome_rows.h"
#include "millrace/storage/record.h"

namespace millrace {
namespace {

using storage::Collection;
using storage::TreeId;
using storage::VerifyReport;
using testing::CopyStore;
using testing::ExpectSound;
using ::testing::HasSubstr;
using testing::MessageOf;
using testing::NumberedBatch;
using testing::NumberedCollection;
using testing::NumberedDelete;
using testing::OpenEngine;
using testing::QuietOptions;
using testing::TemporaryDirectory;
using Code = absl::StatusCode;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Puts bytes into the middle of a file.
void Overwrite(const std::string& path, uint64_t offset, std::string_view bytes) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_GE(descriptor, 0) << path;
  ASSERT_EQ(pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
  close(descriptor);
}

// All of a store that there can be: branch pages, long values, free pages, several manifests,
// remembered outcomes. Stopped cleanly.
void BuildStore(const std::string& directory) {
  const auto engine = OpenEngine(directory);
  const Collection collection = NumberedCollection(*engine);
  ASSERT_TRUE(engine->CreateCollection("empty").ok());
  const auto commit = [&](storage::WriteBatch batch) {
    ASSERT_TRUE(engine->Commit(std::move(batch), {.token = engine->NewToken()})
                    .Wait(testing::kPatience)
                    .ok());
  };
  for (int i = 0; i < 90; ++i) {
    commit(NumberedBatch(collection, i, i % 30 == 0 ? 5'000 : 100 + static_cast<size_t>(i)));
    if (i % 40 == 39) {
      ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
    }
  }
  ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
  for (int i = 60; i < 80; ++i) commit(NumberedDelete(collection, i));
  EXPECT_TRUE(engine->Shutdown().Balanced());
}

// Every row of every tree; empty if LMDB cannot be opened.
std::map<std::pair<TreeId, std::string>, std::string> AllRows(const std::string& directory) {
  std::map<std::pair<TreeId, std::string>, std::string> rows;
  storage::EnvironmentOptions options;
  options.directory = directory;
  options.create_if_missing = false;
  const auto environment = storage::Environment::Open(options);
  if (!environment.ok()) return rows;
  const auto transaction = (*environment)->BeginRead();
  for (size_t i = 0; i < storage::kTreeCount; ++i) {
    const auto tree = static_cast<TreeId>(i);
    storage::Cursor cursor = transaction->NewCursor(tree);
    for (cursor.Seek(""); cursor.Valid(); cursor.Next()) {
      rows[{tree, std::string(cursor.key())}] = cursor.value();
    }
  }
  return rows;
}

bool IsFound(const absl::StatusOr<VerifyReport>& report) {
  return !report.ok() || !report->sound();
}

TEST(VerifyTest, SoundStoreIsSoundAndStaysAsItIs) {
  TemporaryDirectory directory;
  BuildStore(directory.path());
  std::map<std::string, std::string> before;
  const auto files = [&] {
    std::map<std::string, std::string> contents;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory.path())) {
      if (entry.is_regular_file()) contents[entry.path()] = ReadFile(entry.path());
    }
    return contents;
  };
  before = files();
  const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->sound()) << report->damage.front();
  EXPECT_TRUE(report->notes.empty());
  EXPECT_EQ(report->flushed_version, 112u);
  EXPECT_EQ(report->last_version, 112u);
  EXPECT_EQ(report->manifest, 4u);
  EXPECT_GT(report->free_page_count, 0u);
  ASSERT_EQ(report->trees.size(), storage::kTreeCount);
  const auto records = std::find_if(report->trees.begin(), report->trees.end(),
                                    [](const auto& tree) { return tree.name == "records"; });
  EXPECT_EQ(records->rows, 210u);
  EXPECT_GT(records->pages, 10u);
  EXPECT_EQ(files(), before);
}

// Commits to the store and flushes, as if nothing were wrong with it.
void UseStore(const std::string& directory) {
  const auto engine = OpenEngine(directory);
  ASSERT_NE(engine, nullptr);
  const Collection collection = NumberedCollection(*engine);
  for (int i = 1'000; i < 1'020; ++i) {
    ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i, 900)).Wait(testing::kPatience).ok());
  }
  ASSERT_TRUE(engine->Flush().Wait(testing::kPatience).ok());
}

// Whatever is not found must be a byte that nobody reads: every row is there as before, and the
// store can be written to.
TEST(VerifyTest, FlippedByteInTheDatabaseIsFoundOrChangesNothing) {
  TemporaryDirectory directory;
  BuildStore(directory.path());
  const std::string path = directory.File("store.mdb");
  const std::string sound = ReadFile(path);
  const auto rows = AllRows(directory.path());
  ASSERT_EQ(rows.size(), 210u + 2 + 4 + 4 + 110);
  const size_t stride = std::max<size_t>(1, sound.size() / testing::Scaled(5'000));
  size_t flip_count = 0;
  size_t found_count = 0;
  size_t used_count = 0;
  for (size_t at = testing::Seed() % stride; at < sound.size(); at += stride) {
    SCOPED_TRACE(absl::StrCat("byte ", at % 4096, " of page ", at / 4096));
    ++flip_count;
    const char flipped = static_cast<char>(sound[at] ^ (1 << (at / stride % 8)));
    Overwrite(path, at, std::string_view(&flipped, 1));
    const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.path());
    if (IsFound(report)) {
      ++found_count;
      const std::string what = report.ok() ? report->damage.front() : MessageOf(report.status());
      ASSERT_THAT(what, ::testing::AnyOf(HasSubstr("store.mdb"), HasSubstr("record '"),
                                         HasSubstr("definition '"), HasSubstr("manifest")));
    } else {
      ASSERT_EQ(AllRows(directory.path()), rows);
      if (++used_count % 100 == 0) {
        TemporaryDirectory used;
        CopyStore(directory.path(), used.File("store"));
        ASSERT_NO_FATAL_FAILURE(UseStore(used.File("store")));
        ExpectSound(used.File("store"));
      }
    }
    Overwrite(path, at, std::string_view(&sound[at], 1));
    if (::testing::Test::HasFailure()) return;
  }
  std::cout << "bytes of LMDB's file flipped: " << flip_count << ", found " << found_count
            << ", dead " << flip_count - found_count << std::endl;
  EXPECT_GT(found_count, flip_count / 4);
  ExpectSound(directory.path());
}

std::string OnlyLogFile(const std::string& directory) {
  std::string path;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/log")) {
    if (!storage::ParseLogFileName(entry.path().filename().string()).has_value()) continue;
    EXPECT_EQ(path, "");
    path = entry.path();
  }
  return path;
}

TEST(VerifyTest, FlippedByteInTheLogIsNamed) {
  TemporaryDirectory directory;
  {
    const auto engine = OpenEngine(directory.path());
    const Collection collection = NumberedCollection(*engine);
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
    }
  }
  const std::string path = OnlyLogFile(directory.path());
  const std::string sound = ReadFile(path);
  size_t end = 0;
  for (;;) {
    const storage::LogRecord record = storage::ReadAnyLogRecord(sound, end);
    if (record.kind != storage::RecordKind::kGroup) break;
    end += record.header.length;
  }
  ASSERT_GT(end, 300u);
  const size_t stride = end / std::min<size_t>(end, testing::Scaled(end));
  for (size_t at = 0; at < end; at += stride) {
    const char flipped = static_cast<char>(sound[at] ^ (1 << (at % 8)));
    Overwrite(path, at, std::string_view(&flipped, 1));
    const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.path());
    ASSERT_TRUE(report.ok()) << report.status();
    // The group that closes the log holds no batch; damage to it looks like a write cut short.
    const bool closing = at >= end - storage::kGroupHeaderBytes;
    ASSERT_EQ(report->sound(), closing) << "byte " << at << " of " << end;
    const std::vector<std::string>& named = closing ? report->notes : report->damage;
    ASSERT_FALSE(named.empty());
    ASSERT_THAT(named.front(), HasSubstr(path + ", offset "));
    Overwrite(path, at, std::string_view(&sound[at], 1));
  }
  ExpectSound(directory.path());
}

// Rows that LMDB keeps faithfully, and that are wrong.
class WrongRowsTest : public ::testing::Test, protected testing::ChangedStore {
 protected:
  WrongRowsTest() { BuildStore(kept()); }

  static storage::Manifest Head(storage::WriteTransaction& write) {
    return *storage::DecodeManifest(RowOf(write, TreeId::kManifests, storage::ManifestKey(kHead)));
  }
  static void PutHead(storage::WriteTransaction& write, const storage::Manifest& manifest) {
    Put(write, TreeId::kManifests, storage::ManifestKey(kHead), storage::EncodeManifest(manifest));
  }

  static constexpr uint64_t kHead = 4;
};

TEST_F(WrongRowsTest, NothingChangedIsSound) {
  EXPECT_EQ(DamageOf([](storage::WriteTransaction& write) {
              Put(write, TreeId::kMeta, storage::kHeadKey,
                  storage::EncodeNumber(storage::kHeadKey, kHead));
            }),
            "");
}

TEST_F(WrongRowsTest, RecordsAreComparedWithCountsCatalogAndLog) {
  const std::string document(testing::NumberedDocument(1).bytes());
  EXPECT_THAT(
      DamageOf([](storage::WriteTransaction& write) {
        ASSERT_TRUE(write.Delete(TreeId::kRecords, RecordKey(1, "7/1")).ok());
      }),
      HasSubstr("collection 1 in branch 0: store.mdb holds 209 records, the counts say 210"));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kRecords, RecordKey(1, "new"),
                          {.version = 5, .payload = document});
              }),
              HasSubstr("holds 211 records"));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kRecords, RecordKey(1, "7/1"),
                          {.version = 113, .payload = document});
              }),
              HasSubstr("record '7/1' of collection 1: it has version 113, but only versions up to "
                        "112 were flushed"));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kRecords, RecordKey(9, "a"),
                          {.version = 5, .payload = document});
              }),
              HasSubstr("record 'a' of collection 9: there is no such collection"));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kRecords, RecordKey(1, "7/1"),
                          {.version = 5, .payload = "no document"});
              }),
              HasSubstr("record '7/1' of collection 1: "));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kRecords, RecordKey(1, "7/1"),
                          {.version = 5, .tombstone = true});
              }),
              HasSubstr("record '7/1' of collection 1: it is no tombstone"));
  EXPECT_THAT(
      DamageOf([&](storage::WriteTransaction& write) { Put(write, TreeId::kRecords, "\xff", ""); }),
      HasSubstr("row key 02ff is damaged"));
  EXPECT_THAT(DamageOf([&](storage::WriteTransaction& write) {
                Put(write, TreeId::kRecords, RecordKey(1, "7/1"),
                    RowOf(write, TreeId::kRecords, RecordKey(1, "7/2")));
              }),
              HasSubstr("record '7/1' of collection 1: checksum mismatch"));
}

TEST_F(WrongRowsTest, CatalogIsChecked) {
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                const storage::Document twice =
                    storage::CollectionDefinition({.id = 1, .name = "twice"});
                PutRecord(write, TreeId::kCatalog, storage::CollectionKey("twice").substr(1),
                          {.version = 5, .payload = twice.bytes()});
              }),
              HasSubstr("the definition 'twice': it has the number 1 of 'numbered'"));
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                PutRecord(write, TreeId::kCatalog, RecordKey(200, "strange"),
                          {.version = 5, .payload = storage::Document().bytes()});
              }),
              HasSubstr("the definition 'strange': it is of unknown kind 200"));
  EXPECT_THAT(
      DamageOf([](storage::WriteTransaction& write) {
        ASSERT_TRUE(
            write.Delete(TreeId::kCatalog, storage::CollectionKey("numbered").substr(1)).ok());
      }),
      HasSubstr("there is no such collection"));
}

TEST_F(WrongRowsTest, RowsThatSayWhereL1StandsMustAgree) {
  const auto set_number = [](std::string_view key, uint64_t number) {
    return [key, number](storage::WriteTransaction& write) {
      Put(write, TreeId::kMeta, key, storage::EncodeNumber(key, number));
    };
  };
  EXPECT_THAT(DamageOf(set_number(storage::kHeadKey, 3)),
              HasSubstr("the head is manifest 3, but the newest one is 4"));
  EXPECT_THAT(DamageOf(set_number(storage::kIngestedKey, 115)),
              HasSubstr("L1 may hold rows up to version 115, but the head ends with 112"));
  EXPECT_THAT(DamageOf(set_number(storage::kOutcomeCountKey, 100)),
              HasSubstr("it remembers 110 outcomes where there should be 100"));
  EXPECT_THAT(DamageOf(set_number("hea", 4)), HasSubstr("an unknown row 'hea'"));
  EXPECT_THAT(DamageOf(set_number("outcome/x", 4)),
              HasSubstr("the row 'outcome/x' names no token"));
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                Put(write, TreeId::kMeta, storage::kPrunedKey,
                    storage::SealBytes(storage::kPrunedKey, "outcome/\xff"));
              }),
              HasSubstr("an outcome is there whose token was pruned"));
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                storage::Manifest manifest = Head(write);
                manifest.parent = 2;
                PutHead(write, manifest);
              }),
              HasSubstr("manifest 4: it says it is manifest 4 behind 2"));
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                storage::Manifest manifest = Head(write);
                manifest.last_version = 50;
                PutHead(write, manifest);
              }),
              HasSubstr("manifest 4: version 50 and log file "));
  EXPECT_THAT(
      DamageOf([](storage::WriteTransaction& write) {
        Put(write, TreeId::kMeta, storage::kFlushKey,
            storage::EncodeFlushRow({.sequence = 6, .first_version = 113, .last_version = 115}));
      }),
      HasSubstr("flush 6 of versions 113 to 115 does not follow manifest 4"));
}

// The store says that a flush is under way which the log knows nothing of.
TEST_F(WrongRowsTest, VersionsThatTheLogLacksAreMissed) {
  EXPECT_THAT(DamageOf([](storage::WriteTransaction& write) {
                storage::Manifest manifest = Head(write);
                manifest.last_version = 200;
                PutHead(write, manifest);
                Put(write, TreeId::kMeta, storage::kIngestedKey,
                    storage::EncodeNumber(storage::kIngestedKey, 200));
              }),
              HasSubstr("log"));
}

// The log holds the newest batches, and L1 must hold what they left.
TEST(VerifyTest, RowsOfTheLogAreComparedWithLmdb) {
  TemporaryDirectory directory;
  Collection collection;
  {
    const auto engine = OpenEngine(directory.path());
    collection = NumberedCollection(*engine);
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(engine->Commit(NumberedBatch(collection, i)).Wait(testing::kPatience).ok());
    }
    ASSERT_TRUE(engine->Commit(NumberedDelete(collection, 3)).Wait(testing::kPatience).ok());
  }
  ExpectSound(directory.path());
  {
    auto environment = storage::Environment::Open(
        {.directory = directory.path(), .quota_bytes = uint64_t{1} << 30});
    const auto permit = (*environment)->TakeWritePermit();
    auto write = (*environment)->BeginWrite(*permit);
    const auto key = [&](const std::string& id) {
      return storage::EncodeRowKey({.collection = collection.id, .id = id}).substr(1);
    };
    const auto put = [&](const std::string& id, storage::Version version) {
      const storage::Document document = testing::NumberedDocument(1);
      std::string value(storage::EncodedRecordSize(document.bytes().size()), '\0');
      storage::EncodeRecord(key(id), {.version = version, .payload = document.bytes()},
                            value.data());
      ASSERT_TRUE(write->Put(TreeId::kRecords, key(id), value).ok());
    };
    put("1/0", 2);                                                  // Older than the log's.
    put("3/0", 5);                                                  // The log deleted it.
    put("9/0", 4);                                                  // The log never wrote it.
    ASSERT_TRUE(write->Delete(TreeId::kRecords, key("2/0")).ok());  // The log wrote it.
    ASSERT_TRUE(write->Delete(TreeId::kRecords, key("2/1")).ok());
    ASSERT_TRUE(write->Commit().ok());
  }
  const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(
      report->damage,
      ::testing::ElementsAre(
          HasSubstr(
              "record '1/0' of collection 1: it has version 2, but the log's batch 3 wrote it"),
          HasSubstr(
              "record '3/0' of collection 1: it has version 5, but the log's batch 6 deleted"),
          HasSubstr(
              "record '9/0' of collection 1: it has version 4, but the log's batch 4 does not"),
          HasSubstr("record '2/0' of collection 1: the log's batch 4 wrote it and was flushed"),
          HasSubstr("record '2/1' of collection 1: the log's batch 4 wrote it and was flushed")));
}

TEST(VerifyTest, StoreInUseIsNotLookedAt) {
  TemporaryDirectory directory;
  {
    const auto engine = OpenEngine(directory.path());
    const absl::Status status = storage::VerifyStore(directory.path()).status();
    EXPECT_EQ(status.code(), Code::kUnavailable) << status;
    EXPECT_EQ(GetOwnerPid(status), getpid());
  }
  ExpectSound(directory.path());
}

TEST(VerifyTest, WhatIsNoStoreIsNamed) {
  TemporaryDirectory directory;
  EXPECT_EQ(storage::VerifyStore(directory.File("none")).status().code(), Code::kNotFound);
  EXPECT_EQ(storage::VerifyStore(directory.path()).status().code(), Code::kNotFound);
  std::ofstream(directory.File("store.mdb")) << "no database";
  const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.path());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->damage.back(), HasSubstr("neither meta page is good"));
  EXPECT_FALSE(std::filesystem::exists(directory.File("LOCK")));
  EXPECT_FALSE(std::filesystem::exists(directory.File("log")));
}

TEST(VerifyTest, FileThatIsCutShortIsFound) {
  TemporaryDirectory kept;
  BuildStore(kept.File("store"));
  TemporaryDirectory directory;
  const uint64_t size = std::filesystem::file_size(kept.File("store") + "/store.mdb");
  int sound_count = 0;
  for (uint64_t cut = 0; cut < size; cut += 4096 + 512) {
    CopyStore(kept.File("store"), directory.File("store"));
    std::filesystem::resize_file(directory.File("store") + "/store.mdb", cut);
    const absl::StatusOr<VerifyReport> report = storage::VerifyStore(directory.File("store"));
    ASSERT_TRUE(report.ok()) << report.status();
    sound_count += report->sound();  // Only free pages were cut off.
    if (report->sound()) {
      ASSERT_EQ(AllRows(directory.File("store")), AllRows(kept.File("store")));
    }
  }
  EXPECT_LT(sound_count, 10);
}

}  // namespace
}  // namespace millrace
