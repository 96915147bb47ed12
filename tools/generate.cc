// `resilver generate`: what is made from the commands' specs and lies in share/.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "cli/completion.h"
#include "cli/man.h"
#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {
namespace {

namespace fs = std::filesystem;

Status write(const fs::path& path, const std::string& text) {
  std::error_code ignored;  // what is missing then shows when the file is made
  fs::create_directories(path.parent_path(), ignored);
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  return file ? Status{} : fail(Errc::io, path.string() + ": cannot be written");
}

int generate(const CommandLine& line) {
  if (line.words.size() != 1) return refuse_usage(line.command, "expected a folder");
  const fs::path folder = line.words[0];
  Status done = write(folder / "man/resilver.1.scd", cli::man_page(kProgram));
  for (const CommandSpec* command : cli::public_commands(kProgram)) {
    if (done) done = write(folder / fmt::format("man/resilver-{}.1.scd", command->name), cli::man_page(*command));
  }
  if (done) done = write(folder / "completions/resilver.bash", cli::bash_completion(kProgram));
  if (done) done = write(folder / "completions/_resilver", cli::zsh_completion(kProgram));
  return done ? kDone : refuse(line.command, done.error());
}

}  // namespace

constexpr CommandSpec kGenerateCommand = {
    .name = "generate",
    .meaning = "write man pages and completions; `make share` calls it",
    .words = "DIR",
    .description =
        "Writes what is made from the options of all commands into a folder: man pages in scdoc's language "
        "(man/) and completion for bash and zsh (completions/).",
    .examples = {"resilver generate share"},
    .exits = {{0, "done"}, {1, "it could not be written"}, cli::kBadUsageExit},
    .run = generate,
    .internal = true,
};

}  // namespace resilver::tools
