// What import reads: stanzas and JSON lines of any bytes give records with good ids, or faults with
// their lines.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "tests/fuzz/fuzz.h"

#include "millrace/storage/row_key.h"
#include "millrace/tools/deb822_reader.h"
#include "millrace/tools/ndjson_reader.h"

namespace {

void ReadAll(millrace::RecordReader& reader, size_t size) {
  uint64_t line = 0;
  while (const std::optional<millrace::SourceRecord> record = reader.Next()) {
    FUZZ_CHECK(record->line >= line);
    line = record->line;
    if (record->fault.ok()) FUZZ_CHECK(millrace::storage::CheckId(record->id).ok());
  }
  FUZZ_CHECK(reader.status().ok() && reader.bytes_consumed() == size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const int descriptor = memfd_create("import", MFD_CLOEXEC);
  FUZZ_CHECK(write(descriptor, data, size) == static_cast<ssize_t>(size));
  lseek(descriptor, 0, SEEK_SET);
  millrace::NdjsonReader lines(descriptor, millrace::IdRule::OfField("id"));
  ReadAll(lines, size);
  lseek(descriptor, 0, SEEK_SET);
  millrace::Deb822Reader stanzas(descriptor,
                                 millrace::IdRule::OfJoinedFields("Package:Architecture"));
  ReadAll(stanzas, size);
  close(descriptor);
  return 0;
}
