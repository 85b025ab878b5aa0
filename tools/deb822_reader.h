#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/tools/line_reader.h"
#include "millrace/tools/record_id.h"
#include "millrace/tools/record_reader.h"

namespace millrace {

// Debian control stanzas (`/var/lib/dpkg/status`, `apt-cache dumpavail`): `Field: value` lines,
// stanzas apart by blank lines, comments from '#'. Each stanza is a record whose fields are
// strings. A line that begins with white space continues the field above: it is joined by a newline
// without its first character, and " ." is an empty line. Thread-compatible.
class Deb822Reader final : public RecordReader {
 public:
  // Reads from `descriptor`, which stays the caller's.
  Deb822Reader(int descriptor, IdRule id_rule);

  std::optional<SourceRecord> Next() override;
  bool MustWait() const override { return lines_.MustWait(); }
  uint64_t bytes_consumed() const override { return lines_.bytes_consumed(); }
  absl::Status status() const override { return lines_.status(); }

 private:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // Takes a line that is neither blank nor a comment; null: one that was too long.
  void TakeStanzaLine(const std::string_view* line, Fields* fields, SourceRecord* record);
  // InvalidArgument if it is not a line of a stanza.
  static absl::Status TakeLine(std::string_view line, Fields* fields);
  absl::Status ToRecord(const Fields& fields, SourceRecord* record);

  LineReader lines_;
  const IdRule id_rule_;
  storage::DocumentBuilder builder_;
};

}  // namespace millrace
