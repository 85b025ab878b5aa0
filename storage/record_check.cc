// What the rows must be that commits write: definitions, records, links.

#include <utility>

#include "absl/strings/str_cat.h"

#include "millrace/storage/catalog.h"
#include "millrace/storage/document.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/record.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/tree_check.h"

namespace millrace::storage {
namespace {

// What the three trees have in common: a key that begins with branch and collection (or kind, or
// relation), a record's header with version and checksum, and the log that must agree.
class RowCheck : public TreeCheck {
 public:
  RowCheck(VerifyContext& context, Tree tree) : context_(context), tree_(tree) {}

  void Visit(std::string_view key, std::string_view value) final {
    row_key_.assign(1, static_cast<char>(tree_));
    row_key_.append(key);
    const absl::StatusOr<RowKey> decoded = DecodeRowKey(row_key_);
    if (!decoded.ok()) return Damage(decoded.status().message());
    if (absl::Status status = VisitKey(*decoded); !status.ok()) return Damage(status.message());
    const absl::StatusOr<RecordView> record = DecodeRecord(key, value);
    version_ = record.ok() ? record->version : kNoVersion;
    if (!record.ok()) {
      context_.logged.Skip(row_key_);
      return context_.Damage(std::string(record.status().message()));
    }
    if (context_.log_is_known) {
      const std::string fault = context_.logged.Check(
          row_key_, {.version = record->version, .tombstone = record->tombstone}, context_.l1);
      if (!fault.empty()) Damage(fault);
    }
    if (!record->tombstone) {
      const absl::Status status = VisitPayload(*decoded, record->payload);
      if (!status.ok()) Damage(status.message());
    } else if (decoded->branch == kTrunk || !record->payload.empty()) {
      Damage("it is no tombstone");
    }
  }

 protected:
  virtual absl::Status VisitKey(const RowKey& key) = 0;
  virtual absl::Status VisitPayload(const RowKey& key, std::string_view payload) = 0;
  void Damage(absl::string_view what) {
    context_.Damage(absl::StrCat(LoggedRows::NameOf(row_key_), ": ", what));
  }
  VerifyContext& context() { return context_; }
  // Of the row that is visited, tree byte included.
  const std::string& row_key() const { return row_key_; }
  Version version() const { return version_; }

 private:
  VerifyContext& context_;
  const Tree tree_;
  std::string row_key_;
  Version version_ = kNoVersion;
};

class CatalogCheck final : public RowCheck {
 public:
  explicit CatalogCheck(VerifyContext& context) : RowCheck(context, Tree::kCatalog) {}

  void Finish() override {
    context().catalog_is_known = true;
    for (const auto& [id, index] : context().indexes) {
      if (context().collections.count(index.collection) == 0 ||
          (index.scope != 0 && context().relations.count(index.scope) == 0)) {
        context().Damage(absl::StrCat("index '", index.name, "' is of collection ",
                                      index.collection, " and relation ", index.scope,
                                      ", which are not both there"));
      }
    }
    for (const auto& [id, relation] : context().relations) {
      if (context().collections.count(relation.owners) == 0 ||
          context().collections.count(relation.members) == 0) {
        context().Damage(absl::StrCat("relation '", relation.name, "' is between collections ",
                                      relation.owners, " and ", relation.members,
                                      ", which are not both there"));
      }
    }
  }

 private:
  absl::Status VisitKey(const RowKey& key) override {
    // The name of an index stands behind its collection.
    if (static_cast<CatalogKind>(key.collection) != CatalogKind::kIndex) return CheckId(key.id);
    const absl::StatusOr<IndexName> name = ReadIndexDefinitionKey(row_key());
    return name.ok() ? CheckId(name->name) : name.status();
  }

