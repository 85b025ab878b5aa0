#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "flatbuffers/flexbuffers.h"

namespace millrace::storage {

// Rows that are not hot: a FlexBuffer map, which can grow fields, behind a checksum. Row = XXH3-64
// of the rest, the rest. Thread-safe.

// Finishes the map and returns the row.
std::string SealRow(flexbuffers::Builder* builder);
// The map's bytes, copied so that they are aligned. DataLoss, saying that the `name` is damaged and
// what to do (`advice`), if the checksum does not match: FlexBuffers trusts its bytes.
absl::StatusOr<std::string> UnsealRow(std::string_view row, std::string_view name,
                                      std::string_view advice);
// The map in unsealed bytes, which must outlive it.
flexbuffers::Map RowMap(const std::string& body);

}  // namespace millrace::storage
