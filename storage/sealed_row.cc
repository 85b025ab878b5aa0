#include "millrace/storage/sealed_row.h"

#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "xxhash.h"

#include "millrace/storage/row_key.h"

namespace millrace::storage {
namespace {

constexpr size_t kChecksumBytes = sizeof(uint64_t);

}  // namespace

std::string SealRow(flexbuffers::Builder* builder) {
  builder->Finish();
  const std::vector<uint8_t>& body = builder->GetBuffer();
  const uint64_t checksum = XXH3_64bits(body.data(), body.size());
  std::string row(kChecksumBytes + body.size(), '\0');
  std::memcpy(row.data(), &checksum, kChecksumBytes);
  std::memcpy(row.data() + kChecksumBytes, body.data(), body.size());
  return row;
}

absl::StatusOr<std::string> UnsealRow(std::string_view row, std::string_view name,
                                      std::string_view advice) {
  uint64_t checksum = 0;
  if (row.size() > kChecksumBytes) {
    std::memcpy(&checksum, row.data(), kChecksumBytes);
    row.remove_prefix(kChecksumBytes);
    if (XXH3_64bits(row.data(), row.size()) == checksum) return std::string(row);
  }
  return absl::DataLossError(absl::StrCat("the ", ToAbsl(name),
                                          " in store.mdb is damaged: its checksum does not match; ",
                                          ToAbsl(advice)));
}

flexbuffers::Map RowMap(const std::string& body) {
  return flexbuffers::GetRoot(reinterpret_cast<const uint8_t*>(body.data()), body.size()).AsMap();
}

}  // namespace millrace::storage
