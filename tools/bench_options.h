// The command line of `resilver bench`.
#pragma once

#include <string>
#include <vector>

#include "tools/bench_work.h"

namespace resilver::tools {

struct BenchCommand {
  BenchPlan plan;
  bool virtual_time = false;
  bool against_btrfs = false;
  std::string json;       // a file, - for standard output; empty: none
  std::string sweep_key;  // empty: no sweep
  std::vector<std::string> sweep_values;
};

inline constexpr int kGoOn = -1;
// kGoOn, or the exit code, after the help was printed or one line on standard error.
int read_bench_command(int argc, char** argv, BenchCommand& command);

// Sets what is swept to one of sweep_values.
void set_swept(const BenchCommand& command, const std::string& value, BenchPlan& plan);

}  // namespace resilver::tools
