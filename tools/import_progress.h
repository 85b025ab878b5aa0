#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"

#include "millrace/runtime/clock.h"

namespace millrace {

// Tells how far an import is: a bar that is drawn over itself on a terminal, else a line now and
// then. Thread-compatible.
class ImportProgress {
 public:
  struct Options {
    bool is_terminal = false;
    uint64_t bytes_total = 0;  // 0: not known, as of a pipe.
  };

  ImportProgress(const Clock& clock, std::ostream& out, const Options& options);

  // So many bytes are read and records committed by now. Writes at most ten times a second on a
  // terminal, once in five seconds elsewhere.
  void Update(uint64_t bytes, uint64_t record_count);
  // Writes a line of its own, above the bar.
  void Note(std::string_view line);
  // Writes the last line: records, time, rate, and what was skipped.
  void Finish(uint64_t record_count, uint64_t skipped_count);

 private:
  double RecordsPerSecond(uint64_t record_count) const;
  std::string Bar(uint64_t bytes, uint64_t record_count) const;
  void ClearBar();

  const Clock& clock_;
  std::ostream& out_;
  const Options options_;
  const MonotonicTime started_;
  MonotonicTime next_write_;
  bool bar_drawn_ = false;
};

// 1234567 as "1,234,567".
std::string WithThousands(uint64_t number);

}  // namespace millrace
