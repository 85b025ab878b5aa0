#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/document.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/write_batch.h"

namespace millrace::storage {

// The rows of tree `catalog`: what is defined in the store. Key: (branch, kind, name). They are
// documents like any record's, so that they can grow members, and go through the log.

// What a catalog row defines; stands where a record's key has the collection. The numbers are
// format.
enum class CatalogKind : uint8_t { kCollection = 1, kIndex = 2, kRelation = 3, kCounter = 4 };

// What the keys of all rows of a kind begin with; the name follows.
std::string CatalogPrefix(CatalogKind kind);
// A member of a definition: a number above 0, or 0 if there is none; a text, or none.
uint64_t CatalogNumber(DocumentView definition, std::string_view member);
std::string_view CatalogText(DocumentView definition, std::string_view member);
// InvalidArgument, about `what`, unless `name` has 1 to 255 bytes of valid UTF-8.
absl::Status CheckCatalogName(std::string_view name, std::string_view what);

// A counter remembers the last id that was given, so that none is given again.
std::string IndexCounterKey();
Document EncodeCounter(uint64_t last);
uint64_t ReadCounter(std::string_view document);

// InvalidArgument unless `name` has 1 to 255 bytes of valid UTF-8.
absl::Status CheckCollectionName(std::string_view name);

// The encoded row key of a collection's definition, and the prefix of all of them.
std::string CollectionKey(std::string_view name);
std::string AllCollectionsPrefix();

// The definition of a collection, and back. DataLoss if the row defines none.
Document CollectionDefinition(const Collection& collection);
absl::StatusOr<Collection> ReadCollectionDefinition(std::string_view name,
                                                    std::string_view document);

}  // namespace millrace::storage
