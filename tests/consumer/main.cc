#include <iostream>
#include <memory>

#include "millrace/actors/engine.h"

// value() throws what went wrong; an engine of yours looks at status() instead.
int main() {
  using millrace::storage::Document;
  std::unique_ptr<millrace::Engine> engine = millrace::Engine::Open("people.store").value();
  const millrace::storage::Collection people = engine->CreateCollection("people").value();

  millrace::storage::WriteBatch batch;  // All of it, or nothing.
  batch.Put(people, "ada", Document::FromJson(R"({"name": "Ada", "born": 1815})").value());
  batch.Merge(people, "alan", Document::FromJson(R"({"name": "Alan"})").value());
  batch.Delete(people, "charles");
  const millrace::CommitReceipt receipt = engine->Commit(batch).Wait().value();  // Durable.

  const millrace::storage::Snapshot snapshot = engine->TakeSnapshot().value();
  std::cout << "version " << receipt.version << ", " << snapshot.Count(people).value()
            << " people: " << snapshot.Get(people, "ada").value().document.ToJson() << "\n";

  const millrace::ShutdownReport report = engine->Shutdown();  // In order, accounted for.
  return report.Balanced() ? 0 : 1;
}
