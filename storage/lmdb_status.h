#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace millrace::storage {

// The status of an LMDB return code or of an errno value (LMDB returns both): its message is
// "<operation> <subject>: <cause>; <what to do>". OK for 0. MDB_NOTFOUND is a normal result and
// has an empty message. The only place where such codes become statuses. Thread-safe.
absl::Status LmdbStatus(int code, std::string_view operation, std::string_view subject);

}  // namespace millrace::storage
