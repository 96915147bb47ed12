// resilver: one program, a CommandSpec for each subcommand (commands.h). main() only chooses.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>

#include "cli/command_line.h"
#include "tools/command.h"
#include "tools/commands.h"
#include "tools/output.h"

namespace resilver::tools {
namespace {

int main_(int argc, char** argv) {
  const auto request = cli::read_request(kProgram, {argv + std::min(argc, 1), argv + argc});
  if (!request) {
    fmt::print(stderr, "{}\n", request.error().what);
    return kBadUsage;
  }
  fmt::print("{}", request->text);
  return request->command == nullptr ? kDone : request->command->run(request->line);
}

}  // namespace
}  // namespace resilver::tools

int main(int argc, char** argv) {
  signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is a disk without room (EFBIG), no reason to die
  resilver::tools::prepare_standard_streams();
  return resilver::tools::code_after_output(resilver::tools::main_(argc, argv));
}
