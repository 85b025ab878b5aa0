#pragma once

#include "millrace/testing/sim_seeds.h"

namespace millrace::testing {

// What goes wrong in a simulated engine besides what always may. Value.
struct EngineFaults {
  // Syncs do nothing: the control that shows that the oracle can see a loss.
  bool lying_disk = false;
  // LMDB's own calls fail; the process runs with the I/O shim.
  bool lmdb = false;
};

// An engine through several lives: clients commit, read, look up, flush, build indexes and ask for
// outcomes, until it is shut down, the process is killed or the power fails; then it is opened
// again and everything is compared with the history. The seed decides all of it.
SimResult RunEngine(const SimOptions& options, const EngineFaults& faults = {});

}  // namespace millrace::testing
