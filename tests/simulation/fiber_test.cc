#include "millrace/testing/fiber.h"

#include <stdexcept>
#include <string>

#include "gtest/gtest.h"

#include "millrace/runtime/deferred_wakes.h"
#include "millrace/runtime/reply_cell.h"

namespace millrace::testing {
namespace {

TEST(FiberTest, RunsUntilItSuspendsAndGoesOnFromThere) {
  std::string order;
  Fiber one([&] {
    order += "a";
    Fiber::Suspend();
    order += "c";
  });
  Fiber other([&] {
    order += "b";
    Fiber::Suspend();
    order += "d";
  });
  for (int i = 0; i < 2; ++i) {
    one.Resume();
    other.Resume();
  }
  EXPECT_EQ(order, "abcd");
  EXPECT_TRUE(one.ended());
  EXPECT_EQ(Fiber::Current(), nullptr);
}

TEST(FiberTest, WhatABodyThrowsComesOutOfResume) {
  Fiber fiber([] {
    Fiber::Suspend();
    throw std::runtime_error("thrown");
  });
  fiber.Resume();
  EXPECT_THROW(fiber.Resume(), std::runtime_error);
  EXPECT_TRUE(fiber.ended());
}

// Two fibers that are each in the middle of handling an exception of their own.
TEST(FiberTest, ExceptionsBelongToTheFiber) {
  std::string seen;
  const auto body = [&seen](const char* what) {
    return [&seen, what] {
      try {
        throw std::runtime_error(what);
      } catch (const std::runtime_error&) {
        Fiber::Suspend();
        try {
          throw;
        } catch (const std::runtime_error& again) {
          seen += again.what();
        }
      }
    };
  };
  Fiber one(body("one ")), other(body("other "));
  for (int i = 0; i < 2; ++i) {
    one.Resume();
    EXPECT_EQ(std::current_exception(), nullptr);
    other.Resume();
  }
  EXPECT_EQ(seen, "one other ");
}

TEST(FiberTest, KernelsStateOfTheThreadBelongsToTheFiber) {
  Fiber fiber([] {
    SetOnActorThread(true);
    const DeferredWakes wakes;
    Fiber::Suspend();
    EXPECT_TRUE(OnActorThread());
  });
  fiber.Resume();
  EXPECT_FALSE(OnActorThread());
  { const DeferredWakes not_nested; }
  fiber.Resume();
  EXPECT_FALSE(OnActorThread());
}

}  // namespace
}  // namespace millrace::testing
