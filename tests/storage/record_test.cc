#include "millrace/storage/record.h"

#include <string>

#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

std::string StoredKey(std::string_view id) {
  return EncodeRowKey({.tree = Tree::kRecords, .collection = 300, .id = id}).substr(1);
}

std::string Encode(std::string_view key, const RecordView& record) {
  std::string out(EncodedRecordSize(record.payload.size()), '\0');
  EncodeRecord(key, record, out.data());
  return out;
}

TEST(RecordTest, RecordsRoundTrip) {
  const std::string key = StoredKey("libc6:amd64");
  const Version versions[] = {1, 77, (uint64_t{1} << 63) - 1};
  for (const Version version : versions) {
    for (const bool tombstone : {false, true}) {
      const std::string bytes =
          Encode(key, {.version = version, .tombstone = tombstone, .payload = "payload"});
      EXPECT_EQ(bytes.size(), 23u);
      const absl::StatusOr<RecordView> record = DecodeRecord(key, bytes);
      ASSERT_TRUE(record.ok()) << record.status();
      EXPECT_EQ(record->version, version);
      EXPECT_EQ(record->tombstone, tombstone);
      EXPECT_EQ(record->payload, "payload");
    }
  }
  const std::string empty = Encode(key, {.version = 5, .tombstone = true});
  ASSERT_TRUE(DecodeRecord(key, empty).ok());
  EXPECT_EQ(DecodeRecord(key, empty)->payload, "");
}

// The form on disk: a change of it is a change of the store's format.
TEST(RecordTest, BytesAreTheDocumentedOnes) {
  const std::string key = StoredKey("a");
  const RecordView record = {.version = 0x0102, .tombstone = true, .payload = "xyz"};
  const std::string bytes = Encode(key, record);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x02\x01\0\0\0\0\0\x80", 8));
  EXPECT_EQ(bytes.substr(16), "xyz");
  EXPECT_EQ(RecordChecksum(key, record), 11521164759844138322u);
}

TEST(RecordTest, EveryFlippedBitIsNoticed) {
  const std::string key = StoredKey("libc6:amd64");
  const std::string bytes = Encode(key, {.version = 12, .payload = "the payload of a row"});
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      const absl::Status status = DecodeRecord(key, damaged).status();
      ASSERT_EQ(status.code(), absl::StatusCode::kDataLoss) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(RecordTest, EveryTruncationIsNoticed) {
  const std::string key = StoredKey("libc6:amd64");
  const std::string bytes = Encode(key, {.version = 12, .payload = "the payload of a row"});
  for (size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut(bytes, 0, size);
    ASSERT_EQ(DecodeRecord(key, cut).status().code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_EQ(PeekRecord(key, cut).ok(), size >= kRecordHeaderBytes) << size;
  }
  EXPECT_EQ(DecodeRecord(key, bytes + '\0').status().code(), absl::StatusCode::kDataLoss);
}

TEST(RecordTest, DamageNamesCollectionAndId) {
  const std::string bytes = Encode(StoredKey("libc6:amd64"), {.version = 12, .payload = "x"});
  const absl::Status status = DecodeRecord(StoredKey("libc6:i386"), bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("'libc6:i386' of collection 300"), std::string::npos) << status;
}

}  // namespace
}  // namespace millrace::storage
