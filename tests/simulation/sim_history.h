#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/actors/engine.h"

namespace millrace::testing {

// The oracle of simulated engines: what clients did and were told, what snapshots showed, and
// whether a store, opened again after whatever happened, agrees with all of it. Records are small
// maps of names to numbers in two collections; each batch also writes a record of its own, the
// mark, that nothing else touches: by it, and its version, the batch is found again. Owned by one
// thread.
//
// An index over "a" of the first collection, a unique one over "b" of the second and one over "a"
// of the members of each owner are looked up in every snapshot and must find what scan and members
// do; links are read from both their ends.
//
// Checked: versions are dense and nobody's twice; what was acknowledged is there as far as its
// durability promised, what was refused is not, what is unknown was decided once and stays so; what
// was lost lies behind everything that was kept; who was answered before another asked has the
// lower version, and so have a client's commits in order; preconditions held when they were said to
// hold, and failed at some moment in between when they were said to fail; snapshots show exactly
// the model at their version; a unique value has one owner, and who was refused one had a rival.

// What is defined in a simulated store. Value.
struct SimSchema {
  static constexpr int kDefinitionCount = 6;
  storage::Collection collections[2];
  storage::IndexDefinition multi;   // "a" of the first.
  storage::IndexDefinition unique;  // "b" of the second.
  storage::Relation relation;       // Records of the first own those of the second, by score.
  storage::IndexDefinition scoped;  // "a" of the second, by owner.
};

// The fields of a record: serial, a, b or c. Value.
using SimFields = std::map<std::string, int64_t>;

struct SimRecord {
  storage::Version version = 0;
  SimFields fields;
  friend bool operator==(const SimRecord&, const SimRecord&) = default;
};
// By collection (0 or 1) and id. Links are kept as kLinks, by owner and member: their fields are a
// score and, of those that are only prepared, "staged".
constexpr int kLinks = 2;
using SimTables = std::map<std::pair<int, std::string>, SimRecord>;

struct SimOperation {
  storage::OperationKind kind = storage::OperationKind::kPut;
  int collection = 0;
  std::string id;
  SimFields fields;
  storage::Precondition precondition;
  std::string member;   // Of kLink and kUnlink; the id is the owner.
  bool staged = false;  // kLink: prepared only.

  // What it writes.
  std::pair<int, std::string> Key() const {
    const bool is_link =
        kind == storage::OperationKind::kLink || kind == storage::OperationKind::kUnlink;
    return is_link ? std::pair(kLinks, LinkOf(id, member)) : std::pair(collection, id);
  }
  static std::string LinkOf(const std::string& owner, const std::string& member) {
    return owner + ">" + member;
  }
};

// One commit, as its client sees it. Value.
struct SimCommit {
  uint64_t serial = 0;
  std::string client;
  std::vector<SimOperation> operations;  // The mark is the last one.
  Durability durability = Durability::kDurable;
  CommitToken token;

  enum class State { kOpen, kCommitted, kRefused, kUnknown };
  State state = State::kOpen;
  storage::Version version = 0;  // Of a committed one.
  absl::Status status;           // Of a refused one.
  uint64_t invoked_at = 0, answered_at = 0;
  storage::Version seen_before = 0;      // Published for sure when it was invoked.
  storage::Version published_after = 0;  // Published when it was answered.
  // Known since a store was opened after it: there or not.
  bool decided = false;
};

// What a snapshot showed. Value.
struct SimObservation {
  storage::Version version = 0;
  SimTables tables;
  uint64_t began_at = 0, ended_at = 0;
};

class SimHistory {
 public:
  // --- A life ---
  void Begin(storage::Version published);
  uint64_t Invoke(SimCommit commit);
  void Answer(uint64_t serial, const absl::StatusOr<CommitReceipt>& answer,
              storage::Version published);
  // What GetOutcome said of it.
  void Resolve(uint64_t serial, const CommitOutcome& outcome);
  void Saw(SimObservation observation);
  uint64_t Now() { return ++clock_; }
  storage::Version published() const { return published_; }
  const SimCommit& commit(uint64_t serial) const { return commits_[serial - 1]; }
  size_t size() const { return commits_.size(); }

  // --- The end of a life ---
  // The store as it was found; `power_lost`: without what was not durable. "", or what is wrong.
  std::string Check(const SimObservation& found, int definition_count, bool power_lost);

  // Everything of a snapshot, or why it could not be read.
  static absl::StatusOr<SimTables> ReadAll(const storage::Snapshot& snapshot,
                                           const SimSchema& schema);
  static storage::WriteBatch BatchOf(const SimCommit& commit, const SimSchema& schema);
  static std::string MarkOf(uint64_t serial);

 private:
  void Fail(std::string what);
  void Decide(const SimObservation& found, bool power_lost);
  void CheckVersions(const SimObservation& found, int definition_count);
  void CheckOrder();
  void CheckBehind(const SimCommit& one, const std::vector<const SimCommit*>& committed);
  void Replay(const SimObservation& found);
  void CheckRefusals(const std::vector<SimTables>& states);
  static bool Holds(const storage::Precondition& precondition, const SimRecord* record);
  static const SimOperation* FailedPrecondition(const SimCommit& commit, const SimTables& tables);
  static bool HasRival(const SimCommit& commit, const SimTables& tables);
  static void EndLinks(const std::pair<int, std::string>& end, SimTables& tables);
  static void Apply(const SimCommit& commit, SimTables& tables);

  std::vector<SimCommit> commits_;            // By serial - 1.
  std::vector<SimObservation> observations_;  // Of this life.
  uint64_t clock_ = 0;
  uint64_t life_began_at_ = 0;
  storage::Version published_ = 0;
  storage::Version life_first_ = 0;  // Published when this life began.
  std::string failure_;
};

}  // namespace millrace::testing
