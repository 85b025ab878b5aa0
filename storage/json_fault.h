#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace::storage {

// Where JSON stops being a document, and why. Value.
struct JsonFault {
  size_t offset = 0;   // In bytes, from 0.
  std::string reason;  // Empty: no fault found.
};

// Scans `json` for its first fault: syntax, numbers outside, invalid UTF-8, depth. simdjson is fast
// because it does not keep track of this; what it refuses is scanned again, slowly, to say where.
JsonFault FindJsonFault(std::string_view json);

}  // namespace millrace::storage
