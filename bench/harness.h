#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"

namespace millrace {

// One number a run gave: rates are "per_second" (higher is better), latencies "p50_us", "p99_us".
// Value.
struct BenchMetric {
  std::string name;
  std::string unit;  // What is counted, e.g. "messages/s", "us".
  double value = 0;
};

// A fresh directory that goes, with all that is in it, with this object. Ends the process if there
// can be none. Thread-compatible.
class BenchDirectory {
 public:
  BenchDirectory();
  BenchDirectory(const BenchDirectory&) = delete;
  BenchDirectory& operator=(const BenchDirectory&) = delete;
  ~BenchDirectory();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The share (0 to 1) of `samples` that lies at or below the result; 0 if empty. Sorts them.
double PercentileOf(std::vector<double>& samples, double share);

// Keeps a result, and the work that made it, from being optimized away.
template <typename T>
void Keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

// Measures systems side by side: in every round each system runs once, in turn, so that a change of
// the machine's mood meets them all. Prints a table for people and, with --json, a line for
// programs for each (case, system, metric): median, min and max of the rounds.
//
//   int main(int argc, char** argv) {
//     millrace::BenchSuite suite("mailbox", argc, argv);
//     suite.Add("producers=1", "millrace", [] { return RunOurs(); });
//     suite.Add("producers=1", "limit", [] { return RunLimit(); });
//     suite.Goal({.case_name = "producers=1", .metric = "per_second", .system = "millrace",
//                 .rival = "limit", .at_least = 0.6});
//     return suite.Run();
//   }
//
// Flags: --rounds=N (5), --json=FILE (appends), --filter=TEXT (runs what has it in "case/system"),
// --small (once, with little work: for ctest). Thread-compatible.
class BenchSuite {
 public:
  // Sets up, runs once, checks what it did. An error makes the suite fail: no winner is printed,
  // and Run() returns non-zero.
  using Body = absl::AnyInvocable<absl::StatusOr<std::vector<BenchMetric>>()>;

  // A ratio of medians. `at_least` for rates, `at_most` for latencies; the other stays 0.
  struct GoalSpec {
    std::string case_name;
    std::string metric;
    std::string system;
    std::string rival;
    double at_least = 0;
    double at_most = 0;
  };

  // Ends the process with a usage message if a flag is unknown.
  BenchSuite(std::string name, int argc, char** argv);

  void Add(std::string case_name, std::string system, Body body);
  // Printed as met or missed beneath the table; does not change the exit code.
  void Goal(GoalSpec goal) { goals_.push_back(std::move(goal)); }

  // True under --small: do as little as shows that it works.
  bool small() const { return small_; }
  // `full`, or under --small `little`.
  int64_t Scale(int64_t full, int64_t little) const { return small_ ? little : full; }

  // Runs everything; the process's exit code.
  int Run();

 private:
  struct Series {
    std::string metric;
    std::string unit;
    std::vector<double> values;  // One a round.
  };
  struct Entry {
    std::string case_name;
    std::string system;
    Body body;
    std::vector<Series> series;
  };

  bool RunRound(const std::string& case_name, int round);
  void PrintTable() const;
  void PrintGoals() const;
  bool WriteJson() const;
  const Series* Find(const std::string& case_name, const std::string& system,
                     const std::string& metric) const;

  const std::string name_;
  int rounds_ = 5;
  bool small_ = false;
  std::string json_path_;
  std::string filter_;
  std::vector<Entry> entries_;
  std::vector<GoalSpec> goals_;
};

}  // namespace millrace
