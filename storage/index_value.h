#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/status.h"

#include "millrace/storage/document.h"

namespace millrace::storage {

// A byte string: compares after all text. Value.
struct Bytes {
  std::string value;
  friend auto operator<=>(const Bytes&, const Bytes&) = default;
};

// A value as an index orders it: null, then false and true, then numbers, then strings, then bytes.
// Numbers compare by value, whatever their type: 1 and 1.0 are one value, and an integer beyond
// 2^53 differs from its neighbours. Strings and bytes compare byte by byte.
using IndexValue = std::variant<Null, bool, int64_t, uint64_t, double, std::string, Bytes>;

// The blank rule, one for commit, flush, build, audit and lookup: a field that is absent, null, "",
// nothing but ASCII white space, an object or an array has no place in an index.
bool IsBlank(const FieldValue& value);
// As above for what is looked up.
bool IsBlank(const IndexValue& value);

// Of a longer string an entry keeps so many encoded bytes and a mark that it is cut. The order of
// entries is then that of what was kept; whether a record matches is decided by the record.
inline constexpr size_t kIndexTextBytesMax = 120;
// The longest value in an entry: kind, text, end.
inline constexpr size_t kIndexValueBytesMax = 1 + kIndexTextBytesMax + 2;

// The encoding of a value, whole: comparing encodings as bytes compares the values, and none is a
// prefix of another. Appended to `out`. Blank values have one too.
//   0x10                                           null
//   0x20, 0x21                                     false, true
//   0x30, double rounded down, rest as u16         number; what the double lost is the rest
//   0x40 text, 0x50 bytes: 0x00 is 0x00 0xff       ended by 0x00 0x01, cut by 0x00 0x02
void AppendIndexValue(const IndexValue& value, std::string* out);
// Requires that `value` is neither an object nor an array.
void AppendIndexValue(const FieldValue& value, std::string* out);
// What all encoded strings that begin with `prefix` begin with, cut as an entry would be.
std::string IndexTextPrefix(std::string_view prefix);

// A value as an index uses it. Value; cheap to use again and again.
struct IndexKey {
  std::string full;  // The whole encoding.
  std::string cut;   // What stands in an entry instead, if `full` is too long for one.
  std::string_view entry() const { return cut.empty() ? full : cut; }
};
// Sets `key` to the value. Its former contents are overwritten.
void SetIndexKey(const IndexValue& value, IndexKey* key);
void SetIndexKey(const FieldValue& value, IndexKey* key);

// Removes one encoded value from the front of `in`. False, with `in` in no certain state, if it
// does not begin with one as it was written. Numbers come back as int64_t, uint64_t or double, the
// first that holds them. `cut` is whether the text was cut.
bool ConsumeIndexValue(std::string_view* in, IndexValue* value, bool* cut);
// The same without decoding: only finds the end of the value. It looks at no more than that.
bool SkipIndexValue(std::string_view* in);

// InvalidArgument for a number that no index can hold (NaN).
absl::Status CheckIndexValue(const IndexValue& value);
// As it would stand in JSON; bytes in hexadecimal.
std::string ToString(const IndexValue& value);

}  // namespace millrace::storage
