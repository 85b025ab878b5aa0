#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace millrace {

// Lines of a file or pipe, in large reads, with a bound on the memory that one line can take.
// Thread-compatible.
class LineReader {
 public:
  enum class Result {
    kLine,
    kTooLong,  // A line above the limit; it was skipped.
    kEnd,      // Nothing more, or status() says what failed.
  };

  // Reads from `descriptor`, which stays the caller's. Limit in bytes, the newline not counted.
  LineReader(int descriptor, size_t line_bytes_max);

  // The next line without its newline. The last one needs none. Valid until the next call.
  Result Next(std::string_view* line);

  // Whether Next would have to wait for more to arrive.
  bool MustWait() const;

  // The number, from 1, of the line that Next told of last.
  uint64_t line_number() const { return line_number_; }
  uint64_t bytes_consumed() const { return bytes_consumed_; }
  // Not OK if a read failed.
  const absl::Status& status() const { return status_; }

 private:
  // Reads more behind what is there. False at the end.
  bool Fill();
  Result SkipLine();

  const int descriptor_;
  const size_t line_bytes_max_;
  std::string buffer_;
  size_t begin_ = 0;  // Of the bytes not yet given out.
  size_t end_ = 0;
  uint64_t line_number_ = 0;
  uint64_t bytes_consumed_ = 0;
  absl::Status status_;
};

}  // namespace millrace
