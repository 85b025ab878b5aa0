#include "bench/harness.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace millrace {
namespace {

// The value behind `--name=`, or null if `argument` is another flag.
const char* FlagValue(const char* argument, const char* name) {
  const size_t size = std::strlen(name);
  return std::strncmp(argument, name, size) == 0 ? argument + size : nullptr;
}

double MedianOf(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double MinOf(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

double MaxOf(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

// Four significant digits, large numbers with a suffix.
std::string Short(double value) {
  if (value >= 1e9) return absl::StrFormat("%.2fG", value / 1e9);
  if (value >= 1e6) return absl::StrFormat("%.2fM", value / 1e6);
  if (value >= 1e4) return absl::StrFormat("%.1fk", value / 1e3);
  return absl::StrFormat("%.4g", value);
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

}  // namespace

BenchDirectory::BenchDirectory()
    : path_(std::filesystem::temp_directory_path() / "millrace-bench-XXXXXX") {
  if (mkdtemp(path_.data()) != nullptr) return;
  perror(path_.c_str());
  exit(1);
}

BenchDirectory::~BenchDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

double PercentileOf(std::vector<double>& samples, double share) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  const double rank = std::ceil(share * static_cast<double>(samples.size()));
  return samples[std::min(samples.size() - 1, static_cast<size_t>(std::max(0.0, rank - 1)))];
}

BenchSuite::BenchSuite(std::string name, int argc, char** argv) : name_(std::move(name)) {
  for (int i = 1; i < argc; ++i) {
    if (const char* value = FlagValue(argv[i], "--json=")) {
      json_path_ = value;
    } else if (const char* value = FlagValue(argv[i], "--filter=")) {
      filter_ = value;
    } else if (const char* value = FlagValue(argv[i], "--rounds=");
               value != nullptr && absl::SimpleAtoi(value, &rounds_) && rounds_ > 0) {
      continue;
    } else if (std::strcmp(argv[i], "--small") == 0) {
      small_ = true;
      rounds_ = 1;
    } else {
      absl::FPrintF(stderr,
                    "%s: unknown flag %s\nusage: %s [--rounds=N] [--json=FILE] [--filter=TEXT] "
                    "[--small]\n",
                    name_, argv[i], argv[0]);
      std::exit(2);
    }
  }
}

void BenchSuite::Add(std::string case_name, std::string system, Body body) {
  if (!filter_.empty() && absl::StrCat(case_name, "/", system).find(filter_) == std::string::npos) {
    return;
  }
  entries_.push_back({.case_name = std::move(case_name),
                      .system = std::move(system),
                      .body = std::move(body),
                      .series = {}});
}

bool BenchSuite::RunRound(const std::string& case_name, int round) {
  for (Entry& entry : entries_) {
    if (entry.case_name != case_name) continue;
    absl::StatusOr<std::vector<BenchMetric>> metrics = entry.body();
    if (!metrics.ok()) {
      absl::FPrintF(stderr, "%s: %s: %s, round %d: %s\n", name_, case_name, entry.system, round,
                    metrics.status().ToString());
      return false;
    }
    for (const BenchMetric& metric : *metrics) {
      auto it = std::find_if(entry.series.begin(), entry.series.end(),
                             [&](const Series& series) { return series.metric == metric.name; });
      if (it == entry.series.end()) {
        it = entry.series.insert(it, {.metric = metric.name, .unit = metric.unit, .values = {}});
      }
      it->values.push_back(metric.value);
    }
  }
  return true;
}

int BenchSuite::Run() {
  std::vector<std::string> cases;
  for (const Entry& entry : entries_) {
    if (std::find(cases.begin(), cases.end(), entry.case_name) == cases.end()) {
      cases.push_back(entry.case_name);
    }
  }
  for (const std::string& case_name : cases) {
    for (int round = 1; round <= rounds_; ++round) {
      if (!RunRound(case_name, round)) return 1;
    }
  }
  PrintTable();
  PrintGoals();
  return WriteJson() ? 0 : 1;
}

void BenchSuite::PrintTable() const {
  absl::PrintF("\n%s, median of %d rounds (min to max)\n", name_, rounds_);
  std::string last_case;
  for (const Entry& entry : entries_) {
    if (entry.case_name != last_case) absl::PrintF("%s\n", entry.case_name);
    last_case = entry.case_name;
    for (const Series& series : entry.series) {
      absl::PrintF("  %-20s %10s %-16s (%s to %s) %s\n", entry.system,
                   Short(MedianOf(series.values)), series.unit, Short(MinOf(series.values)),
                   Short(MaxOf(series.values)), series.metric);
    }
  }
}

const BenchSuite::Series* BenchSuite::Find(const std::string& case_name, const std::string& system,
                                           const std::string& metric) const {
  for (const Entry& entry : entries_) {
    if (entry.case_name != case_name || entry.system != system) continue;
    for (const Series& series : entry.series) {
      if (series.metric == metric) return &series;
    }
  }
  return nullptr;
}

void BenchSuite::PrintGoals() const {
  for (const GoalSpec& goal : goals_) {
    const Series* ours = Find(goal.case_name, goal.system, goal.metric);
    const Series* theirs = Find(goal.case_name, goal.rival, goal.metric);
    if (ours == nullptr || theirs == nullptr) continue;
    const double ratio = MedianOf(ours->values) / MedianOf(theirs->values);
    const bool lower = goal.at_most > 0;
    const bool met = lower ? ratio <= goal.at_most : ratio >= goal.at_least;
    absl::PrintF("goal %s: %s, %s %s is %.2f of %s (%s %.2f)\n", met ? "met   " : "MISSED",
                 goal.case_name, goal.system, goal.metric, ratio, goal.rival,
                 lower ? "at most" : "at least", lower ? goal.at_most : goal.at_least);
  }
}

bool BenchSuite::WriteJson() const {
  if (json_path_.empty()) return true;
  std::FILE* file = std::fopen(json_path_.c_str(), "a");
  if (file == nullptr) {
    absl::FPrintF(stderr, "%s: cannot write %s: %s\n", name_, json_path_, std::strerror(errno));
    return false;
  }
  for (const Entry& entry : entries_) {
    for (const Series& series : entry.series) {
      absl::FPrintF(file,
                    "{\"suite\":%s,\"case\":%s,\"system\":%s,\"metric\":%s,\"unit\":%s,"
                    "\"median\":%.17g,\"min\":%.17g,\"max\":%.17g,\"rounds\":%d}\n",
                    Quoted(name_), Quoted(entry.case_name), Quoted(entry.system),
                    Quoted(series.metric), Quoted(series.unit), MedianOf(series.values),
                    MinOf(series.values), MaxOf(series.values), series.values.size());
    }
  }
  return std::fclose(file) == 0;
}

}  // namespace millrace
