// Documents and JSON: whatever the bytes are, they are refused, or come back as they were.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/fuzz/fuzz.h"

#include "millrace/storage/document.h"

using millrace::storage::Document;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (const absl::StatusOr<Document> document = Document::FromJson(input); document.ok()) {
    const absl::StatusOr<Document> again = Document::FromJson(document->ToJson());
    FUZZ_CHECK(again.ok() && *again == *document);
    const absl::StatusOr<Document> checked = Document::FromBytes(document->bytes());
    FUZZ_CHECK(checked.ok() && *checked == *document);
  }
  if (const absl::StatusOr<Document> document = Document::FromBytes(input); document.ok()) {
    const absl::StatusOr<Document> again = Document::FromJson(document->ToJson());
    FUZZ_CHECK(again.ok() && again->ToJson() == document->ToJson());
  }
  return 0;
}
