#pragma once

#include <cstdint>

namespace millrace::storage {

// What fork() does to open stores: a child inherits descriptors and shared memory that belong to
// its parent. It must not touch them, and closing them properly would already be touching them:
// whoever finds that the generation changed leaves its things alone. All functions are thread-safe.

// Differs between a process and its forked children. Costs one load.
uint32_t ForkGeneration();

// Closes `descriptor` in every child forked from now on, so that a lock on it ends with the parent.
// At most 256 at a time; further ones stay open in children.
void CloseInForkedChildren(int descriptor);
// To be called before `descriptor` is closed.
void ForgetForkedDescriptor(int descriptor);

}  // namespace millrace::storage
