#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "millrace/messages/fence.h"
#include "millrace/messages/index_build.h"
#include "millrace/storage/environment.h"
#include "millrace/storage/generations.h"
#include "millrace/storage/index_definition.h"

namespace millrace {

// Deletes the entries of generations that were replaced, abandoned or dropped: behind a fence, for
// a flush may still maintain them, and then piece by piece, one at a time. Where it was stands in
// LMDB: the generations' row, and the entries that are left. Owned by the Rebuilder thread.
class RetiredGenerations {
 public:
  // What it asks of the Rebuilder. Answers come back on its thread.
  class Host {
   public:
    virtual ~Host() = default;
    // Behind it every flush is published that maintained what is retired now.
    virtual void FenceRetired(absl::AnyInvocable<void(absl::StatusOr<FlushReceipt>)> then) = 0;
    virtual void Delete(DeleteEntries remove,
                        absl::AnyInvocable<void(absl::StatusOr<GenerationsRetired>)> then) = 0;
    // How many bytes of rows a transaction of the Writer's should write now: see Pacing.
    virtual uint64_t TransactionBytesMax() const = 0;
    // There is more to do: Work, after requests were handled; or after a while, for it failed.
    virtual void WorkAgain() = 0;
    virtual void WorkLater(const absl::Status& cause) = 0;
  };

  RetiredGenerations(Host& host, storage::Environment& environment)
      : host_(host), environment_(environment) {}

  // What the state says is retired. The definition of a dropped index may be its id alone.
  void Add(const storage::IndexDefinition& definition, const storage::GenerationState& state);
  // The next piece, unless one is under way.
  void Work();
  void Clear() {
    retired_.clear();
    under_way_ = false;
  }

 private:
  struct Retired {
    storage::IndexDefinition definition;
    bool fenced = false;
  };
  using Id = std::pair<storage::IndexId, storage::Generation>;

  absl::StatusOr<DeleteEntries> Read(const Id& id, const storage::IndexDefinition& definition);

  Host& host_;
  storage::Environment& environment_;
  std::map<Id, Retired> retired_;
  bool under_way_ = false;
};

// The generations of which there are index entries, whatever is known of them. One seek for each.
absl::StatusOr<std::map<storage::IndexId, std::vector<storage::Generation>>> FindGenerations(
    const storage::ReadTransaction& transaction);

}  // namespace millrace
