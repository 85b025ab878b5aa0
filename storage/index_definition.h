#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/storage/document.h"
#include "millrace/storage/index_value.h"
#include "millrace/storage/row_key.h"

namespace millrace::storage {

// An index, and a relation. Never reused, 1 is the first; 0 is none.
using IndexId = uint64_t;
using RelationId = uint64_t;

// How many records may have one value. Either way a record has one place, that of its value now: an
// update moves it. What values a record once had is for a relation to keep. The numbers are format.
enum class IndexKind : uint8_t { kUnique = 1, kMulti = 2 };
std::string_view ToString(IndexKind kind);

// What a client asks for. Value.
struct IndexOptions {
  // The field, or a path to it through objects: "name", "address.city". Up to 255 bytes.
  std::string field;
  IndexKind kind = IndexKind::kMulti;
  // The name of a relation: the index is scoped to its owners, so that a value may stand once for
  // each of them. Its members are the records of the collection. Empty: one scope for all.
  std::string scope;
  // What the index is called within its collection. Empty: the field, or "field@scope".
  std::string name;

  std::string EffectiveName() const;
};

// An index as the catalog defines it. Value; got from Engine::CreateIndex or Snapshot::FindIndex.
//
// Defining a name again makes a new definition with the next number. If it still is about the same
// field and scope it keeps the id, and what was built serves on; else it is a new index.
struct IndexDefinition {
  IndexId id = 0;
  uint64_t number = 1;
  CollectionId collection = 0;
  std::string name;
  std::string field;
  IndexKind kind = IndexKind::kMulti;
  RelationId scope = 0;
  // A generation serves fully if it was built for a definition with this number or a later one.
  uint64_t needs = 1;
  // Not 0: generation 1 is complete since the index was first defined, for the collection was
  // empty. It is as good as one built for this definition.
  uint64_t complete_at = 0;

  bool unique() const { return kind == IndexKind::kUnique; }
  bool scoped() const { return scope != 0; }
  friend bool operator==(const IndexDefinition&, const IndexDefinition&) = default;
};

// The format of definitions and entries that this program writes and understands.
inline constexpr uint64_t kIndexFormat = 1;

// The catalog's rows. The key of one, the prefix of a collection's, and of all.
std::string IndexDefinitionKey(CollectionId collection, std::string_view name);
std::string IndexDefinitionPrefix(CollectionId collection);
std::string AllIndexDefinitionsPrefix();
// The collection and the name that such a key holds. DataLoss if it is none.
struct IndexName {
  CollectionId collection = 0;
  std::string_view name;
};
absl::StatusOr<IndexName> ReadIndexDefinitionKey(std::string_view key);
Document EncodeIndexDefinition(const IndexDefinition& definition);
// FailedPrecondition naming the index if a newer version wrote it; DataLoss if it defines none.
absl::StatusOr<IndexDefinition> ReadIndexDefinition(std::string_view key,
                                                    std::string_view document);
// Its number alone, of whatever format.
IndexId PeekIndexId(std::string_view document);

// InvalidArgument for a name or a field that cannot be.
absl::Status CheckIndexOptions(const IndexOptions& options);

// The names of a path are at most so many.
inline constexpr size_t kIndexPathDepthMax = 16;

// Finds in a record what an index holds of it: the one place where that is done, for commit, flush,
// build, audit and lookup. Value.
class IndexField {
 public:
  // The `field` of an IndexDefinition.
  explicit IndexField(std::string_view field);
  // Sets `key` to the value in `document` (trusted bytes). False, and the record has no place in
  // the index, if the value is blank.
  bool Extract(std::string_view document, IndexKey* key) const;

 private:
  std::vector<std::string> path_;
};

}  // namespace millrace::storage
