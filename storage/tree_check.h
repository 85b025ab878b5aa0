#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/storage/collection.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/logged_rows.h"
#include "millrace/storage/meta.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"
#include "millrace/storage/verify.h"

namespace millrace::storage {

// What the parts of a verification share: where they put what they find, and what those before them
// have learned. Owned by one thread.
class VerifyContext {
 public:
  explicit VerifyContext(VerifyReport& report) : report_(report) {}

  void Damage(std::string what) { report_.AddDamage(std::move(what)); }
  VerifyReport& report() { return report_; }

  // From `manifests` and `meta`. Not known if one of the rows is damaged; what needs it is skipped.
  std::map<uint64_t, Manifest> manifests;
  L1State l1;
  bool l1_is_known = false;
  // From the log, as far as L1 holds it.
  LoggedRows logged;
  bool log_is_known = false;
  // From `catalog`, by id; known if no part of it is missing.
  std::map<CollectionId, Collection> collections;
  std::map<IndexId, IndexDefinition> indexes;
  std::map<RelationId, Relation> relations;
  std::map<IndexId, Version> index_versions;  // Of the definitions.
  bool catalog_is_known = false;
  // From `generations`. Known if every row is.
  std::map<IndexId, GenerationState> generations;
  bool generations_are_known = false;

 private:
  VerifyReport& report_;
};

// Checks the rows of one tree, which it is given in key order, then what can be said at their end.
class TreeCheck {
 public:
  virtual ~TreeCheck() = default;
  virtual void Visit(std::string_view key, std::string_view value) = 0;
  // Only if no part of the tree is missing.
  virtual void Finish() {}
};

// One for each tree, to be run in this order: each needs what those before it have learned; the log
// is read behind `meta`. All refer to the context.
std::unique_ptr<TreeCheck> MakeManifestCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeMetaCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeCatalogCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeGenerationCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeTaskCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeRecordCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeLinkCheck(VerifyContext& context);
std::unique_ptr<TreeCheck> MakeEntryCheck(VerifyContext& context);

}  // namespace millrace::storage
