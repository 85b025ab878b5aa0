#include "millrace/storage/index_definition.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "millrace/storage/catalog.h"

namespace millrace::storage {
std::string_view ToString(IndexKind kind) {
  return kind == IndexKind::kUnique ? "unique" : "multi";
}

std::string IndexOptions::EffectiveName() const {
  if (!name.empty()) return name;
  return scope.empty() ? field : absl::StrCat(field, "@", scope);
}

std::string AllIndexDefinitionsPrefix() {
  return CatalogPrefix(CatalogKind::kIndex);
}

std::string IndexDefinitionPrefix(CollectionId collection) {
  std::string prefix = AllIndexDefinitionsPrefix();
  AppendOrderedInteger(collection, &prefix);
  return prefix;
}

std::string IndexDefinitionKey(CollectionId collection, std::string_view name) {
  std::string key = IndexDefinitionPrefix(collection);
  key.append(name);
  return key;
}

absl::StatusOr<IndexName> ReadIndexDefinitionKey(std::string_view key) {
  const std::string prefix = AllIndexDefinitionsPrefix();
  IndexName name;
  if (key.starts_with(prefix)) {
    key.remove_prefix(prefix.size());
    if (ConsumeOrderedInteger(&key, &name.collection) && !key.empty()) {
      name.name = key;
      return name;
    }
  }
  return absl::DataLossError("the catalog holds a key of an index that is damaged");
}

Document EncodeIndexDefinition(const IndexDefinition& definition) {
  DocumentBuilder builder;
  builder.Set("complete_at", definition.complete_at)
      .Set("field", definition.field)
      .Set("format", kIndexFormat)
      .Set("id", definition.id)
      .Set("kind", static_cast<int64_t>(definition.kind))
      .Set("needs", definition.needs)
      .Set("number", definition.number)
      .Set("scope", definition.scope);
  return *builder.Finish();
}

absl::StatusOr<IndexDefinition> ReadIndexDefinition(std::string_view key,
                                                    std::string_view document) {
  const absl::StatusOr<IndexName> name = ReadIndexDefinitionKey(key);
  if (!name.ok()) return name.status();
  const DocumentView view(document);
  const uint64_t format = CatalogNumber(view, "format");
  if (format > kIndexFormat) {
    return absl::FailedPreconditionError(
        absl::StrCat("index '", ToAbsl(name->name), "' of collection ", name->collection,
                     " was defined by a newer version of Millrace (format ", format,
                     ", this one knows ", kIndexFormat, "); use that version, or drop the index"));
  }
  IndexDefinition definition{.id = CatalogNumber(view, "id"),
                             .number = CatalogNumber(view, "number"),
                             .collection = name->collection,
                             .name = std::string(name->name),
                             .field = std::string(CatalogText(view, "field")),
                             .kind = static_cast<IndexKind>(CatalogNumber(view, "kind")),
                             .scope = CatalogNumber(view, "scope"),
                             .needs = CatalogNumber(view, "needs"),
                             .complete_at = CatalogNumber(view, "complete_at")};
  const bool good = format != 0 && definition.id != 0 && definition.number != 0 &&
                    !definition.field.empty() &&
                    (definition.kind == IndexKind::kUnique || definition.kind == IndexKind::kMulti);
  if (good) return definition;
  return absl::DataLossError(absl::StrCat("the definition of index '", ToAbsl(name->name),
                                          "' of collection ", name->collection,
                                          " is damaged; drop the index and create it again"));
}

IndexId PeekIndexId(std::string_view document) {
  return CatalogNumber(DocumentView(document), "id");
}

absl::Status CheckIndexOptions(const IndexOptions& options) {
  if (absl::Status status = CheckCatalogName(options.field, "the index's field"); !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckCatalogName(options.EffectiveName(), "the index's name");
      !status.ok()) {
    return status;
  }
  const std::vector<std::string> path = absl::StrSplit(options.field, '.');
  if (path.size() > kIndexPathDepthMax) {
    return absl::InvalidArgumentError(absl::StrCat("the index's field '", options.field, "' names ",
                                                   path.size(), " levels; at most ",
                                                   kIndexPathDepthMax, " are looked into"));
  }
  for (const std::string& name : path) {
    if (!name.empty() && name.find('\0') == std::string::npos) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the index's field '", options.field,
        "' is no field: it is a name, or names joined by single dots ('address.city')"));
  }
  return absl::OkStatus();
}

IndexField::IndexField(std::string_view field) : path_(absl::StrSplit(ToAbsl(field), '.')) {
  path_.resize(std::min(path_.size(), kIndexPathDepthMax));
}

bool IndexField::Extract(std::string_view document, IndexKey* key) const {
  std::array<std::string_view, kIndexPathDepthMax> names;
  for (size_t i = 0; i < path_.size(); ++i) names[i] = path_[i];
  const std::optional<FieldValue> value =
      DocumentView(document).Field(absl::MakeConstSpan(names.data(), path_.size()));
  if (!value.has_value() || IsBlank(*value)) return false;
  SetIndexKey(*value, key);
  return true;
}

}  // namespace millrace::storage
