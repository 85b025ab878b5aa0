#pragma once

namespace millrace::testing {

// What a process that runs with the preload library tests/testing/io_shim.cc can do. LMDB does its
// own I/O, so faults reach it only there.
//
// Rules are separated by ';' and are made of words:
//
//   <operation> path=<text> [nth=<k>] [forever] [below=<offset>] (errno=<number> | short=<bytes>)
//
// operation: pwrite, writev, fdatasync, fsync, ftruncate; "writev" is pwritev too. The k-th call
// (default the first) on a file whose path contains the text fails with that errno, or writes only
// so many bytes; with "forever" all later ones do so too. "below" restricts the rule to writes at
// offsets below it: LMDB's two meta pages, for example. Each rule counts for itself.
//
// The environment variable MILLRACE_IO_FAULTS holds the rules from the start of the process; a call
// of SetIoFaults replaces them and starts counting anew.

// False if the process runs without the library. Thread-safe.
bool SetIoFaults(const char* rules);

// Runs the current test again in a child process with the library preloaded, and returns true when
// it has passed there (the caller returns then). Returns false in that child: the caller goes on.
bool RanWithIoShim();

}  // namespace millrace::testing
