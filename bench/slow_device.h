#pragma once

#include <cstdint>

// The durations of a slower device: while it is set, every fdatasync, fsync and write to a file
// opened with O_DSYNC takes so much longer, whoever calls it (this program or a library of it). The
// object is linked before all libraries, which puts its functions in front of the C library's as
// LD_PRELOAD would. Thread-safe.
extern "C" void millrace_bench_set_device_delay(int64_t microseconds);
