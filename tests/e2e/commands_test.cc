// What is the same for every subcommand and verb: help, hints, completion; and what `make install` installs.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/program.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

std::string joined(const Words& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// The first words of the lines that are two spaces in, until the examples begin.
Words listed_in(const std::string& help) {
  Words names;
  for (const std::string& line : lines_of(help.substr(0, help.find("\nExample")))) {
    if (line.starts_with("  ") && line.size() > 2 && line[2] != ' ')
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

// Each subcommand, and each verb of those that have some.
std::vector<Words> all_commands() {
  std::vector<Words> all;
  for (const std::string& name : listed_in(run_program({"--help"}).out)) {
    all.push_back({name});
    if (name != "volume" && name != "bench") continue;
    for (const std::string& verb : listed_in(run_program({name, "--help"}).out)) all.push_back({name, verb});
  }
  return all;
}

// What a shell command prints; the variable program names what is tested.
std::string shell(const std::string& command) {
  const Directory directory;
  const std::string out = directory / "out";
  const char* set = std::getenv("RESILVER_PROGRAM");
  const std::string program = fs::absolute(set != nullptr ? set : "build/release/resilver");
  write_text(directory / "script", "program=" + program + "\n" + command + "\n");
  EXPECT_EQ(std::system(("bash " + (directory / "script") + " >" + out + " 2>&1").c_str()), 0) << command << "\n"
                                                                                               << read_text(out);
  return read_text(out);
}

TEST(Commands, EachAnswersHelpWithAnExampleAndItsExitCodes) {
  const auto commands = all_commands();
  EXPECT_GE(commands.size(), 45u);
  for (const Words& command : commands) {
    const std::string name = "resilver " + joined(command);
    Words words = command;
    words.push_back("--help");
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 0) << ended.all();
    EXPECT_EQ(ended.err, "");
    EXPECT_EQ(ended.out.find("Usage: " + name), 0u) << ended.out;
    EXPECT_NE(ended.out.find("\nExample"), std::string::npos) << ended.out;
    EXPECT_NE(ended.out.find("\n  " + name), std::string::npos) << ended.out;
    EXPECT_NE(ended.out.find("\nExit: 0 "), std::string::npos) << ended.out;
    words.back() = "-h";
    EXPECT_EQ(run_program(words).out, ended.out);
    words = command;
    words.insert(words.begin(), "help");
    EXPECT_EQ(run_program(words).out, ended.out);
  }
}

TEST(Commands, AMisspeltNameGetsTheNearest) {
  const auto hint = [](const Words& words) {
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 2) << ended.all();
    EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
    return ended.err;
  };
  EXPECT_NE(hint({"crate"}).find("did you mean 'create'?"), std::string::npos);
  EXPECT_NE(hint({"volume", "atach"}).find("did you mean 'attach'?"), std::string::npos);
  EXPECT_NE(hint({"bench", "rebiuld"}).find("did you mean 'rebuild'?"), std::string::npos);
  EXPECT_NE(hint({"run", "--sed", "3"}).find("did you mean '--seed'?"), std::string::npos);
  EXPECT_NE(hint({"volume", "attach", "--exprot", "x"}).find("did you mean '--export'?"), std::string::npos);
  EXPECT_EQ(hint({"run", "--frobnicate"}).find("did you mean"), std::string::npos);
}

// What bash offers for the last of the words, sorted.
Words offered(const std::string& directory, const std::string& words) {
  return lines_of(
      shell("source share/completions/resilver.bash; cd " + directory + "; COMP_WORDS=(" + words +
            "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _resilver; printf '%s\\n' \"${COMPREPLY[@]}\" | sort"));
}

TEST(Completion, BashCompletesCommandsOptionsWordsAndFiles) {
  const Directory directory;
  fs::create_directory(directory / "folder");
  write_text(directory / "a file", "");
  const std::string here = fs::absolute(directory.path());
  EXPECT_EQ(offered(here, "resilver exp"), Words{"export"});
  EXPECT_EQ(offered(here, "resilver help com"), Words{"compare"});
  EXPECT_EQ(offered(here, "resilver volume re"), (Words{"recover", "reid", "resolve", "resync"}));
  EXPECT_EQ(offered(here, "resilver create --cons"), Words{"--consistency"});
  EXPECT_EQ(offered(here, "resilver create vm -l ''"), (Words{"0", "1", "10", "4", "5", "6", "linear"}));
  EXPECT_EQ(offered(here, "resilver create vm --level = 1"), (Words{"1", "10"}));
  EXPECT_EQ(offered(here, "resilver create vm --consistency b"), Words{"bitmap"});
  EXPECT_EQ(offered(here, "resilver create ''"), Words{"folder"});
  EXPECT_EQ(offered(here, "resilver create --devices x missing a"), Words{"a file"});
  EXPECT_EQ(offered(here, "resilver create --name ''"), Words{""});
  EXPECT_EQ(offered(here, "resilver export ''"), (Words{"a file", "folder"}));
  EXPECT_EQ(offered(here, "resilver volume ack --config x q"), Words{"quorum"});
  EXPECT_EQ(offered(here, "resilver volume status ''"), (Words{"--config", "--help", "--json"}));
  EXPECT_EQ(offered(here, "resilver bench io --rw randr"), (Words{"randread", "randrw"}));
  EXPECT_EQ(offered(here, "\"$program\" run disk-l"), Words{"disk-loss"});
  EXPECT_EQ(offered(here, "resilver contender"), Words{""});
}

TEST(Completion, ScriptsAreSound) {
  shell("bash -n share/completions/resilver.bash");
  shell("! command -v zsh >/dev/null || zsh -n share/completions/_resilver");
}

TEST(Install, InstalledProgramFindsItsScenariosAndUninstallLeavesNothing) {
  const Directory directory;
  const std::string root = fs::absolute(directory.path()) / fs::path("root");
  // The program is taken as it is: nothing is built beside other tests.
  const std::string make =
      "env -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -o build/release/resilver PREFIX=/usr DESTDIR=" + root;
  shell(make + " install");
  const std::string usr = root + "/usr/";
  for (const char* file : {"bin/resilver", "share/resilver/scenarios/disk-loss.toml", "share/man/man1/resilver.1",
                           "share/man/man1/resilver-create.1", "share/man/man1/resilver-volume.1",
                           "share/bash-completion/completions/resilver", "share/zsh/site-functions/_resilver",
                           "share/doc/resilver/README.md", "share/doc/resilver/docs/arrays.md"})
    EXPECT_TRUE(fs::is_regular_file(usr + file)) << file;
  const std::string list = shell("cd / && " + usr + "bin/resilver list");
  EXPECT_NE(list.find("\ndisk-loss "), std::string::npos) << list;
  EXPECT_NE(list.find("in " + usr + "share/resilver/scenarios"), std::string::npos) << list;
  fs::create_directory(directory / "scenarios");  // somebody's own, with none of ours
  EXPECT_EQ(shell("cd " + fs::absolute(directory.path()).string() + " && " + usr + "bin/resilver list"), list);
  EXPECT_NE(shell("cd / && " + usr + "bin/resilver check disk-loss").find("sound"), std::string::npos);

  shell(make + " uninstall");
  for (const auto& entry : fs::recursive_directory_iterator(root)) EXPECT_TRUE(entry.is_directory()) << entry.path();
}

}  // namespace
}  // namespace resilver::test
