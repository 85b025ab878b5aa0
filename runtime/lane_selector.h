#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace millrace {

// Chooses, under simulation, among the orders that threads could have produced: FIFO per sender,
// nothing across senders. A sender is a thread, or one Producer. Owned by the one thread that then
// runs everything.
class LaneSelector {
 public:
  virtual ~LaneSelector() = default;
  // Whose message is being sent.
  virtual uint32_t SenderLane() = 0;
  // Which of the lanes that hold messages goes next: an index into `waiting`.
  virtual size_t Choose(absl::Span<const uint32_t> waiting) = 0;
  // How many messages a batch takes, 1 to `max`.
  virtual size_t BatchSize(size_t max) = 0;
};

}  // namespace millrace
