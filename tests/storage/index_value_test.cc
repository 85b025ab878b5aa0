#include "millrace/storage/index_value.h"

#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace millrace::storage {
namespace {

std::string Encode(const IndexValue& value) {
  std::string out;
  AppendIndexValue(value, &out);
  return out;
}

// -1, 0 or 1 by value, worked out without the encoding.
int CompareNumbers(const IndexValue& a, const IndexValue& b) {
  const auto widen = [](const IndexValue& value) -> long double {
    if (const auto* i = std::get_if<int64_t>(&value)) return static_cast<long double>(*i);
    if (const auto* u = std::get_if<uint64_t>(&value)) return static_cast<long double>(*u);
    return std::get<double>(value);
  };
  static_assert(std::numeric_limits<long double>::digits >= 64, "holds every integer exactly");
  const long double x = widen(a);
  const long double y = widen(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

int Rank(const IndexValue& value) {
  if (std::holds_alternative<Null>(value)) return 0;
  if (std::holds_alternative<bool>(value)) return 1;
  if (std::holds_alternative<std::string>(value)) return 3;
  return std::holds_alternative<Bytes>(value) ? 4 : 2;
}

template <typename T>
int Compare3(const T& a, const T& b) {
  return a < b ? -1 : b < a ? 1 : 0;
}

int Compare(const IndexValue& a, const IndexValue& b) {
  if (Rank(a) != Rank(b)) return Compare3(Rank(a), Rank(b));
  switch (Rank(a)) {
    case 0:
      return 0;
    case 1:
      return Compare3(std::get<bool>(a), std::get<bool>(b));
    case 2:
      return CompareNumbers(a, b);
    case 3:
      return Compare3(std::get<std::string>(a), std::get<std::string>(b));
    default:
      return Compare3(std::get<Bytes>(a).value, std::get<Bytes>(b).value);
  }
}

class RandomValues {
 public:
  explicit RandomValues(uint64_t seed) : random_(seed) {}

  IndexValue Next() {
    switch (Below(8)) {
      case 0:
        return Null();
      case 1:
        return Below(2) == 0;
      case 2:
        return static_cast<int64_t>(Bits());
      case 3:
        return Bits();
      case 4:
        return Double();
      case 5:
        return NearInteger();
      case 6:
        return Text();
      default:
        return Bytes{Text()};
    }
  }

 private:
  uint64_t Below(uint64_t end) { return random_() % end; }
  // Of any size, with neighbours.
  uint64_t Bits() { return (random_() >> Below(64)) + Below(3) - 1; }
  double Double() {
    for (;;) {
      const double value = std::bit_cast<double>(random_());
      if (std::isfinite(value)) return value;
    }
  }
  // Where doubles and integers meet.
  IndexValue NearInteger() {
    const double value = std::ldexp(1.0, static_cast<int>(Below(65)));
    const double moved = value + static_cast<double>(static_cast<int64_t>(Below(5)) - 2);
    if (Below(2) == 0) return Below(2) == 0 ? moved : -moved;
    if (moved < 9.2e18) return static_cast<int64_t>(Below(2) == 0 ? moved : -moved);
    return moved < 1.8e19 ? static_cast<uint64_t>(moved) : std::numeric_limits<uint64_t>::max();
  }
  std::string Text() {
    std::string text(Below(10) == 0 ? 110 + Below(20) : Below(6), 'x');
    for (char& c : text) {
      constexpr char kBytes[] = {'\0', '\1', '\2', 'a', '\xfe', '\xff'};
      if (Below(text.size() > 100 ? 20 : 2) == 0) c = kBytes[Below(sizeof(kBytes))];
    }
    return text;
  }

  std::mt19937_64 random_;
};

TEST(IndexValueTest, EncodingsOrderAsTheValuesDo) {
  RandomValues values(20260728);
  for (int i = 0; i < 200'000; ++i) {
    const IndexValue a = values.Next();
    const IndexValue b = values.Next();
    ASSERT_EQ(Compare3(Encode(a), Encode(b)), Compare(a, b)) << ToString(a) << " " << ToString(b);
  }
}

TEST(IndexValueTest, EncodingsComeBackByValue) {
  RandomValues values(1);
  for (int i = 0; i < 100'000; ++i) {
    const IndexValue value = values.Next();
    const std::string encoded = Encode(value) + "id";
    std::string_view rest = encoded;
    std::string_view skipped = encoded;
    IndexValue decoded;
    bool cut = true;
    ASSERT_TRUE(ConsumeIndexValue(&rest, &decoded, &cut)) << ToString(value);
    EXPECT_EQ(rest, "id");
    EXPECT_FALSE(cut);
    ASSERT_TRUE(SkipIndexValue(&skipped));
    EXPECT_EQ(skipped, "id");
    ASSERT_EQ(Compare(decoded, value), 0) << ToString(value) << " " << ToString(decoded);
  }
}

TEST(IndexValueTest, NoEncodingIsThePrefixOfAnother) {
  RandomValues values(2);
  for (int i = 0; i < 100'000; ++i) {
    const std::string a = Encode(values.Next());
    const std::string b = Encode(values.Next());
    ASSERT_TRUE(a == b || !b.starts_with(a));
  }
}

// Whatever is decoded is exactly what we would have written.
TEST(IndexValueTest, HostileBytesAreRefusedOrRoundTrip) {
  std::mt19937_64 random(3);
  RandomValues values(4);
  int accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string bytes = Encode(values.Next());
    const size_t changes = random() % 3;
    for (size_t c = 0; c < changes; ++c)
      bytes[random() % bytes.size()] = static_cast<char>(random());
    bytes.resize(random() % 4 == 0 ? random() % (bytes.size() + 1) : bytes.size());
    std::string_view rest = bytes;
    IndexValue decoded;
    bool cut = false;
    if (!ConsumeIndexValue(&rest, &decoded, &cut) || cut) continue;
    ++accepted;
    ASSERT_EQ(Encode(decoded), bytes.substr(0, bytes.size() - rest.size()));
  }
  EXPECT_GT(accepted, 10'000);
}

TEST(IndexValueTest, NumbersAreOneValueWhateverTheirType) {
  EXPECT_EQ(Encode(int64_t{1}), Encode(1.0));
  EXPECT_EQ(Encode(int64_t{7}), Encode(uint64_t{7}));
  EXPECT_EQ(Encode(0.0), Encode(-0.0));
  EXPECT_LT(Encode(int64_t{9007199254740992}), Encode(int64_t{9007199254740993}));
  EXPECT_EQ(Encode(9007199254740992.0), Encode(int64_t{9007199254740992}));
  EXPECT_LT(Encode(std::numeric_limits<int64_t>::max()), Encode(9223372036854775808.0));
  EXPECT_LT(Encode(std::numeric_limits<uint64_t>::max()), Encode(18446744073709551616.0));
  EXPECT_EQ(Encode(std::numeric_limits<int64_t>::min()), Encode(-9223372036854775808.0));
}

TEST(IndexValueTest, CutTextKeepsTheOrderAndSaysSo) {
  RandomValues values(5);
  IndexKey a;
  IndexKey b;
  int cut_count = 0;
  for (int i = 0; i < 200'000; ++i) {
    SetIndexKey(values.Next(), &a);
    SetIndexKey(values.Next(), &b);
    ASSERT_LE(a.entry().size(), kIndexValueBytesMax);
    ASSERT_TRUE(a.full > b.full || a.entry() <= b.entry());
    ASSERT_TRUE(a.full != b.full || a.entry() == b.entry());
    std::string_view rest = a.entry();
    IndexValue kept;
    bool cut = false;
    ASSERT_TRUE(ConsumeIndexValue(&rest, &kept, &cut));
    ASSERT_TRUE(rest.empty());
    ASSERT_EQ(cut, a.full != a.entry());
    cut_count += cut ? 1 : 0;
  }
  EXPECT_GT(cut_count, 1000);
}

TEST(IndexValueTest, EntriesOfATextBeginWithItsPrefixes) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 140, 'y');
    for (char& c : text) c = random() % 8 == 0 ? '\0' : c;
    IndexKey key;
    SetIndexKey(IndexValue(text), &key);
    const std::string prefix = IndexTextPrefix(text.substr(0, random() % (text.size() + 1)));
    ASSERT_TRUE(key.entry().starts_with(prefix));
  }
  IndexKey other;
  SetIndexKey(IndexValue(std::string("lisp")), &other);
  EXPECT_FALSE(other.entry().starts_with(IndexTextPrefix("lib")));
}

