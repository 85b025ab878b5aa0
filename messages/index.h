#pragma once

#include <optional>
#include <string>

#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/index_task.h"
#include "millrace/storage/relation.h"
#include "millrace/storage/row_key.h"

namespace millrace {

// The conversation about what is maintained besides records: clients define indexes and relations,
// the Rebuilder tells which generations there are. All to the Committer. Definitions go through the
// log and are always durable.

// An index is defined.
struct IndexDefined {
  storage::IndexDefinition definition;
  // The index that had the name, if this is another one: it is no longer defined.
  std::optional<storage::IndexDefinition> replaced;
  // The index serves as it is defined; else lookups scan until a build is complete.
  bool complete = false;
  // Everything up to here was committed without it; everything later is maintained.
  storage::Version version = storage::kNoVersion;
  // Of Engine::CreateIndex: the task that builds it; 0 if it is complete, or if the task could not
  // be written: then it is begun with one of the next flushes.
  storage::TaskId build = 0;
};
// Defines an index, or defines it anew; an identical definition changes nothing. InvalidArgument:
// not a possible name or field. NotFound: no such collection or scope. FailedPrecondition: a newer
// version wrote it.
struct DefineIndex {
  using ReplyType = IndexDefined;
  storage::CollectionId collection = 0;
  storage::IndexOptions options;
};

// An index is no longer defined: nothing that is rotated from now on maintains it.
struct IndexDropped {
  storage::IndexDefinition definition;             // If it could not be read, id and name only.
  storage::Version version = storage::kNoVersion;  // Of the drop: what deletes, deletes behind it.
};
// NotFound: there is no such index.
struct DropIndex {
  using ReplyType = IndexDropped;
  storage::CollectionId collection = 0;
  std::string name;
};

// Defines a relation, or finds it. InvalidArgument: not a possible name, order or cap. NotFound: no
// such collection. FailedPrecondition: it is defined otherwise; the message says how.
struct DefineRelation {
  using ReplyType = storage::Relation;
  storage::RelationOptions options;
};

// The Committer knows: every rotation from now on honours the generations.
struct Marked {
  // Once everything up to here is published, no stream goes by older marks.
  storage::Version version = storage::kNoVersion;
};
// The generations of an index have changed, durably. NotFound: the index is no longer defined.
struct MarkGenerations {
  using ReplyType = Marked;
  storage::GenerationState state;
  // Its building generation is filled: unique values are claimed in it from now on. Not durable.
  bool enforce_building = false;
};

}  // namespace millrace
