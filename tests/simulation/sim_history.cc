#include "tests/simulation/sim_history.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace::testing {
namespace {

using storage::OperationKind;
using storage::Version;
using State = SimCommit::State;

constexpr const char* kFieldNames[] = {"serial", "a", "b", "c"};

storage::Document DocumentOf(const SimFields& fields) {
  storage::DocumentBuilder builder;
  for (const auto& [name, value] : fields) builder.Set(name, value);
  return *builder.Finish();
}

std::string Describe(const SimCommit& commit) {
  return absl::StrCat("commit ", commit.serial, " of ", commit.client);
}

std::string Describe(const SimTables& tables, const SimTables& want) {
  for (const auto& [key, record] : want) {
    const auto found = tables.find(key);
    if (found == tables.end()) {
      return absl::StrCat("record ", key.second, " of version ", record.version, " is missing");
    }
    if (found->second != record) {
      return absl::StrCat("record ", key.second, " has version ", found->second.version,
                          found->second.fields == record.fields ? "" : " and other fields",
                          " where the model has ", record.version);
    }
  }
  for (const auto& [key, record] : tables) {
    if (!want.contains(key)) {
      return absl::StrCat("record ", key.second, " of version ", record.version, " is too many");
    }
  }
  return "";
}

// What an index should find: the entries, by value.
using Entries = std::map<std::pair<int64_t, std::string>, Version>;

Entries EntriesOf(const SimTables& tables, int collection, const std::string& field) {
  Entries entries;
  for (const auto& [key, record] : tables) {
    const auto value = record.fields.find(field);
    if (key.first == collection && value != record.fields.end()) {
      entries[{value->second, key.second}] = record.version;
    }
  }
  return entries;
}

absl::Status CheckIndex(const storage::Snapshot& snapshot, const storage::IndexDefinition& index,
                        const storage::IndexQuery& query, const Entries& want) {
  auto next = want.begin();
  std::string fault;
  const auto page = snapshot.Find(index, query, [&](const storage::RecordRef& ref) {
    if (next == want.end() || next->first.second != ref.id || next->second != ref.version) {
      fault = absl::StrCat("index ", index.name, " finds ", std::string(ref.id), " where ",
                           next == want.end() ? "nothing" : next->first.second, " should come");
      return false;
    }
    ++next;
    return true;
  });
  if (!page.ok()) return page.status();
  if (fault.empty() && next != want.end()) {
    fault = absl::StrCat("index ", index.name, " does not find ", next->first.second);
  }
  return fault.empty() ? absl::OkStatus() : absl::InternalError(fault);
}

// Reads the links of one owner, in their order, and its part of the scoped index.
absl::Status ReadLinks(const storage::Snapshot& snapshot, const SimSchema& schema,
                       const std::string& owner, SimTables& tables) {
  Entries members;
  for (const bool staged : {false, true}) {
    std::optional<std::pair<double, std::string>> last;
    std::string fault;
    const auto page =
        snapshot.Members(schema.relation, owner, {.staged = staged}, [&](const auto& link) {
          const std::string member(link.member);
          const std::pair<double, std::string> place(link.data.score, member);
          if (last.has_value() && *last >= place) fault = "the members of " + owner;
          last = place;
          SimRecord& record = tables[{kLinks, SimOperation::LinkOf(owner, member)}];
          record.version = link.version;
          record.fields["score"] = static_cast<int64_t>(link.data.score);
          if (staged) record.fields["staged"] = 1;
          const auto end = tables.find({1, member});
          if (end == tables.end()) {
            fault = absl::StrCat("member ", member, " of ", owner);
          } else if (const auto value = end->second.fields.find("a");
                     !staged && value != end->second.fields.end()) {
            members[{value->second, member}] = end->second.version;
          }
          return true;
        });
    if (!page.ok()) return page.status();
    if (!fault.empty()) return absl::InternalError("not in order, or not there: " + fault);
  }
  return CheckIndex(snapshot, schema.scoped, {.owner = owner}, members);
}

// The links as their members show them.
absl::Status CheckOwners(const storage::Snapshot& snapshot, const SimSchema& schema,
                         const SimTables& tables) {
  for (const auto& [key, record] : tables) {
    if (key.first != 1) continue;
    for (const bool staged : {false, true}) {
      uint64_t count = 0;
      for (const auto& [link, data] : tables) {
        count += link.first == kLinks && link.second.ends_with(">" + key.second) &&
                 data.fields.contains("staged") == staged;
      }
      const auto page = snapshot.Owners(schema.relation, key.second, {.staged = staged},
                                        [](const storage::LinkRef&) { return true; });
      if (!page.ok()) return page.status();
      if (page->count != count) {
        return absl::InternalError(
            absl::StrCat(key.second, " has ", page->count, " owners, but is a member of ", count));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

// ---- A life ----

void SimHistory::Begin(Version published) {
  published_ = life_first_ = published;
  life_began_at_ = Now();
}

uint64_t SimHistory::Invoke(SimCommit commit) {
  commit.serial = commits_.size() + 1;
  commit.operations.push_back(
      {.id = MarkOf(commit.serial), .fields = {{"serial", static_cast<int64_t>(commit.serial)}}});
  commit.invoked_at = Now();
  commit.seen_before = published_;
  commits_.push_back(std::move(commit));
  return commits_.back().serial;
}

void SimHistory::Answer(uint64_t serial, const absl::StatusOr<CommitReceipt>& answer,
                        Version published) {
  SimCommit& commit = commits_[serial - 1];
  commit.answered_at = Now();
  commit.published_after = published;
  if (answer.ok()) {
    if (commit.state == State::kRefused) Fail(Describe(commit) + " was ruled out and committed");
    commit.state = State::kCommitted;
    commit.version = answer->version;
    published_ = std::max(published_, answer->version);
    if (answer->version > published) Fail(Describe(commit) + " is answered and not published");
    return;
  }
  if (!answer.status().GetPayload("millrace/outcome").has_value()) {
    Fail(Describe(commit) + " says nothing of its outcome: " + answer.status().ToString());
  }
  commit.status = answer.status();
  commit.state =
      GetOutcome(answer.status()) == Outcome::kUnknown ? State::kUnknown : State::kRefused;
}

void SimHistory::Resolve(uint64_t serial, const CommitOutcome& outcome) {
  SimCommit& commit = commits_[serial - 1];
  const bool committed = outcome.state == CommitOutcome::State::kCommitted;
  if (outcome.state == CommitOutcome::State::kPruned) return;
  if (commit.state == State::kCommitted && !(committed && outcome.version == commit.version)) {
    Fail(Describe(commit) + " was acknowledged, and its outcome is another one");
  }
  if (commit.state == State::kRefused && committed) {
    Fail(Describe(commit) + " was not executed, and its outcome is committed");
  }
  if (commit.state == State::kUnknown) {
    commit.state = committed ? State::kCommitted : State::kRefused;
    commit.version = outcome.version;
    commit.status = absl::OkStatus();
    commit.answered_at = Now();
  }
}

void SimHistory::Saw(SimObservation observation) {
  observation.ended_at = Now();
  published_ = std::max(published_, observation.version);
  observations_.push_back(std::move(observation));
}

void SimHistory::Fail(std::string what) {
  if (failure_.empty()) failure_ = std::move(what);
}

// ---- The end of a life ----

std::string SimHistory::Check(const SimObservation& found, int definition_count, bool power_lost) {
  CheckOrder();
  Decide(found, power_lost);
  CheckVersions(found, definition_count);
  Replay(found);
  observations_.clear();
  return failure_;
}

// Who was answered before another asked comes before it.
void SimHistory::CheckOrder() {
  std::vector<const SimCommit*> committed;
  for (const SimCommit& commit : commits_) {
    if (commit.invoked_at > life_began_at_ && commit.state == State::kCommitted &&
        commit.answered_at != 0) {
      committed.push_back(&commit);
    }
  }
  for (const SimCommit* one : committed) CheckBehind(*one, committed);
  for (const SimObservation& one : observations_) {
    for (const SimObservation& other : observations_) {
      if (one.ended_at < other.began_at && one.version > other.version) {
        Fail(absl::StrCat("a snapshot of version ", other.version, " was taken after one of ",
                          one.version));
      }
    }
  }
}

// Commits and snapshots that began behind the answer of this commit.
void SimHistory::CheckBehind(const SimCommit& one, const std::vector<const SimCommit*>& committed) {
  for (const SimCommit* other : committed) {
    const bool before = one.answered_at < other->invoked_at ||
                        (one.client == other->client && one.invoked_at < other->invoked_at);
    if (before && one.version >= other->version) {
      Fail(absl::StrCat(Describe(one), " came before ", Describe(*other), " but has version ",
                        one.version, ", not below ", other->version));
    }
  }
  for (const SimObservation& observation : observations_) {
    if (one.answered_at < observation.began_at && observation.version < one.version) {
      Fail(absl::StrCat("a snapshot of version ", observation.version, " does not show ",
                        Describe(one), ", version ", one.version, ", answered before"));
    }
  }
}

// The marks that were found say what is committed; everything that lived is decided now.
void SimHistory::Decide(const SimObservation& found, bool power_lost) {
  const bool durable_only = std::all_of(commits_.begin(), commits_.end(), [&](const auto& commit) {
    return commit.invoked_at < life_began_at_ || commit.durability == Durability::kDurable;
  });
  for (const SimObservation& observation : observations_) {
    if (observation.version > found.version && (!power_lost || durable_only)) {
      Fail(absl::StrCat("version ", observation.version, " was visible and is gone"));
    }
  }
  for (SimCommit& commit : commits_) {
    const auto mark = found.tables.find({0, MarkOf(commit.serial)});
    const bool present = mark != found.tables.end();
    const Version version = present ? mark->second.version : 0;
    if (commit.state == State::kRefused) {
      if (present) Fail(Describe(commit) + " was not executed and is there");
    } else if (commit.state == State::kCommitted) {
      const bool may_be_lost =
          power_lost && !commit.decided && commit.durability != Durability::kDurable;
      if (!present && !may_be_lost) {
        Fail(absl::StrCat(Describe(commit), ", version ", commit.version, ", is lost"));
      } else if (!present && commit.version <= found.version) {
        Fail(absl::StrCat(Describe(commit), ", version ", commit.version,
                          ", is lost and later ones are not"));
      } else if (present && version != commit.version) {
        Fail(absl::StrCat(Describe(commit), " had version ", commit.version, " and has ", version));
      }
    }
    commit.state = present ? State::kCommitted : State::kRefused;
    commit.version = version;
    commit.decided = true;
  }
}

void SimHistory::CheckVersions(const SimObservation& found, int definition_count) {
  std::set<Version> versions;
  for (const SimCommit& commit : commits_) {
    if (commit.state == State::kCommitted && !versions.insert(commit.version).second) {
      Fail(absl::StrCat("version ", commit.version, " was given twice"));
    }
  }
  if (versions.size() + static_cast<size_t>(definition_count) != found.version) {
    Fail(absl::StrCat("the store is at version ", found.version, " with ", versions.size(),
                      " commits and ", definition_count, " definitions"));
  }
}

// The model: all commits in the order of their versions.
void SimHistory::Replay(const SimObservation& found) {
  std::map<Version, const SimCommit*> by_version;
  for (const SimCommit& commit : commits_) {
    if (commit.state == State::kCommitted) by_version[commit.version] = &commit;
  }
  std::vector<SimTables> states(1);
  for (Version version = 1; version <= found.version; ++version) {
    states.push_back(states.back());
    const auto commit = by_version.find(version);
    if (commit == by_version.end()) continue;  // A definition.
    if (const SimOperation* failed = FailedPrecondition(*commit->second, states.back())) {
      Fail(absl::StrCat(Describe(*commit->second), ", version ", version,
                        ", is committed although the precondition on ", failed->id, " fails"));
    }
    if (HasRival(*commit->second, states.back())) {
      Fail(absl::StrCat(Describe(*commit->second), ", version ", version,
                        ", is committed although a unique value has an owner"));
    }
    Apply(*commit->second, states.back());
  }
  const std::string difference = Describe(found.tables, states.back());
  if (!difference.empty()) Fail("after opening: " + difference);
  for (const SimObservation& observation : observations_) {
    if (observation.version > found.version) continue;  // Lost; nobody can say.
    const std::string fault = Describe(observation.tables, states[observation.version]);
    if (!fault.empty()) {
      Fail(absl::StrCat("in a snapshot of version ", observation.version, ": ", fault));
    }
  }
  CheckRefusals(states);
}

// A precondition that was said to fail did so at some moment between question and answer.
void SimHistory::CheckRefusals(const std::vector<SimTables>& states) {
  for (SimCommit& commit : commits_) {
    const bool had_rival = absl::IsAlreadyExists(commit.status);
    if (!had_rival && !absl::IsFailedPrecondition(commit.status)) continue;
    const absl::Status status = std::exchange(commit.status, absl::OkStatus());
    if (commit.published_after >= states.size()) continue;  // Some of that is lost.
    bool failed = false;
    for (Version v = commit.seen_before; v <= commit.published_after; ++v) {
      failed = failed || (had_rival ? HasRival(commit, states[v])
                                    : FailedPrecondition(commit, states[v]) != nullptr);
    }
    if (!failed) {
      Fail(absl::StrCat(Describe(commit), " was refused, but its preconditions held from version ",
                        commit.seen_before, " to ", commit.published_after, ": ",
                        status.ToString()));
    }
  }
}

bool SimHistory::Holds(const storage::Precondition& precondition, const SimRecord* record) {
  switch (precondition.kind) {
    case storage::Precondition::Kind::kNone:
      return true;
    case storage::Precondition::Kind::kAbsent:
      return record == nullptr;
    case storage::Precondition::Kind::kVersion:
      return record != nullptr && record->version == precondition.version;
  }
  return false;
}

const SimOperation* SimHistory::FailedPrecondition(const SimCommit& commit,
                                                   const SimTables& tables) {
  for (const SimOperation& operation : commit.operations) {
    // Of several operations on a link the last one alone counts.
    const bool counts =
        std::none_of(&operation + 1, commit.operations.data() + commit.operations.size(),
                     [&operation](const auto& later) { return later.Key() == operation.Key(); });
    if (operation.kind == OperationKind::kLink && counts &&
        !(tables.contains({0, operation.id}) && tables.contains({1, operation.member}))) {
      return &operation;
    }
    const auto record = tables.find({operation.collection, operation.id});
    if (!Holds(operation.precondition, record == tables.end() ? nullptr : &record->second)) {
      return &operation;
    }
  }
  return nullptr;
}

// Whether a record that the commit writes would share a unique value.
bool SimHistory::HasRival(const SimCommit& commit, const SimTables& tables) {
  SimTables after = tables;
  Apply(commit, after);
  std::map<int64_t, int> owner_counts;
  for (const auto& [key, record] : after) {
    const auto value = record.fields.find("b");
    if (key.first == 1 && value != record.fields.end()) ++owner_counts[value->second];
  }
  return std::any_of(owner_counts.begin(), owner_counts.end(),
                     [](const auto& owners) { return owners.second > 1; });
}

// Of several writes to a record the last one wins; it works on the state before the batch. Links
// end with either end; a commit that links writes no record but its mark.
void SimHistory::Apply(const SimCommit& commit, SimTables& tables) {
  std::set<std::pair<int, std::string>> written;
  for (auto it = commit.operations.rbegin(); it != commit.operations.rend(); ++it) {
    const std::pair<int, std::string> key = it->Key();
    if (it->kind == OperationKind::kRequire || !written.insert(key).second) continue;
    if (it->kind == OperationKind::kDelete || it->kind == OperationKind::kUnlink) {
      tables.erase(key);
      if (it->kind == OperationKind::kDelete) EndLinks(key, tables);
      continue;
    }
    const auto before = tables.find(key);
    // A member is not staged again.
    const bool stages =
        it->staged && (before == tables.end() || before->second.fields.contains("staged"));
    SimRecord& record = tables[key];
    record.version = commit.version;
    if (it->kind != OperationKind::kMerge) record.fields.clear();
    for (const auto& [name, value] : it->fields) record.fields[name] = value;
    if (stages) record.fields["staged"] = 1;
  }
}

void SimHistory::EndLinks(const std::pair<int, std::string>& end, SimTables& tables) {
  std::erase_if(tables, [&](const auto& row) {
    const std::string& link = row.first.second;
    return row.first.first == kLinks &&
           (end.first == 0 ? link.starts_with(end.second + ">") : link.ends_with(">" + end.second));
  });
}

// ---- The store ----

std::string SimHistory::MarkOf(uint64_t serial) {
  return absl::StrCat("mark-", serial);
}

storage::WriteBatch SimHistory::BatchOf(const SimCommit& commit, const SimSchema& schema) {
  storage::WriteBatch batch;
  for (const SimOperation& operation : commit.operations) {
    const storage::Collection& collection = schema.collections[operation.collection];
    switch (operation.kind) {
      case OperationKind::kPut:
        batch.Put(collection, operation.id, DocumentOf(operation.fields), operation.precondition);
        break;
      case OperationKind::kMerge:
        batch.Merge(collection, operation.id, DocumentOf(operation.fields), operation.precondition);
        break;
      case OperationKind::kDelete:
        batch.Delete(collection, operation.id, operation.precondition);
        break;
      case OperationKind::kRequire:
        batch.Require(collection, operation.id, operation.precondition);
        break;
      case OperationKind::kLink: {
        const auto score = static_cast<double>(operation.fields.at("score"));
        if (operation.staged) {
          batch.Stage(schema.relation, operation.id, operation.member, score);
        } else {
          batch.Link(schema.relation, operation.id, operation.member, score);
        }
        break;
      }
      case OperationKind::kUnlink:
        batch.Unlink(schema.relation, operation.id, operation.member);
        break;
    }
  }
  return batch;
}

absl::StatusOr<SimTables> SimHistory::ReadAll(const storage::Snapshot& snapshot,
                                              const SimSchema& schema) {
  SimTables tables;
  for (int i = 0; i < 2; ++i) {
    uint64_t rows = 0;
    std::string fault;
    absl::Status status =
        snapshot.Scan(schema.collections[i], {}, [&](const storage::RecordRef& ref) {
          ++rows;
          SimRecord& record = tables[{i, std::string(ref.id)}];
          record.version = ref.version;
          for (const char* name : kFieldNames) {
            const auto value = storage::DocumentView(ref.document).Field(name);
            if (value.has_value()) record.fields[name] = std::get<int64_t>(*value);
          }
          if (DocumentOf(record.fields).bytes() != ref.document) fault = std::string(ref.id);
          return true;
        });
    if (!status.ok()) return status;
    if (!fault.empty()) return absl::InternalError("strange fields in record " + fault);
    const absl::StatusOr<uint64_t> count = snapshot.Count(schema.collections[i]);
    if (!count.ok()) return count.status();
    if (*count != rows) {
      return absl::InternalError(
          absl::StrCat("Count says ", *count, " where a scan finds ", rows, " records"));
    }
  }
  absl::Status status = CheckIndex(snapshot, schema.multi, {}, EntriesOf(tables, 0, "a"));
  if (status.ok()) status = CheckIndex(snapshot, schema.unique, {}, EntriesOf(tables, 1, "b"));
  std::vector<std::string> owners;
  for (const auto& [key, record] : tables) {
    if (key.first == 0) owners.push_back(key.second);
  }
  for (const std::string& owner : owners) {
    if (status.ok()) status = ReadLinks(snapshot, schema, owner, tables);
  }
  if (status.ok()) status = CheckOwners(snapshot, schema, tables);
  if (!status.ok()) return status;
  return tables;
}

}  // namespace millrace::testing
