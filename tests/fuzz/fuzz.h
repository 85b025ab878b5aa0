#pragma once

#include <cstdio>
#include <cstdlib>

// Ends the process, as a fuzzer wants it, if something that must hold of every input does not.
#define FUZZ_CHECK(condition)                                                      \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)
