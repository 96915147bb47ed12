// The command line of `resilver bench`.
#pragma once

#include <string>
#include <vector>

#include "cli/command_line.h"
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

// Errors: invalid_argument, what makes no sense.
Result<BenchCommand> read_bench_command(const cli::CommandLine& line);
// Carries it out; gives the exit code.
int run_bench(const cli::CommandLine& line);

// Sets what is swept to one of sweep_values.
void set_swept(const BenchCommand& command, const std::string& value, BenchPlan& plan);

}  // namespace resilver::tools
