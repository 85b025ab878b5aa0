// The Committer's part in definitions. Each is a batch like any other, but always durable, and is
// answered with its group; what it defines stands for the next batch.

#include <utility>

#include "millrace/actors/committer.h"
#include "millrace/messages/error.h"

namespace millrace {
namespace {

void SetVersion(storage::Version version, IndexDefined* defined) {
  defined->version = version;
}
void SetVersion(storage::Version version, IndexDropped* dropped) {
  dropped->version = version;
}
template <typename T>
void SetVersion(storage::Version /*version*/, T* /*answer*/) {
}

}  // namespace

void Committer::Handle(DefineCollection define, Reply<storage::Collection> reply) {
  Define(catalog_.PlanCollection(define), std::move(reply));
}

void Committer::Handle(DefineIndex define, Reply<IndexDefined> reply) {
  const absl::StatusOr<storage::RowView> view = View();
  if (!view.ok()) return reply.Send(view.status());
  Define(catalog_.PlanIndex(define, *view), std::move(reply));
}

void Committer::Handle(DropIndex drop, Reply<IndexDropped> reply) {
  Define(catalog_.PlanDrop(drop), std::move(reply));
}

void Committer::Handle(DefineRelation define, Reply<storage::Relation> reply) {
  Define(catalog_.PlanRelation(define), std::move(reply));
}

// What is in the group already may have been worked out without the mark: it is published first.
void Committer::Handle(MarkGenerations mark, Reply<Marked> reply) {
  CloseGroup();
  if (!log_failure_.ok()) return reply.Send(log_failure_);
  if (absl::Status status = catalog_.SetGenerations(mark); !status.ok()) return reply.Send(status);
  effects_.SetMarks(catalog_.marks());
  reply.Send(Marked{.version = log_->last_version()});
}

// What is known already is answered with the group, too: it may stand in it.
template <typename T>
void Committer::Define(absl::StatusOr<CatalogState::Plan<T>> plan, Reply<T> reply) {
  if (!log_failure_.ok()) return reply.Send(WithOutcome(log_failure_, Outcome::kNotExecuted));
  if (!plan.ok()) return reply.Send(plan.status());
  if (!plan->batch.empty()) {
    if (!reply.Claim()) return;
    const absl::StatusOr<storage::Version> version = Accept(plan->batch, {});
    if (!version.ok()) return reply.Send(version.status());
    group_is_durable_ = true;
    SetVersion(*version, &plan->answer);
    catalog_.Apply(plan->answer);
    if constexpr (std::is_same_v<T, storage::Collection>) {
      effects_.AddCollection(plan->answer.id);
    } else {
      effects_.SetMarks(catalog_.marks());
    }
  }
  defined_.push_back([reply = std::move(reply),
                      answer = std::move(plan->answer)](const absl::Status& status) mutable {
    if (status.ok()) {
      reply.Send(std::move(answer));
    } else {
      reply.Send(WithOutcome(status, Outcome::kUnknown));
    }
  });
}

// Everything that was accepted. Ends with the group.
absl::StatusOr<storage::RowView> Committer::View() {
  group_.InsertInto(l0_->active());
  return current_.View();
}

}  // namespace millrace
