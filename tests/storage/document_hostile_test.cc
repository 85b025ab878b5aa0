#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "flatbuffers/flexbuffers.h"
#include "gtest/gtest.h"

#include "millrace/storage/document.h"

namespace millrace::storage {
namespace {

// A copy with nothing behind it, so that AddressSanitizer sees every read past the end.
void Check(std::string_view bytes) {
  const std::unique_ptr<char[]> tight(new char[bytes.size()]);
  if (!bytes.empty()) std::memcpy(tight.get(), bytes.data(), bytes.size());
  const absl::StatusOr<Document> document =
      Document::FromBytes(std::string_view(tight.get(), bytes.size()));
  if (!document.ok()) {
    ASSERT_EQ(document.status().code(), absl::StatusCode::kInvalidArgument);
    return;
  }
  // What is let through is a document in every respect.
  const std::string json = document->ToJson();
  const absl::StatusOr<Document> again = Document::FromJson(json);
  ASSERT_TRUE(again.ok()) << again.status() << "\n" << json;
  ASSERT_EQ(*again, *document) << json;
}

std::vector<std::string> Samples() {
  std::string wide = R"({"w":")" + std::string(300, 'x') + R"(","l":[)";
  for (int i = 0; i < 300; ++i) wide += std::to_string(i * 37) + ",";
  wide += R"("end"]})";
  std::vector<std::string> samples;
  for (const std::string& json :
       {std::string("{}"), std::string(R"({"a":1})"),
        std::string(R"({"n":null,"t":true,"d":-0.5,"e":1e300,"s":"h\u00e9llo","l":[1,300,"x"]})"),
        std::string(R"({"u":18446744073709551615,"o":{"k":[],"m":{"a":[[{}]]}},"name":"libc6"})"),
        wide}) {
    const absl::StatusOr<Document> document = Document::FromJson(json);
    EXPECT_TRUE(document.ok()) << document.status();
    samples.emplace_back(document->bytes());
  }
  return samples;
}

TEST(DocumentHostileTest, AnyValueOfAnyByteIsRefusedOrADocument) {
  for (const std::string& sample : Samples()) {
    for (size_t i = 0; i < sample.size(); ++i) {
      for (int delta = 1; delta<256; delta += sample.size()> 500 ? 31 : 1) {
        std::string damaged = sample;
        damaged[i] = static_cast<char>(damaged[i] ^ delta);
        ASSERT_NO_FATAL_FAILURE(Check(damaged)) << "byte " << i << " ^ " << delta;
      }
    }
  }
}

TEST(DocumentHostileTest, AnyTruncationIsRefusedOrADocument) {
  for (const std::string& sample : Samples()) {
    for (size_t size = 0; size < sample.size(); ++size) {
      ASSERT_NO_FATAL_FAILURE(Check(std::string_view(sample).substr(0, size)));
      ASSERT_NO_FATAL_FAILURE(Check(std::string_view(sample).substr(sample.size() - size)));
    }
  }
}

TEST(DocumentHostileTest, RandomDamageIsRefusedOrADocument) {
  const uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::vector<std::string> samples = Samples();
  for (int round = 0; round < 50'000; ++round) {
    std::string damaged = samples[random() % samples.size()];
    for (uint64_t i = 0; i <= random() % 4; ++i) {
      damaged[random() % damaged.size()] = static_cast<char>(random());
    }
    ASSERT_NO_FATAL_FAILURE(Check(damaged));
  }
}

std::string Finish(flexbuffers::Builder& builder) {
  builder.Finish();
  return std::string(builder.GetBuffer().begin(), builder.GetBuffer().end());
}

// What FlatBuffers' Builder can write and a document must not hold.
TEST(DocumentHostileTest, ForeignContentIsRefused) {
  const auto expect = [](flexbuffers::Builder& builder, const char* want) {
    const absl::Status status = Document::FromBytes(Finish(builder)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << want;
    EXPECT_NE(status.message().find(want), std::string::npos) << want << "\n" << status;
    builder.Clear();
  };
  flexbuffers::Builder builder(256, flexbuffers::BUILDER_FLAG_NONE);
  builder.Int(1);
  expect(builder, "top level");
  builder.Vector([&] { builder.Int(1); });
  expect(builder, "top level");
  builder.Map([&] { builder.Blob("b", "xyz", 3); });
  expect(builder, "unknown type");
  builder.Map([&] { builder.IndirectInt("i", 7); });
  expect(builder, "unknown type");
  builder.Map([&] { builder.TypedVector("v", [&] { builder.Int(1); }); });
  expect(builder, "unknown type");
  builder.Map([&] { builder.Double("d", std::numeric_limits<double>::infinity()); });
  expect(builder, "not finite");
  builder.Map([&] { builder.Double("d", std::numeric_limits<double>::quiet_NaN()); });
  expect(builder, "not finite");
  builder.Map([&] { builder.String("s", "\xff"); });
  expect(builder, "UTF-8");
  builder.Map([&] { builder.Int("\xff", 1); });
  expect(builder, "UTF-8");
  builder.Map([&] {
    builder.Int("a", 1);
    builder.Int("a", 2);
  });
  expect(builder, "out of order");
  builder.Map([&] {
    builder.Key("deep");
    const size_t count = 256;
    std::vector<size_t> starts;
    for (size_t i = 0; i < count; ++i) starts.push_back(builder.StartVector());
    for (size_t i = 0; i < count; ++i) {
      builder.EndVector(starts[count - 1 - i], false, false);
    }
  });
  expect(builder, "nested too deeply");
  builder.Map([&] { builder.String("s", std::string(2 << 20, 'x')); });
  expect(builder, "more than 1 MiB");
}

// Each level holds the one below twice: 2^60 values in less than a kilobyte.
TEST(DocumentHostileTest, SharedValuesDoNotBlowUp) {
  flexbuffers::Builder builder(256, flexbuffers::BUILDER_FLAG_SHARE_ALL);
  builder.Map([&] {
    builder.Vector("bomb", [&] {
      builder.Vector([&] { builder.Int(1); });
      flexbuffers::Builder::Value value = builder.LastValue();
      for (int i = 0; i < 60; ++i) {
        const size_t level = builder.StartVector();
        builder.ReuseValue(value);
        builder.ReuseValue(value);
        builder.EndVector(level, false, false);
        value = builder.LastValue();
      }
    });
  });
  const absl::Status status = Document::FromBytes(Finish(builder)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("shared"), std::string::npos) << status;
}

}  // namespace
}  // namespace millrace::storage
