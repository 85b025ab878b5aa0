#pragma once

#include <iosfwd>
#include <string>

#include "millrace/actors/engine.h"
#include "millrace/runtime/clock.h"

namespace millrace {

// Tells how far an index build is: a bar that is drawn over itself on a terminal, else a line now
// and then. Thread-compatible.
class BuildProgressBar {
 public:
  BuildProgressBar(const Clock& clock, std::ostream& out, bool is_terminal);

  // Writes at most ten times a second on a terminal, once in five seconds elsewhere.
  void Update(const BuildProgress& progress);
  // Writes the last line: what the build met.
  void Finish(const storage::BuildResult& result);
  // Takes the bar away: the build did not end well.
  void Clear();

 private:
  const Clock& clock_;
  std::ostream& out_;
  const bool is_terminal_;
  MonotonicTime next_write_;
  bool bar_drawn_ = false;
};

// "scan  45 %  9,000 of 20,000, 1,000,000/s, 3 s to go".
std::string Describe(const BuildProgress& progress);

}  // namespace millrace
