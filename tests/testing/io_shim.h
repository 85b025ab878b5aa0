#pragma once

#include <stdint.h>

namespace millrace::testing {

// What a process that runs with the preload library tests/testing/io_shim.cc can do. LMDB does its
// own I/O, so faults reach it only there.
//
// Rules are separated by ';' and are made of words:
//
//   <operation> path=<text> [nth=<k>] [forever] [below=<offset>] [from=<offset>]
//       (errno=<number> | short=<bytes> | lie | kill)
//
// operation: open, pwrite, writev, fdatasync, fsync, ftruncate, rename (exchanging, too), unlink,
// mkdir; "writev" is pwritev too. The k-th call (default the first) on a file whose path contains
// the text fails with that errno, or writes only so many bytes, or does nothing and says that it
// did ("lie"), or kills the process before anything is done; with "forever" all later ones do so
// too. "below" and "from" restrict the rule to writes at such offsets: LMDB's two meta pages, for
// example, or all others. A call meets the first rule that strikes; each rule counts the calls that
// come to it.
//
// The environment variable MILLRACE_IO_FAULTS holds the rules from the start of the process; a call
// of SetIoFaults replaces them and starts counting anew.

// False if the process runs without the library. Thread-safe.
bool SetIoFaults(const char* rules);
// How many calls a rule has struck since then.
int64_t IoFaultCount();

// A call that changes files, as it is made. Value; what it points to ends with the report.
struct IoCall {
  enum Kind {
    kOpen,  // Of `path`, with `flags`; the result is the descriptor.
    kClose,
    kWriteBegin,
    kWriteEnd,  // Once for each kWriteBegin of the descriptor, with the bytes written or -1.
    kSyncBegin,
    kSyncEnd,
    kTruncate,  // To `offset`.
    kRename,    // `path` to `other_path`.
    kExchange,
    kRemove,
    kMakeDirectory,
  };
  Kind kind;
  int descriptor;
  int flags;
  const char* path;
  const char* other_path;
  uint64_t offset;
  const char* data;
  uint64_t size;
  int64_t result;
};
// Reports every call from now on, on the thread that makes it; null ends that. Calls that fail are
// reported only if they had begun. False if the process runs without the library.
using IoObserver = void (*)(const IoCall&);
bool SetIoObserver(IoObserver observer);

// Runs the current test again in a child process with the library preloaded, and returns true when
// it has passed there (the caller returns then). Returns false in that child: the caller goes on.
bool RanWithIoShim();

}  // namespace millrace::testing
