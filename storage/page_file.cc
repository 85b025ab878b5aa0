#include "millrace/storage/page_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

static_assert(std::endian::native == std::endian::little, "LMDB files are read in memory order");

constexpr uint32_t kMagic = 0xBEEFC0DE;
constexpr uint32_t kDataVersion = 1;
constexpr uint16_t kIntegerKeyFlag = 8;  // Of the free list's keys.
constexpr uint64_t kPageBytesMin = 512;
constexpr uint64_t kPageBytesMax = 32768;
constexpr uint64_t kUsualPageBytes = 4096;

// Offsets inside a meta page.
constexpr size_t kMetaBytes = kPageHeaderBytes + 136;
constexpr size_t kMagicOffset = kPageHeaderBytes;
constexpr size_t kVersionOffset = kMagicOffset + 4;
constexpr size_t kAddressOffset = kVersionOffset + 4;
constexpr size_t kMapSizeOffset = kAddressOffset + 8;
constexpr size_t kFreeListOffset = kMapSizeOffset + 8;
constexpr size_t kMainOffset = kFreeListOffset + kTreeDescriptionBytes;
constexpr size_t kLastPageOffset = kMainOffset + kTreeDescriptionBytes;
constexpr size_t kTransactionOffset = kLastPageOffset + 8;
static_assert(kTransactionOffset + 8 == kMetaBytes);

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

bool IsPageSize(uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes >= kPageBytesMin && bytes <= kPageBytesMax;
}

}  // namespace

// One meta page. Value.
struct PageFile::Meta {
  uint64_t last_page = 0;
  uint64_t transaction = 0;
  uint64_t map_size = 0;
  TreeDescription free_list;
  TreeDescription main;

  uint64_t page_bytes() const { return free_list.padding; }
};

PageHeader ReadPageHeader(std::string_view page) {
  return {.number = Load<uint64_t>(page.data()),
          .padding = Load<uint16_t>(page.data() + 8),
          .flags = Load<uint16_t>(page.data() + 10),
          .lower = Load<uint16_t>(page.data() + 12),
          .upper = Load<uint16_t>(page.data() + 14)};
}

TreeDescription ReadTreeDescription(const char* bytes) {
  return {.padding = Load<uint32_t>(bytes),
          .flags = Load<uint16_t>(bytes + 4),
          .depth = Load<uint16_t>(bytes + 6),
          .branch_pages = Load<uint64_t>(bytes + 8),
          .leaf_pages = Load<uint64_t>(bytes + 16),
          .overflow_pages = Load<uint64_t>(bytes + 24),
          .rows = Load<uint64_t>(bytes + 32),
          .root = Load<uint64_t>(bytes + 40)};
}

absl::StatusOr<PageFile> PageFile::Open(FileSystem& files, const std::string& path,
                                        VerifyReport& report) {
  absl::StatusOr<std::unique_ptr<File>> opened = files.Open(path, OpenMode::kRead);
  if (!opened.ok()) return opened.status();
  PageFile file(*std::move(opened));
  file.page_bytes_ = kUsualPageBytes;  // Where the second meta page is looked for.
  std::optional<Meta> metas[kMetaPageCount];
  for (uint64_t number = 0; number < kMetaPageCount; ++number) {
    absl::StatusOr<Meta> meta = file.ReadMeta(number);
    if (meta.ok()) {
      if (number == 0) file.page_bytes_ = meta->page_bytes();
      metas[number] = *std::move(meta);
    } else if (absl::IsDataLoss(meta.status())) {
      report.AddDamage(std::string(meta.status().message()));
    } else {
      return meta.status();
    }
  }
  if (!metas[0].has_value() && !metas[1].has_value()) {
    return absl::DataLossError(absl::StrCat(path, ": neither meta page is good"));
  }
  if (!metas[0].has_value() || !metas[1].has_value()) {
    file.Use(metas[0].has_value() ? *metas[0] : *metas[1]);
    return file;
  }
  const uint64_t newer = metas[1]->transaction > metas[0]->transaction ? 1 : 0;
  const Meta& meta = *metas[newer];
  const Meta& older = *metas[1 - newer];
  // A transaction writes the page of its parity, so the two follow one another.
  const bool fresh = meta.transaction == 0;
  if (!fresh &&
      (meta.transaction != older.transaction + 1 || meta.transaction % kMetaPageCount != newer)) {
    report.AddDamage(absl::StrCat(path, ": the meta pages 0 and 1 are of transactions ",
                                  metas[0]->transaction, " and ", metas[1]->transaction,
                                  ", which do not follow one another"));
  }
  if (meta.page_bytes() != older.page_bytes()) {
    report.AddDamage(absl::StrCat(path, ": the meta pages name pages of ", metas[0]->page_bytes(),
                                  " and ", metas[1]->page_bytes(), " bytes"));
  }
  file.Use(meta);
  return file;
}

