#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

#include "millrace/storage/index_query.h"

namespace millrace::storage {

// Which of the things that a lookup finds, in order, are visited: those of one page. It looks one
// further than the limit to know whether there is more. Value.
class LookupPager {
 public:
  LookupPager(uint64_t offset, uint64_t limit) : offset_(offset), limit_(limit) {}

  // Has the next thing visited, which stands at `place`. False: the page ends here.
  bool Take(std::string_view place, absl::FunctionRef<bool()> visit) {
    if (offset_ > 0) {
      --offset_;
      return true;
    }
    bool more = page_.count < limit_;
    if (more) {
      ++page_.count;
      last_.assign(place);
      more = visit();
    }
    if (!more) page_.next = last_;
    return more;
  }
  FoundPage& page() { return page_; }

 private:
  uint64_t offset_;
  const uint64_t limit_;
  FoundPage page_;
  std::string last_;
};

}  // namespace millrace::storage
