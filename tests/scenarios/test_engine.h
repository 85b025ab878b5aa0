#pragma once

#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>

#include "millrace/actors/engine.h"

namespace millrace::testing {

// The seed of a random test, printed: MILLRACE_TEST_SEED, or a new one.
inline uint64_t Seed() {
  const char* const given = std::getenv("MILLRACE_TEST_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : uint64_t{std::random_device()()};
  std::cout << "seed: MILLRACE_TEST_SEED=" << seed << std::endl;
  ::testing::Test::RecordProperty("seed", std::to_string(seed));
  return seed;
}

// `count` divided by MILLRACE_TEST_SCALE, at least 1. Builds with a sanitizer divide by 10.
inline uint64_t Scaled(uint64_t count) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  uint64_t divisor = 10;
#else
  uint64_t divisor = 1;
#endif
  if (const char* given = std::getenv("MILLRACE_TEST_SCALE")) {
    divisor = std::strtoull(given, nullptr, 10);
  }
  return divisor < 2 ? count : (count + divisor - 1) / divisor;
}

// Small buffers and log files, so that a short test rotates, flushes and recycles often.
inline EngineOptions SmallEngine() {
  EngineOptions options;
  options.quota_bytes = uint64_t{1} << 30;
  options.rotate_bytes = uint64_t{64} << 10;
  options.rotate_rows = 500;
  options.l0_soft_bytes_max = uint64_t{8} << 20;
  options.l0_hard_bytes_max = uint64_t{16} << 20;
  options.log_file_bytes = uint64_t{1} << 20;
  options.sync_interval = absl::Milliseconds(5);
  return options;
}

// Nothing is rotated but by Flush.
inline EngineOptions QuietEngine() {
  EngineOptions options;
  options.quota_bytes = uint64_t{4} << 30;
  options.rotate_interval = absl::InfiniteDuration();
  return options;
}

// The engine, or null and a failure of the test.
inline std::unique_ptr<Engine> OpenEngine(const std::string& directory,
                                          const EngineOptions& options) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(directory, options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *std::move(engine) : nullptr;
}

inline storage::Collection MakeCollection(Engine& engine, std::string_view name) {
  absl::StatusOr<storage::Collection> collection = engine.CreateCollection(name);
  EXPECT_TRUE(collection.ok()) << collection.status();
  return collection.ok() ? *std::move(collection) : storage::Collection{};
}

inline storage::Document Json(std::string_view text) {
  absl::StatusOr<storage::Document> document = storage::Document::FromJson(text);
  EXPECT_TRUE(document.ok()) << document.status() << " in " << text;
  return document.ok() ? *std::move(document) : storage::Document();
}

// {"n": number}
inline storage::Document Number(int64_t number) {
  return *storage::DocumentBuilder().Set("n", number).Finish();
}

// The n of the record, or -1 if there is none.
inline int64_t NumberOf(const storage::Snapshot& snapshot, const storage::Collection& collection,
                        std::string_view id) {
  const absl::StatusOr<storage::Record> record = snapshot.Get(collection, id);
  if (!record.ok()) {
    EXPECT_EQ(record.status().code(), absl::StatusCode::kNotFound) << record.status();
    return -1;
  }
  return std::get<int64_t>(*record->document.Field("n"));
}
inline int64_t NumberOf(Engine& engine, const storage::Collection& collection,
                        std::string_view id) {
  const absl::StatusOr<storage::Snapshot> snapshot = engine.TakeSnapshot("test");
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? NumberOf(*snapshot, collection, id) : -2;
}

inline storage::WriteBatch PutNumber(const storage::Collection& collection, std::string_view id,
                                     int64_t number, storage::Precondition precondition = {}) {
  storage::WriteBatch batch;
  batch.Put(collection, id, Number(number), precondition);
  return batch;
}

// Commits, waits, and returns the version; a failure of the test otherwise.
inline storage::Version MustCommit(Engine& engine, storage::WriteBatch batch,
                                   const CommitOptions& options = {}) {
  const absl::StatusOr<CommitReceipt> receipt = engine.Commit(std::move(batch), options).Wait();
  EXPECT_TRUE(receipt.ok()) << receipt.status();
  return receipt.ok() ? receipt->version : storage::kNoVersion;
}

inline FlushReceipt MustFlush(Engine& engine) {
  const absl::StatusOr<FlushReceipt> receipt = engine.Flush().Wait(absl::Minutes(1));
  EXPECT_TRUE(receipt.ok()) << receipt.status();
  return receipt.ok() ? *receipt : FlushReceipt{};
}

}  // namespace millrace::testing
