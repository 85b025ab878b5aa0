#pragma once

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bench/harness.h"

namespace millrace {

// Adds the cases point-read, scan and reopen to the commit suite. `program` is this program's
// argv[0]: reopen runs it again, to be killed while it has a store open.
void AddReadCases(BenchSuite& suite, const std::string& program);

// True if this process was started to be killed: it then fills the store it was told of and does
// not return.
bool FillStoreIfAsked();

// The same reads without an engine, in the file of a store that no one has open: rows a second.
// DataLoss if a key is missing, or if the scan does not see `row_count` rows.
absl::StatusOr<double> RawPointReads(const std::string& store, absl::Span<const std::string> keys);
absl::StatusOr<double> RawScan(const std::string& store, size_t row_count);

}  // namespace millrace
