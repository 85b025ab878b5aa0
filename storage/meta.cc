#include "millrace/storage/meta.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "xxhash.h"

#include "millrace/storage/environment.h"
#include "millrace/storage/sealed_row.h"

namespace millrace::storage {
namespace {

constexpr size_t kChecksumBytes = sizeof(uint64_t);

constexpr std::string_view kAdvice = "restore the store from a copy";

// A flat vector: branch, collection, count, ...
void AddCounts(const char* name, const CountMap& counts, flexbuffers::Builder* builder) {
  builder->Vector(name, [&] {
    for (const auto& [key, count] : counts) {
      builder->UInt(key.first);
      builder->UInt(key.second);
      builder->Int(count);
    }
  });
}

CountMap ReadCounts(flexbuffers::Reference reference) {
  CountMap counts;
  const flexbuffers::Vector flat = reference.AsVector();
  for (size_t i = 0; i + 2 < flat.size(); i += 3) {
    counts[{flat[i].AsUInt64(), flat[i + 1].AsUInt64()}] = flat[i + 2].AsInt64();
  }
  return counts;
}

absl::StatusOr<uint64_t> ReadNumber(const ReadTransaction& transaction, std::string_view key) {
  const absl::StatusOr<std::optional<std::string_view>> row = transaction.Get(TreeId::kMeta, key);
  if (!row.ok()) return row.status();
  return row->has_value() ? DecodeNumber(key, **row) : 0;
}

uint64_t KeyedChecksum(std::string_view key, std::string_view bytes) {
  const uint64_t seed = XXH3_64bits(key.data(), key.size());
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

absl::Status DamagedRow(std::string_view key) {
  return absl::DataLossError(absl::StrCat("the row '", absl::Utf8SafeCHexEscape(ToAbsl(key)),
                                          "' of tree meta in store.mdb is damaged: its checksum "
                                          "does not match; restore the store from a copy"));
}

int64_t CountOf(const CountMap& counts, BranchId branch, CollectionId collection) {
  const auto it = counts.find({branch, collection});
  return it == counts.end() ? 0 : it->second;
}

}  // namespace

int64_t L1State::RecordCount(BranchId branch, CollectionId collection) const {
  const int64_t under_way = flush.has_value() ? CountOf(flush->deltas, branch, collection) : 0;
  return CountOf(head.counts, branch, collection) + under_way;
}

absl::StatusOr<L1State> ReadL1State(const ReadTransaction& transaction) {
  L1State state;
  const absl::StatusOr<Version> ingested = ReadIngestedVersion(transaction);
  if (!ingested.ok()) return ingested.status();
  state.ingested = *ingested;
  const absl::StatusOr<uint64_t> head = ReadNumber(transaction, kHeadKey);
  if (!head.ok()) return head.status();
  if (*head != 0) {
    const auto row = transaction.Get(TreeId::kManifests, ManifestKey(*head));
    if (!row.ok()) return row.status();
    if (!row->has_value()) {
      return absl::DataLossError(absl::StrCat("manifest ", *head,
                                              ", the head, is not in store.mdb; restore the store "
                                              "from a copy"));
    }
    absl::StatusOr<Manifest> manifest = DecodeManifest(**row);
    if (!manifest.ok()) return manifest.status();
    state.head = *std::move(manifest);
  }
  const auto flush = transaction.Get(TreeId::kMeta, kFlushKey);
  if (!flush.ok()) return flush.status();
  if (flush->has_value()) {
    absl::StatusOr<FlushRow> row = DecodeFlushRow(**flush);
    if (!row.ok()) return row.status();
    state.flush = *std::move(row);
  }
  return state;
}

absl::StatusOr<Version> ReadIngestedVersion(const ReadTransaction& transaction) {
  return ReadNumber(transaction, kIngestedKey);
}

std::string SealBytes(std::string_view key, std::string_view bytes) {
  const uint64_t checksum = KeyedChecksum(key, bytes);
  std::string value(reinterpret_cast<const char*>(&checksum), kChecksumBytes);
  value.append(bytes);
  return value;
}

std::string EncodeNumber(std::string_view key, uint64_t number) {
  return SealBytes(key, {reinterpret_cast<const char*>(&number), sizeof(number)});
}

absl::StatusOr<std::string_view> UnsealBytes(std::string_view key, std::string_view value) {
  uint64_t checksum = 0;
  if (value.size() >= kChecksumBytes) {
    std::memcpy(&checksum, value.data(), kChecksumBytes);
    value.remove_prefix(kChecksumBytes);
    if (KeyedChecksum(key, value) == checksum) return value;
  }
  return DamagedRow(key);
}

absl::StatusOr<uint64_t> DecodeNumber(std::string_view key, std::string_view value) {
  const absl::StatusOr<std::string_view> bytes = UnsealBytes(key, value);
  if (!bytes.ok()) return bytes.status();
  uint64_t number = 0;
  if (bytes->size() != sizeof(number)) return DamagedRow(key);
  std::memcpy(&number, bytes->data(), sizeof(number));
  return number;
}

std::string EncodeManifest(const Manifest& manifest) {
  flexbuffers::Builder builder;
  builder.Map([&] {
    builder.UInt("id", manifest.id);
    builder.UInt("parent", manifest.parent);
    builder.UInt("last_version", manifest.last_version);
    builder.UInt("log_floor", manifest.log_floor);
    AddCounts("counts", manifest.counts, &builder);
    if (manifest.count_repairs != 0) builder.UInt("count_repairs", manifest.count_repairs);
  });
  return SealRow(&builder);
}

absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes) {
  const absl::StatusOr<std::string> body = UnsealRow(bytes, "manifest", kAdvice);
  if (!body.ok()) return body.status();
  const flexbuffers::Map map = RowMap(*body);
  return Manifest{.id = map["id"].AsUInt64(),
                  .parent = map["parent"].AsUInt64(),
                  .last_version = map["last_version"].AsUInt64(),
                  .log_floor = map["log_floor"].AsUInt64(),
                  .counts = ReadCounts(map["counts"]),
                  .count_repairs = map["count_repairs"].AsUInt64()};
}

std::string EncodeFlushRow(const FlushRow& row) {
  flexbuffers::Builder builder;
  builder.Map([&] {
    builder.UInt("sequence", row.sequence);
    builder.UInt("first_version", row.first_version);
    builder.UInt("last_version", row.last_version);
    builder.UInt("attempt", row.attempt);
    builder.UInt("next_slice", row.next_slice);
    builder.Key("cursor");
    builder.Blob(row.cursor.data(), row.cursor.size());
    AddCounts("deltas", row.deltas, &builder);
  });
  return SealRow(&builder);
}

absl::StatusOr<FlushRow> DecodeFlushRow(std::string_view bytes) {
  const absl::StatusOr<std::string> body = UnsealRow(bytes, "flush row", kAdvice);
  if (!body.ok()) return body.status();
  const flexbuffers::Map map = RowMap(*body);
  const flexbuffers::Blob cursor = map["cursor"].AsBlob();
  return FlushRow{
      .sequence = map["sequence"].AsUInt64(),
      .first_version = map["first_version"].AsUInt64(),
      .last_version = map["last_version"].AsUInt64(),
      .attempt = map["attempt"].AsUInt32(),
      .next_slice = map["next_slice"].AsUInt64(),
      .cursor = std::string(reinterpret_cast<const char*>(cursor.data()), cursor.size()),
      .deltas = ReadCounts(map["deltas"])};
}

std::string ManifestKey(uint64_t id) {
  std::string key;
  AppendOrderedInteger(id, &key);
  return key;
}

}  // namespace millrace::storage