absl::StatusOr<PageFile::Meta> PageFile::ReadMeta(uint64_t number) const {
  char bytes[kMetaBytes];
  const absl::StatusOr<size_t> got = file_->Read(number * page_bytes_, kMetaBytes, bytes);
  if (!got.ok()) return got.status();
  const auto bad = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(Place(number), ": the meta page ", what));
  };
  if (*got < kMetaBytes) return bad("is cut short");
  const PageHeader header = ReadPageHeader(std::string_view(bytes, sizeof(bytes)));
  Meta meta = {.last_page = Load<uint64_t>(bytes + kLastPageOffset),
               .transaction = Load<uint64_t>(bytes + kTransactionOffset),
               .map_size = Load<uint64_t>(bytes + kMapSizeOffset),
               .free_list = ReadTreeDescription(bytes + kFreeListOffset),
               .main = ReadTreeDescription(bytes + kMainOffset)};
  if (Load<uint32_t>(bytes + kMagicOffset) != kMagic) return bad("has no magic number");
  if (Load<uint32_t>(bytes + kVersionOffset) != kDataVersion) {
    return bad(absl::StrCat("has version ", Load<uint32_t>(bytes + kVersionOffset)));
  }
  if (header.number != number || header.flags != kMetaPage) return bad("has a damaged header");
  if (Load<uint64_t>(bytes + kAddressOffset) != 0) return bad("has an address");
  if (!IsPageSize(meta.page_bytes())) return bad("has no possible page size");
  if ((meta.free_list.flags & kIntegerKeyFlag) == 0 || meta.main.flags != 0 ||
      meta.main.padding != 0) {
    return bad("describes trees of another kind");
  }
  if (meta.last_page + 1 < kMetaPageCount || meta.map_size % meta.page_bytes() != 0 ||
      meta.map_size / meta.page_bytes() <= meta.last_page) {
    return bad(absl::StrCat("says ", meta.last_page, " is the last page of a map of ",
                            meta.map_size, " bytes"));
  }
  return meta;
}

void PageFile::Use(const Meta& meta) {
  page_bytes_ = meta.page_bytes();
  page_count_ = meta.last_page + 1;
  transaction_ = meta.transaction;
  free_list_ = meta.free_list;
  main_ = meta.main;
}

absl::StatusOr<std::string_view> PageFile::Read(uint64_t number, uint64_t count,
                                                std::string* buffer) const {
  const size_t bytes = count * page_bytes_;
  if (buffer->size() < bytes) buffer->resize(bytes);
  const absl::StatusOr<size_t> got = file_->Read(number * page_bytes_, bytes, buffer->data());
  if (!got.ok()) return got.status();
  return std::string_view(*buffer).substr(0, *got / page_bytes_ * page_bytes_);
}

std::string PageFile::Place(uint64_t page) const {
  return absl::StrCat(file_->path(), ", page ", page);
}

}  // namespace millrace::storage
