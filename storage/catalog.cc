#include "millrace/storage/catalog.h"

#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"

namespace millrace::storage {

absl::Status CheckCollectionName(std::string_view name) {
  absl::Status status = CheckId(name);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat("the collection's name: ", status.message()));
}

std::string CollectionKey(std::string_view name) {
  return EncodeRowKey({.tree = Tree::kCatalog,
                       .collection = static_cast<CollectionId>(CatalogKind::kCollection),
                       .id = name});
}

std::string AllCollectionsPrefix() {
  return CollectionKey({});
}

Document CollectionDefinition(const Collection& collection) {
  DocumentBuilder builder;
  builder.Set("id", collection.id);
  return *builder.Finish();
}

absl::StatusOr<Collection> ReadCollectionDefinition(std::string_view name,
                                                    std::string_view document) {
  const std::optional<FieldValue> field = DocumentView(document).Field("id");
  const int64_t* const id = field.has_value() ? std::get_if<int64_t>(&*field) : nullptr;
  if (id == nullptr || *id <= 0) {
    return absl::DataLossError(
        absl::StrCat("the definition of collection '", ToAbsl(name), "' names no id"));
  }
  return Collection{.id = static_cast<CollectionId>(*id), .name = std::string(name)};
}

}  // namespace millrace::storage
