// Keys: of rows, of index entries and their values, of tokens. What can be decoded encodes to what
// decodes to the same, and encodings order as what they encode.

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/fuzz/fuzz.h"

#include "millrace/storage/index_entry.h"
#include "millrace/storage/index_value.h"
#include "millrace/storage/outcome_rows.h"
#include "millrace/storage/row_key.h"

using namespace millrace::storage;  // NOLINT

namespace {

void CheckRowKey(std::string_view input) {
  const absl::StatusOr<RowKey> key = DecodeRowKey(input);
  if (!key.ok()) return;
  const std::string encoded = EncodeRowKey(*key);
  const absl::StatusOr<RowKey> again = DecodeRowKey(encoded);
  FUZZ_CHECK(again.ok() && again->tree == key->tree && again->branch == key->branch &&
             again->collection == key->collection && again->id == key->id);
}

void CheckIntegers(std::string_view input) {
  uint64_t numbers[2];
  if (input.size() < sizeof(numbers)) return;
  std::memcpy(numbers, input.data(), sizeof(numbers));
  std::string encoded[2];
  for (int i = 0; i < 2; ++i) {
    AppendOrderedInteger(numbers[i], &encoded[i]);
    std::string_view rest = encoded[i];
    uint64_t back = 0;
    FUZZ_CHECK(ConsumeOrderedInteger(&rest, &back) && rest.empty() && back == numbers[i]);
  }
  FUZZ_CHECK((numbers[0] < numbers[1]) == (encoded[0] < encoded[1]));
}

// Text orders in an index as it does outside, cut or not, and what is read is what was written.
void CheckTexts(std::string_view input) {
  const std::string texts[2] = {std::string(input.substr(0, input.size() / 2)),
                                std::string(input.substr(input.size() / 2))};
  IndexKey keys[2];
  for (int i = 0; i < 2; ++i) {
    SetIndexKey(IndexValue(texts[i]), &keys[i]);
    std::string_view rest = keys[i].full;
    IndexValue value;
    bool cut = true;
    FUZZ_CHECK(ConsumeIndexValue(&rest, &value, &cut) && rest.empty() && !cut &&
               value == IndexValue(texts[i]));
    FUZZ_CHECK(keys[i].entry().size() <= kIndexValueBytesMax);
  }
  FUZZ_CHECK((texts[0] < texts[1]) == (keys[0].full < keys[1].full));
  if (texts[0] < texts[1]) FUZZ_CHECK(keys[0].entry() <= keys[1].entry());
}

// Numbers order by value, whatever their types.
void CheckNumbers(std::string_view input) {
  int64_t integer = 0;
  double number = 0;
  if (input.size() < sizeof(integer) + sizeof(number)) return;
  std::memcpy(&integer, input.data(), sizeof(integer));
  std::memcpy(&number, input.data() + sizeof(integer), sizeof(number));
  if (std::isnan(number)) return;
  IndexKey keys[2];
  SetIndexKey(IndexValue(integer), &keys[0]);
  SetIndexKey(IndexValue(number), &keys[1]);
  const long double left = integer;
  const long double right = number;
  FUZZ_CHECK((left < right) == (keys[0].full < keys[1].full));
  FUZZ_CHECK((left == right) == (keys[0].full == keys[1].full));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  CheckRowKey(input);
  CheckIntegers(input);
  CheckTexts(input);
  CheckNumbers(input);
  DecodeIndexEntry(input).status().IgnoreError();
  ReadOutcomeKey(input).status().IgnoreError();
  std::string_view whole = input;
  std::string_view skipped = input;
  IndexValue value;
  bool cut = false;
  if (ConsumeIndexValue(&whole, &value, &cut)) {
    FUZZ_CHECK(SkipIndexValue(&skipped) && skipped.size() == whole.size());
  }
  return 0;
}
