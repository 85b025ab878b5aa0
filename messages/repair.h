#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/storage/entry_batch.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"
#include "millrace/storage/relation.h"

namespace millrace {

// The conversation about what an audit has found: what a repair has the Writer do. A message says
// what to look at, and never what to write: the Writer looks at records, links and entries again,
// in its own transaction, and writes what follows from them at that moment. So what changed since
// is not undone, and what is right already stays. Aborted: the transaction was aborted, or what the
// message is about is of the past; a new audit tells.

// What became of the rows of one message. Value.
struct Repaired {
  uint64_t put = 0;
  uint64_t removed = 0;
  uint64_t left = 0;  // Right as they are, or nobody can tell what they should be.
};

// Entries of an index's live generation that may be wrong or missing. Each is put if record and
// link have it, else removed. One of a unique value that an entry gives to another record, which
// has it, is not put.
struct RepairEntries {
  using ReplyType = Repaired;
  storage::IndexDefinition definition;
  storage::Generation generation = 0;
  storage::EntryBatch entries;
};

// Links whose rows may be wrong. A link of which an end is not there is removed; else the newer of
// its rows says what both are.
struct LinkToRepair {
  std::string owner;
  std::string member;
  std::string owner_row;  // A row by the owner, as tree `relations` has it, if one was found.
};
struct RepairLinks {
  using ReplyType = Repaired;
  storage::Relation relation;
  std::vector<LinkToRepair> links;
};

// Adds to what the head counts of a collection, if the head's count_repairs is still this: flushes
// meanwhile add theirs, another repair does not.
struct RepairCount {
  using ReplyType = Repaired;
  storage::CollectionId collection = 0;
  int64_t delta = 0;
  uint64_t count_repairs = 0;
};

}  // namespace millrace
