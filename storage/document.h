#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace millrace::storage {

// The longest encoded document, and the deepest: the document itself has depth 1.
inline constexpr size_t kDocumentBytesMax = size_t{1} << 20;
inline constexpr int kDocumentDepthMax = 256;

// What a field holds. Integers up to 2^63 - 1 are int64_t, larger ones uint64_t; a number written
// with '.' or 'e' is a double. A string views into the document. Of an object or an array only the
// kind is told.
using Null = std::monostate;
enum class Nested : uint8_t { kObject, kArray };
using FieldValue = std::variant<Null, bool, int64_t, uint64_t, double, std::string_view, Nested>;

// A document's bytes, owned by someone else and trusted: a Document or a checksum vouches for them.
// They need no alignment. Value; the bytes must outlive it.
class DocumentView {
 public:
  explicit DocumentView(std::string_view trusted_bytes) : bytes_(trusted_bytes) {}

  std::string_view bytes() const { return bytes_; }

  // Compact JSON: members sorted by name, doubles in the shortest form that reads back to the same
  // bits, always with '.' or 'e'.
  std::string ToJson() const;
  void AppendJson(std::string* out) const;
  // The members between the braces, without the one called `except`; nothing if none is left.
  void AppendJsonMembers(std::string_view except, std::string* out) const;

  // The field of that name; none if absent. With a path, the field inside nested objects.
  std::optional<FieldValue> Field(std::string_view name) const;
  std::optional<FieldValue> Field(absl::Span<const std::string_view> path) const;

 private:
  std::string_view bytes_;
};

// A JSON object as FlexBuffer bytes. Equal to its JSON as a value: integers in [-2^63, 2^64) exact,
// doubles bit for bit (-0.0 too), strings exactly; 1 and 1.0 differ. Equal documents have equal
// bytes. Refused: a top level that is no object, duplicate or NUL-holding names, other numbers,
// invalid UTF-8, depth above kDocumentDepthMax, more than kDocumentBytesMax bytes. Value.
class Document {
 public:
  // The empty object.
  Document();

  // InvalidArgument naming the fault, and its byte offset or its path.
  static absl::StatusOr<Document> FromJson(std::string_view json);
  // The bytes of a Document, come back from a place that checked its checksum. Not looked at.
  static Document FromTrustedBytes(std::string bytes);
  // Any bytes, checked in full: InvalidArgument unless they are a document as described above.
  static absl::StatusOr<Document> FromBytes(std::string_view bytes);
  // The document `base` (trusted bytes) with the top-level fields of `fields` replaced or added.
  // InvalidArgument if the result is larger than kDocumentBytesMax.
  static absl::StatusOr<Document> Merge(std::string_view base, const Document& fields);

  std::string_view bytes() const { return bytes_; }
  // Gives the bytes away; the document is the moved-from kind afterwards.
  std::string TakeBytes() && { return std::move(bytes_); }

  // As DocumentView's. The results of Field view into this document.
  DocumentView view() const { return DocumentView(bytes_); }
  std::string ToJson() const { return view().ToJson(); }
  std::optional<FieldValue> Field(std::string_view name) const { return view().Field(name); }
  std::optional<FieldValue> Field(absl::Span<const std::string_view> path) const {
    return view().Field(path);
  }

  friend bool operator==(const Document&, const Document&) = default;

 private:
  explicit Document(std::string bytes) : bytes_(std::move(bytes)) {}

  std::string bytes_;
};

// Appends `text` (valid UTF-8) as a JSON string, quotes included.
void AppendJsonString(std::string_view text, std::string* out);

// Builds a document without JSON. Names may come in any order; sorted they cost less. The first
// fault is kept and reported by Finish. Thread-compatible; can be used again after Finish.
//
//   DocumentBuilder builder;
//   builder.Set("name", "libc6").Set("size", 12).BeginArray("tags").Add("a").Add(2.5).End();
//   absl::StatusOr<Document> document = builder.Finish();
class DocumentBuilder {
 public:
  DocumentBuilder();
  ~DocumentBuilder();
  DocumentBuilder(DocumentBuilder&&) noexcept;
  DocumentBuilder& operator=(DocumentBuilder&&) noexcept;

  // A member of the current object. T: Null or nullptr, bool, an integer, a floating-point number,
  // or what converts to std::string_view.
  template <typename T>
  DocumentBuilder& Set(std::string_view name, const T& value) {
    if (Name(name)) Put(value);
    return *this;
  }
  DocumentBuilder& BeginObject(std::string_view name);
  DocumentBuilder& BeginArray(std::string_view name);

  // An element of the current array.
  template <typename T>
  DocumentBuilder& Add(const T& value) {
    if (Element()) Put(value);
    return *this;
  }
  DocumentBuilder& BeginObject();
  DocumentBuilder& BeginArray();

  // Ends the innermost object or array that was begun.
  DocumentBuilder& End();

  // The document; the builder is empty again. InvalidArgument naming the first fault: the refusals
  // of Document, or calls that do not match (a name in an array, an End too many or too few).
  absl::StatusOr<Document> Finish();

 private:
  struct State;

  template <typename T>
  void Put(const T& value) {
    if constexpr (std::is_same_v<T, Null> || std::is_same_v<T, std::nullptr_t>) {
      PutScalar(Null());
    } else if constexpr (std::is_same_v<T, bool>) {
      PutScalar(value);
    } else if constexpr (std::signed_integral<T>) {
      PutScalar(static_cast<int64_t>(value));
    } else if constexpr (std::unsigned_integral<T>) {
      PutScalar(static_cast<uint64_t>(value));
    } else if constexpr (std::floating_point<T>) {
      PutScalar(static_cast<double>(value));
    } else {
      PutScalar(std::string_view(value));
    }
  }
  bool Name(std::string_view name);
  bool Element();
  void PutScalar(const FieldValue& value);

  std::unique_ptr<State> state_;
};

}  // namespace millrace::storage
