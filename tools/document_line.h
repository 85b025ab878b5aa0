#pragma once

#include <string>

#include "millrace/storage/snapshot.h"

namespace millrace {

// Appends a document as a line of JSON with its id first, as _id. One that has an _id has it equal:
// it is shown as it is stored.
void AppendDocumentLine(const storage::RecordRef& record, std::string* out);

}  // namespace millrace
