#pragma once

#include "millrace/testing/sim_seeds.h"

namespace millrace::testing {

// An engine through several lives: clients commit, read, flush and ask for outcomes, until it is
// shut down, the process is killed or the power fails; then it is opened again and everything is
// compared with the history. The seed decides all of it. With `lying_disk` syncs do nothing: the
// control that shows that the oracle can see a loss.
SimResult RunEngine(const SimOptions& options, bool lying_disk = false);

}  // namespace millrace::testing
