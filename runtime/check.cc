#include "millrace/runtime/check.h"

#include <cstdlib>

#include <glog/logging.h>

namespace millrace {

void DieOfBug(const char* what) {
  LOG(FATAL) << "Check failed: " << what;
  std::abort();
}

}  // namespace millrace