  absl::Status VisitPayload(const RowKey& key, std::string_view payload) override {
    const absl::StatusOr<Document> document = Document::FromBytes(payload);
    if (!document.ok()) return document.status();
    switch (static_cast<CatalogKind>(key.collection)) {
      case CatalogKind::kCollection: {
        absl::StatusOr<Collection> collection = ReadCollectionDefinition(key.id, payload);
        if (!collection.ok()) return collection.status();
        return Define(context().collections, *std::move(collection));
      }
      case CatalogKind::kIndex: {
        absl::StatusOr<IndexDefinition> index = ReadIndexDefinition(row_key(), payload);
        if (!index.ok()) return index.status();
        context().index_versions[index->id] = version();
        return Define(context().indexes, *std::move(index));
      }
      case CatalogKind::kRelation: {
        absl::StatusOr<Relation> relation = ReadRelation(key.id, payload);
        if (!relation.ok()) return relation.status();
        return Define(context().relations, *std::move(relation));
      }
      case CatalogKind::kCounter:
        if (ReadCounter(payload) != 0) return absl::OkStatus();
        return absl::DataLossError("it counts nothing");
    }
    return absl::DataLossError(absl::StrCat("it is of unknown kind ", key.collection));
  }

  // Ids are given once.
  template <typename T>
  static absl::Status Define(std::map<uint64_t, T>& known, T definition) {
    const uint64_t id = definition.id;
    const auto [other, added] = known.emplace(id, std::move(definition));
    if (added) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("it has the number ", id, " of '", other->second.name, "'"));
  }
};

class RecordCheck final : public RowCheck {
 public:
  explicit RecordCheck(VerifyContext& context) : RowCheck(context, Tree::kRecords) {}

  void Finish() override {
    if (!context().l1_is_known) return;
    const L1State& l1 = context().l1;
    // Every collection that has a count, too.
    for (const auto& [key, count] : l1.head.counts) counts_.emplace(key, 0);
    if (l1.flush.has_value()) {
      for (const auto& [key, delta] : l1.flush->deltas) counts_.emplace(key, 0);
    }
    for (const auto& [key, count] : counts_) {
      const int64_t claimed = l1.RecordCount(key.first, key.second);
      if (claimed == count) continue;
      context().Damage(absl::StrCat("collection ", key.second, " in branch ", key.first,
                                    ": store.mdb holds ", count, " records, the counts say ",
                                    claimed));
    }
  }

 private:
  absl::Status VisitKey(const RowKey& key) override {
    ++counts_[{key.branch, key.collection}];
    if (context().catalog_is_known && context().collections.count(key.collection) == 0) {
      return absl::DataLossError("there is no such collection");
    }
    return CheckId(key.id);
  }
  absl::Status VisitPayload(const RowKey& /*key*/, std::string_view payload) override {
    return Document::FromBytes(payload).status();
  }

  CountMap counts_;
};

class LinkCheck final : public RowCheck {
 public:
  explicit LinkCheck(VerifyContext& context) : RowCheck(context, Tree::kRelations) {}

 private:
  absl::Status VisitKey(const RowKey& key) override {
    if (!context().catalog_is_known) return absl::OkStatus();
    const auto relation = context().relations.find(key.collection);
    if (relation == context().relations.end()) {
      return absl::DataLossError("there is no such relation");
    }
    return DecodeLinkRowKey(row_key(), relation->second.order).status();
  }
  absl::Status VisitPayload(const RowKey& /*key*/, std::string_view payload) override {
    return DecodeLinkData(payload).status();
  }
};

}  // namespace

std::unique_ptr<TreeCheck> MakeCatalogCheck(VerifyContext& context) {
  return std::make_unique<CatalogCheck>(context);
}
std::unique_ptr<TreeCheck> MakeRecordCheck(VerifyContext& context) {
  return std::make_unique<RecordCheck>(context);
}
std::unique_ptr<TreeCheck> MakeLinkCheck(VerifyContext& context) {
  return std::make_unique<LinkCheck>(context);
}

}  // namespace millrace::storage
