#include "millrace/storage/l0_stack.h"

#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "tests/testing/allocation_faults.h"

namespace millrace::storage {
namespace {

using testing::AllocationFaults;

TEST(L0StackTest, RotationPutsAnEmptyBufferInFrontOfTheSealedOne) {
  LiveView view;
  L0Stack stack(view, {});
  L0Buffer* const before = &stack.active();
  const auto sealed = stack.Rotate();
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->get(), before);
  EXPECT_NE(&stack.active(), before);
  ASSERT_EQ(stack.buffers().size(), 2u);
  EXPECT_EQ(stack.buffers()[0].get(), &stack.active());
  EXPECT_EQ(*view.buffers(), stack.buffers());
  EXPECT_EQ(stack.DropOldest().get(), before);
  EXPECT_EQ(*view.buffers(), stack.buffers());
}

// F2: wherever memory runs out, the buffer stays the active one, and readers see what they saw.
TEST(L0StackTest, RotationWithoutMemoryChangesNothing) {
  LiveView view;
  L0Stack stack(view, {});
  int64_t failed_count = 0;
  for (int64_t nth = 1;; ++nth) {
    L0Buffer* const active = &stack.active();
    const BufferList buffers = stack.buffers();
    const std::shared_ptr<const BufferList> shown = view.buffers();
    absl::StatusOr<std::shared_ptr<const L0Buffer>> sealed = nullptr;
    bool struck = false;
    {
      const AllocationFaults faults({.nth = nth});
      sealed = stack.Rotate();
      struck = faults.struck();
    }
    if (!struck) {
      EXPECT_TRUE(sealed.ok()) << sealed.status();
      break;
    }
    ++failed_count;
    EXPECT_EQ(sealed.status().code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(&stack.active(), active);
    EXPECT_EQ(stack.buffers(), buffers);
    EXPECT_EQ(view.buffers(), shown);
  }
  EXPECT_GE(failed_count, 4) << "the buffer, its list, the readers' list and what shares it";
}

}  // namespace
}  // namespace millrace::storage
