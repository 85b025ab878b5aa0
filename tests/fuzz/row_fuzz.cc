// Rows of LMDB: any value is refused by its checksum, as is a good one that changed in one bit; a
// good one comes back as it was, and a definition in any good document is read or refused.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/record.h"
#include "millrace/storage/relation.h"

using namespace millrace::storage;  // NOLINT

namespace {

// Takes numbers and texts from the front of an input; zeros and nothing behind its end.
class Source {
 public:
  explicit Source(std::string_view input) : input_(input) {}
  uint64_t Number() {
    uint64_t number = 0;
    const std::string_view bytes = Text(sizeof(number));
    if (!bytes.empty()) std::memcpy(&number, bytes.data(), bytes.size());
    return number;
  }
  std::string_view Text(size_t size) {
    const std::string_view text = input_.substr(0, size);
    input_.remove_prefix(text.size());
    return text;
  }
  bool empty() const { return input_.empty(); }

 private:
  std::string_view input_;
};

// `bytes` with one bit changed.
std::string Damaged(std::string bytes, uint64_t where) {
  const size_t bit = where % (8 * bytes.size());
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
  return bytes;
}

void CheckAnyBytes(std::string_view input) {
  DecodeManifest(input).status().IgnoreError();
  DecodeFlushRow(input).status().IgnoreError();
  DecodeNumber("head", input).status().IgnoreError();
  DecodeRecord("key", input).status().IgnoreError();
  DecodeGenerations(input).status().IgnoreError();
  DecodeTask(input).status().IgnoreError();
  DecodeLinkData(input).status().IgnoreError();
  DecodeLinkRowKey(input, MemberOrder::kScore).status().IgnoreError();
}

void CheckManifest(Source source) {
  const uint64_t where = source.Number();
  Manifest manifest{.id = source.Number(),
                    .parent = source.Number(),
                    .last_version = source.Number(),
                    .log_floor = source.Number()};
  while (!source.empty()) {
    const uint64_t branch = source.Number();
    const uint64_t collection = source.Number();
    manifest.counts[{branch, collection}] = static_cast<int64_t>(source.Number());
  }
  const std::string row = EncodeManifest(manifest);
  const absl::StatusOr<Manifest> again = DecodeManifest(row);
  FUZZ_CHECK(again.ok() && EncodeManifest(*again) == row && again->counts == manifest.counts);
  FUZZ_CHECK(!DecodeManifest(Damaged(row, where)).ok());
}

void CheckFlushRow(Source source) {
  const uint64_t where = source.Number();
  const FlushRow flush{.sequence = source.Number(),
                       .first_version = source.Number(),
                       .last_version = source.Number(),
                       .attempt = static_cast<uint32_t>(source.Number()),
                       .next_slice = source.Number(),
                       .cursor = std::string(source.Text(kRowKeyBytesMax))};
  const std::string row = EncodeFlushRow(flush);
  const absl::StatusOr<FlushRow> again = DecodeFlushRow(row);
  FUZZ_CHECK(again.ok() && EncodeFlushRow(*again) == row && again->cursor == flush.cursor);
  FUZZ_CHECK(!DecodeFlushRow(Damaged(row, where)).ok());
}

void CheckRecord(Source source) {
  const uint64_t where = source.Number();
  const std::string key(source.Text(12));
  const uint64_t version = source.Number() >> 1;
  const RecordView record{
      .version = version, .tombstone = (where & 1) != 0, .payload = source.Text(64)};
  std::string row(EncodedRecordSize(record.payload.size()), '\0');
  EncodeRecord(key, record, row.data());
  const absl::StatusOr<RecordView> again = DecodeRecord(key, row);
  FUZZ_CHECK(again.ok() && again->version == version && again->tombstone == record.tombstone &&
             again->payload == record.payload);
  FUZZ_CHECK(!DecodeRecord(key, Damaged(row, where)).ok());
  FUZZ_CHECK(!DecodeRecord(key + "x", row).ok());
}

void CheckGenerations(Source source) {
  const uint64_t where = source.Number();
  GenerationState state{.index = source.Number(),
                        .last = source.Number(),
                        .live = source.Number(),
                        .live_definition = source.Number()};
  while (!source.empty()) state.retired.push_back(source.Number());
  const std::string row = EncodeGenerations(state);
  const absl::StatusOr<GenerationState> again = DecodeGenerations(row);
  FUZZ_CHECK(again.ok() && EncodeGenerations(*again) == row && again->retired == state.retired);
  FUZZ_CHECK(!DecodeGenerations(Damaged(row, where)).ok());
}

void CheckDefinitions(std::string_view input) {
  const absl::StatusOr<Document> document = Document::FromJson(input);
  if (!document.ok()) return;
  ReadCollectionDefinition("name", document->bytes()).status().IgnoreError();
  ReadIndexDefinition(IndexDefinitionKey(1, "name"), document->bytes()).status().IgnoreError();
  if (const auto relation = ReadRelation("name", document->bytes()); relation.ok()) {
    FUZZ_CHECK(*ReadRelation("name", EncodeRelation(*relation).bytes()) == *relation);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  CheckAnyBytes(input);
  CheckManifest(Source(input));
  CheckFlushRow(Source(input));
  CheckRecord(Source(input));
  CheckGenerations(Source(input));
  CheckDefinitions(input);
  return 0;
}