TEST(IndexValueTest, BlankIsNullOrWhiteSpaceOrNested) {
  struct Case {
    const char* json;
    bool want;
  };
  for (const Case& c : std::vector<Case>{{R"({"v": null})", true},
                                         {R"({"v": ""})", true},
                                         {R"({"v": " \t\n\u000b\f\r"})", true},
                                         {R"({"v": {}})", true},
                                         {R"({"v": [1]})", true},
                                         {R"({"v": " a"})", false},
                                         {R"({"v": "\u0000"})", false},
                                         {R"({"v": "\u00a0"})", false},
                                         {R"({"v": false})", false},
                                         {R"({"v": 0})", false}}) {
    const Document document = *Document::FromJson(c.json);
    EXPECT_EQ(IsBlank(*document.Field("v")), c.want) << c.json;
  }
  EXPECT_TRUE(IsBlank(IndexValue(Null())));
  EXPECT_TRUE(IsBlank(IndexValue(std::string(" "))));
  EXPECT_FALSE(IsBlank(IndexValue(Bytes{""})));
}

TEST(IndexValueTest, DocumentsAndQueriesMeetInOneEncoding) {
  const Document document = *Document::FromJson(
      R"({"a": true, "b": -5, "c": 18446744073709551615, "d": 2.5, "e": "x\u0000y"})");
  struct Case {
    const char* field;
    IndexValue value;
  };
  for (const Case& c : std::vector<Case>{{"a", true},
                                         {"b", int64_t{-5}},
                                         {"c", std::numeric_limits<uint64_t>::max()},
                                         {"d", 2.5},
                                         {"e", std::string("x\0y", 3)}}) {
    IndexKey from_document;
    IndexKey from_query;
    SetIndexKey(*document.Field(c.field), &from_document);
    SetIndexKey(c.value, &from_query);
    EXPECT_EQ(from_document.full, from_query.full) << c.field;
  }
}

TEST(IndexValueTest, ValuesPrintAsJsonWould) {
  EXPECT_EQ(ToString(IndexValue(Null())), "null");
  EXPECT_EQ(ToString(IndexValue(true)), "true");
  EXPECT_EQ(ToString(IndexValue(int64_t{-5})), "-5");
  EXPECT_EQ(ToString(IndexValue(0.1)), "0.1");
  EXPECT_EQ(ToString(IndexValue(std::string("a\"b"))), R"("a\"b")");
  EXPECT_EQ(ToString(IndexValue(Bytes{"\x01\xff"})), "0x01ff");
}

TEST(IndexValueTest, NaNIsRefused) {
  EXPECT_EQ(CheckIndexValue(std::nan("")).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(CheckIndexValue(1.5).ok());
}

}  // namespace
}  // namespace millrace::storage
