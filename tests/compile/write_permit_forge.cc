// Must not compile: a permit can be neither made nor copied. See tests/compile/permit.cmake.
#include "millrace/storage/environment.h"

#ifdef FORGE
millrace::storage::WritePermit Forge(millrace::storage::Environment& environment) {
  return millrace::storage::WritePermit(&environment);
}
#endif

#ifdef FORGE_DEFAULT
millrace::storage::WritePermit Forge() {
  return millrace::storage::WritePermit();
}
#endif

#ifdef COPY
millrace::storage::WritePermit Copy(const millrace::storage::WritePermit& permit) {
  return permit;
}
#endif

// Compiles in any case, so that the test sees that nothing else is wrong with this file.
millrace::storage::WritePermit Take(millrace::storage::Environment& environment) {
  return *environment.TakeWritePermit();
}
