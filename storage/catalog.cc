#include "millrace/storage/catalog.h"

#include <optional>
#include <variant>

#include "absl/strings/str_cat.h"

namespace millrace::storage {

std::string CatalogPrefix(CatalogKind kind) {
  return EncodeCollectionPrefix(Tree::kCatalog, kTrunk, static_cast<CollectionId>(kind));
}

uint64_t CatalogNumber(DocumentView definition, std::string_view member) {
  const std::optional<FieldValue> field = definition.Field(member);
  const int64_t* const number = field.has_value() ? std::get_if<int64_t>(&*field) : nullptr;
  return number != nullptr && *number > 0 ? static_cast<uint64_t>(*number) : 0;
}

std::string_view CatalogText(DocumentView definition, std::string_view member) {
  const std::optional<FieldValue> field = definition.Field(member);
  const auto* const text = field.has_value() ? std::get_if<std::string_view>(&*field) : nullptr;
  return text != nullptr ? *text : std::string_view();
}

absl::Status CheckCatalogName(std::string_view name, std::string_view what) {
  absl::Status status = CheckId(name);
  if (status.ok()) return status;
  return absl::InvalidArgumentError(absl::StrCat(ToAbsl(what), ": ", status.message()));
}

std::string IndexCounterKey() {
  return CatalogPrefix(CatalogKind::kCounter) + "index";
}

Document EncodeCounter(uint64_t last) {
  DocumentBuilder builder;
  builder.Set("last", last);
  return *builder.Finish();
}

uint64_t ReadCounter(std::string_view document) {
  return CatalogNumber(DocumentView(document), "last");
}

absl::Status CheckCollectionName(std::string_view name) {
  return CheckCatalogName(name, "the collection's name");
}

std::string CollectionKey(std::string_view name) {
  return CatalogPrefix(CatalogKind::kCollection).append(name);
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
  const CollectionId id = CatalogNumber(DocumentView(document), "id");
  if (id == 0) {
    return absl::DataLossError(
        absl::StrCat("the definition of collection '", ToAbsl(name), "' names no id"));
  }
  return Collection{.id = id, .name = std::string(name)};
}

}  // namespace millrace::storage
