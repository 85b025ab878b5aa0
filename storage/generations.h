#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "millrace/storage/index_entry.h"

namespace millrace::storage {

class ReadTransaction;
class WriteTransaction;

// Which builds of an index there are. A row of tree `generations`, by index: what speaks about
// LMDB's trees is written with them. An index without a row is in its initial state. Value.
struct GenerationState {
  IndexId index = 0;
  Generation last = 0;           // The newest that was ever allocated.
  Generation live = 0;           // Answers lookups; 0 is none, and lookups scan.
  uint64_t live_definition = 0;  // The number of the definition it was built for.
  Generation building = 0;       // Maintained, and filled by a build; 0 is none.
  uint64_t building_definition = 0;
  std::vector<Generation> retired;  // Their entries wait for deletion.
  bool dropped = false;             // The index is no longer defined; all its builds are retired.
  // Of the live one.
  absl::Time built_at = absl::InfinitePast();
  uint64_t row_count = 0;     // Entries when it was built.
  uint64_t record_count = 0;  // Records of the collection then.
  uint64_t format = 0;        // kIndexFormat of its entries.

  // Whether entries of the generation are still wanted.
  bool Has(Generation generation) const {
    return generation != 0 && (generation == live || generation == building);
  }
  bool IsRetired(Generation generation) const;
  // Whether the live generation was built by a version of this program that writes entries
  // otherwise: nobody here reads or maintains it. The next build takes its place, whatever becomes
  // of that.
  bool IsForeign() const { return live != 0 && format != kIndexFormat; }
  // Whether lookups may use the live generation, and whether it fulfils the definition.
  bool Serves() const { return live != 0 && !IsForeign(); }
  bool Fulfils(const IndexDefinition& definition) const {
    return Serves() && live_definition >= definition.needs;
  }
  friend bool operator==(const GenerationState&, const GenerationState&) = default;
};

// The state of an index that has no row: nothing is built, or generation 1 is complete by birth.
GenerationState InitialGenerations(const IndexDefinition& definition);
// The state as the transaction sees it.
absl::StatusOr<GenerationState> ReadGenerations(const ReadTransaction& transaction,
                                                const IndexDefinition& definition);
absl::StatusOr<GenerationState> ReadGenerations(const WriteTransaction& transaction,
                                                const IndexDefinition& definition);
// All rows there are, dropped indexes included.
absl::StatusOr<std::vector<GenerationState>> ListGenerations(const ReadTransaction& transaction);

std::string GenerationKey(IndexId index);
std::string EncodeGenerations(const GenerationState& state);
// DataLoss if the bytes are not a row as it was written.
absl::StatusOr<GenerationState> DecodeGenerations(std::string_view bytes);

// One step in the life of generations, applied in the Writer's transaction. Each names what it
// expects to find; what is not so is refused with Aborted, and nothing is changed. Value.
struct GenerationChange {
  enum class Kind : uint8_t {
    kAllocate,  // A new generation, now building. Expects that none is.
    kFlip,      // `generation`, which is building, becomes the live one; the live one is retired.
    kAbandon,   // `generation`, which is building, is retired.
    kDrop,      // The index is no longer defined: all are retired, and none can be allocated.
    kForget,    // The entries of `generation`, which is retired, are deleted.
    kAdopt,     // There are entries of `generation`, which nobody knows: it is retired.
  };
  Kind kind = Kind::kAllocate;
  IndexDefinition definition;  // As it is now; of a dropped index the last one known.
  Generation generation = 0;
  // With kFlip.
  absl::Time built_at = absl::InfinitePast();
  uint64_t row_count = 0;
  uint64_t record_count = 0;
};
// The state behind the change. The row of a dropped index goes with its last generation.
absl::StatusOr<GenerationState> ChangeGenerations(WriteTransaction& transaction,
                                                  const GenerationChange& change);

}  // namespace millrace::storage
