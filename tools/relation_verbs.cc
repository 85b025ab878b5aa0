// link, unlink, members: relations.

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "millrace/tools/open_store.h"
#include "millrace/tools/verbs.h"

namespace millrace {
namespace {

using storage::ToAbsl;

absl::StatusOr<storage::MemberOrder> OrderOf(const Arguments& arguments) {
  const std::string_view word = arguments.Value("order").value_or("id");
  for (const auto order : {storage::MemberOrder::kId, storage::MemberOrder::kScore,
                           storage::MemberOrder::kInsertion}) {
    if (word == storage::ToString(order)) return order;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--order is '", ToAbsl(word), "'; it is id, score or insertion"));
}

// The relation that the words name: defined if --owners and --members say between what, else found.
absl::StatusOr<storage::Relation> RelationOf(Engine& engine, const Arguments& arguments) {
  const std::string_view name = arguments.operands[1];
  if (!arguments.Has("owners") && !arguments.Has("members")) {
    absl::StatusOr<storage::Relation> found = engine.OpenRelation(name);
    if (!absl::IsNotFound(found.status())) return found;
    return absl::NotFoundError(
        absl::StrCat(found.status().message(),
                     "; --owners=COLLECTION --members=COLLECTION of 'link' define it"));
  }
  absl::StatusOr<storage::Collection> owners =
      engine.OpenCollection(arguments.Value("owners").value_or(""));
  if (!owners.ok()) return owners.status();
  absl::StatusOr<storage::Collection> members =
      engine.OpenCollection(arguments.Value("members").value_or(""));
  if (!members.ok()) return members.status();
  const absl::StatusOr<storage::MemberOrder> order = OrderOf(arguments);
  if (!order.ok()) return order.status();
  const absl::StatusOr<std::optional<uint64_t>> max = arguments.Number("max");
  if (!max.ok()) return max.status();
  return engine.DefineRelation({.name = std::string(name),
                                .owners = *std::move(owners),
                                .members = *std::move(members),
                                .order = *order,
                                .member_max = max->value_or(0)});
}

ExitCode CommitBatch(Engine& engine, storage::WriteBatch batch, std::string_view verb,
                     Console& console) {
  const absl::StatusOr<CommitReceipt> receipt = engine.Commit(std::move(batch)).Wait();
  return receipt.ok() ? ExitCode::kOk : Fail(console, verb, receipt.status());
}

}  // namespace

ExitCode RunLink(const Arguments& arguments, Console& console) {
  double score = 0;
  const std::string_view word = arguments.Value("score").value_or("0");
  if (!absl::SimpleAtod(ToAbsl(word), &score)) {
    console.Complain(absl::StrCat("link: --score is '", ToAbsl(word), "'; it must be a number"));
    return ExitCode::kUsage;
  }
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(arguments.operands[0]);
  if (!engine.ok()) return Fail(console, "link", engine.status());
  const absl::StatusOr<storage::Relation> relation = RelationOf(**engine, arguments);
  if (!relation.ok()) return Fail(console, "link", relation.status());
  storage::WriteBatch batch;
  batch.Link(*relation, arguments.operands[2], arguments.operands[3], score);
  return CommitBatch(**engine, std::move(batch), "link", console);
}

ExitCode RunUnlink(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(arguments.operands[0]);
  if (!engine.ok()) return Fail(console, "unlink", engine.status());
  const absl::StatusOr<storage::Relation> relation = RelationOf(**engine, arguments);
  if (!relation.ok()) return Fail(console, "unlink", relation.status());
  storage::WriteBatch batch;
  batch.Unlink(*relation, arguments.operands[2], arguments.operands[3]);
  return CommitBatch(**engine, std::move(batch), "unlink", console);
}

ExitCode RunMembers(const Arguments& arguments, Console& console) {
  const absl::StatusOr<std::optional<uint64_t>> limit = arguments.Number("limit");
  if (!limit.ok()) {
    console.Complain("members", limit.status());
    return ExitCode::kUsage;
  }
  const absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(arguments.operands[0]);
  if (!engine.ok()) return Fail(console, "members", engine.status());
  const absl::StatusOr<storage::Relation> relation = RelationOf(**engine, arguments);
  if (!relation.ok()) return Fail(console, "members", relation.status());
  const absl::StatusOr<storage::Snapshot> snapshot = (*engine)->TakeSnapshot("millrace command");
  if (!snapshot.ok()) return Fail(console, "members", snapshot.status());
  const storage::LinkQuery query{.reverse = arguments.Has("reverse"),
                                 .staged = arguments.Has("staged"),
                                 .limit = limit->value_or(std::numeric_limits<uint64_t>::max())};
  const absl::StatusOr<storage::FoundPage> page =
      snapshot->Members(*relation, arguments.operands[2], query, [&](const storage::LinkRef& link) {
        console.Print(absl::StrCat(ToAbsl(link.member), "  ", link.data.score, "\n"));
        return console.can_print();
      });
  if (!page.ok()) return Fail(console, "members", page.status());
  return ExitCode::kOk;
}

}  // namespace millrace
