#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "millrace/storage/file_system.h"
#include "millrace/storage/verify.h"

namespace millrace::storage {

// LMDB's file as it lies on the disk, read without LMDB: LMDB trusts its pages, and a damaged one
// makes it stop the process or read where nothing is. Format version 1 (LMDB 0.9), little endian,
// 64 bits. All integers stand in memory order:
//
//   page      u64 number, u16 padding, u16 flags, then u16 lower and u16 upper, or, of the first
//             page of an overflow chain, u32 count of pages
//   leaf and  from byte 16 up to `lower` the offset of each row (u16), in key order; from `upper`
//   branch    to the end of the page the rows, without gaps: u16, u16 (value's size, low part
//             first), u16 flags, u16 key's size, key, value; even sizes. A branch has in place of
//             size and flags the 48 bits of a child's number, and no value.
//   meta      pages 0 and 1, written in turns: u32 magic, u32 version, u64 address, u64 map size,
//             trees "free" and "main" of 48 bytes, u64 last page, u64 transaction.
inline constexpr size_t kPageHeaderBytes = 16;
inline constexpr size_t kTreeDescriptionBytes = 48;
inline constexpr uint64_t kNoPage = ~uint64_t{0};
inline constexpr uint64_t kMetaPageCount = 2;
enum PageFlag : uint16_t { kBranchPage = 1, kLeafPage = 2, kOverflowPage = 4, kMetaPage = 8 };

// The part of every page that stands in front. Value.
struct PageHeader {
  uint64_t number = 0;
  uint16_t padding = 0;
  uint16_t flags = 0;
  uint16_t lower = 0;
  uint16_t upper = 0;
  uint32_t overflow_count() const { return lower | static_cast<uint32_t>(upper) << 16; }
};
PageHeader ReadPageHeader(std::string_view page);

// What LMDB keeps of a tree. Value.
struct TreeDescription {
  uint32_t padding = 0;  // Of the free list: the page size.
  uint16_t flags = 0;
  uint16_t depth = 0;
  uint64_t branch_pages = 0;
  uint64_t leaf_pages = 0;
  uint64_t overflow_pages = 0;
  uint64_t rows = 0;
  uint64_t root = kNoPage;

  uint64_t pages() const { return branch_pages + leaf_pages + overflow_pages; }
};
// From kTreeDescriptionBytes bytes.
TreeDescription ReadTreeDescription(const char* bytes);

// An LMDB file, open for reading. Owned by one thread.
class PageFile {
 public:
  // Opens the file and looks at its meta pages. DataLoss if neither is good; faults that leave one
  // to go by are told to `report`. Else the file system's error.
  static absl::StatusOr<PageFile> Open(FileSystem& files, const std::string& path,
                                       VerifyReport& report);

  // `count` pages from `number` on; fewer at the end of the file. The view is good until `buffer`
  // changes.
  absl::StatusOr<std::string_view> Read(uint64_t number, uint64_t count, std::string* buffer) const;

  // Of the newer meta page:
  uint64_t page_bytes() const { return page_bytes_; }
  uint64_t page_count() const { return page_count_; }  // The file may be shorter: free pages.
  uint64_t transaction() const { return transaction_; }
  const TreeDescription& free_list() const { return free_list_; }
  const TreeDescription& main() const { return main_; }
  const std::string& path() const { return file_->path(); }
  // "store.mdb, page 7".
  std::string Place(uint64_t page) const;

 private:
  struct Meta;
  explicit PageFile(std::unique_ptr<File> file) : file_(std::move(file)) {}
  absl::StatusOr<Meta> ReadMeta(uint64_t number) const;
  void Use(const Meta& meta);

  std::unique_ptr<File> file_;
  uint64_t page_bytes_ = 0;
  uint64_t page_count_ = 0;
  uint64_t transaction_ = 0;
  TreeDescription free_list_;
  TreeDescription main_;
};

}  // namespace millrace::storage
