#pragma once

#include <optional>

#include "millrace/tools/line_reader.h"
#include "millrace/tools/record_id.h"
#include "millrace/tools/record_reader.h"

namespace millrace {

// One JSON object a line; lines of white space alone are passed over. Thread-compatible.
class NdjsonReader final : public RecordReader {
 public:
  // Reads from `descriptor`, which stays the caller's.
  NdjsonReader(int descriptor, IdRule id_rule);

  std::optional<SourceRecord> Next() override;
  bool MustWait() const override { return lines_.MustWait(); }
  uint64_t bytes_consumed() const override { return lines_.bytes_consumed(); }
  absl::Status status() const override { return lines_.status(); }

 private:
  LineReader lines_;
  const IdRule id_rule_;
};

}  // namespace millrace
