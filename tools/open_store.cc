#include "millrace/tools/open_store.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace millrace {
namespace {

using storage::ToAbsl;

// The same code and details, with the store's path where the message does not have it.
absl::Status NamePath(const absl::Status& status, std::string_view path) {
  if (status.message().find(ToAbsl(path)) != absl::string_view::npos) return status;
  absl::Status named(status.code(), absl::StrCat(ToAbsl(path), ": ", status.message()));
  status.ForEachPayload([&named](absl::string_view url, const absl::Cord& payload) {
    named.SetPayload(url, payload);
  });
  return named;
}

absl::StatusOr<std::unique_ptr<Engine>> Open(std::string_view path, Workload workload,
                                             bool create_if_missing) {
  EngineOptions options;
  options.create_if_missing = create_if_missing;
  // Holds a batch of one document with room to spare; filling it with zeros is most of an open.
  if (workload == Workload::kLittle) options.log_file_bytes = uint64_t{4} << 20;
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(path, options);
  if (!engine.ok()) return NamePath(engine.status(), path);
  return engine;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> OpenExistingStore(std::string_view path) {
  return Open(path, Workload::kLittle, /*create_if_missing=*/false);
}

absl::StatusOr<OpenedCollection> OpenExistingCollection(std::string_view path,
                                                        std::string_view name) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = OpenExistingStore(path);
  if (!engine.ok()) return engine.status();
  absl::StatusOr<storage::Collection> collection = (*engine)->OpenCollection(name);
  if (!collection.ok()) return NamePath(collection.status(), path);
  return OpenedCollection{.engine = *std::move(engine), .collection = *std::move(collection)};
}

absl::StatusOr<OpenedCollection> OpenOrCreateCollection(std::string_view path,
                                                        std::string_view name, Workload workload) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Open(path, workload, /*create_if_missing=*/true);
  if (!engine.ok()) return engine.status();
  absl::StatusOr<storage::Collection> collection = (*engine)->CreateCollection(name);
  if (!collection.ok()) return NamePath(collection.status(), path);
  return OpenedCollection{.engine = *std::move(engine), .collection = *std::move(collection)};
}

ExitCode Fail(Console& console, std::string_view doing, const absl::Status& status) {
  console.Complain(doing, status);
  return ToExitCode(status);
}

}  // namespace millrace
