#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "millrace/storage/document.h"

namespace millrace {

// The longest line that an import reads: a document of 1 MiB with every character escaped, and
// room.
inline constexpr size_t kImportLineBytesMax = size_t{16} << 20;

// A record of an input, or why one could not be read. Value.
struct SourceRecord {
  uint64_t line = 0;   // Of its beginning, or of the fault; from 1.
  absl::Status fault;  // OK, or what is wrong; then there is nothing else.
  std::string id;
  storage::Document document;
};

// Records of a file in some format, one after the other. Thread-compatible.
class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // None at the end, or when status() says what failed. Goes on behind a bad record.
  virtual std::optional<SourceRecord> Next() = 0;
  // Whether Next would have to wait for a slow input.
  virtual bool MustWait() const = 0;
  virtual uint64_t bytes_consumed() const = 0;
  virtual absl::Status status() const = 0;
};

}  // namespace millrace
