// What is read from a command line, and what is said about one that makes no sense.
#include <gtest/gtest.h>

#include "tests/cli/sample.h"

namespace resilver::cli {
namespace {

using Words = std::vector<std::string>;

CommandLine read(const Words& words) {
  const auto request = read_request(kSample, words);
  if (!request || request->command == nullptr) {
    ADD_FAILURE() << (request ? request->text : request.error().what);
    return {};
  }
  return request->line;
}

std::string refused(const Words& words) {
  const auto request = read_request(kSample, words);
  if (request) {
    ADD_FAILURE() << "not refused: " << request->text;
    return {};
  }
  EXPECT_EQ(request.error().what.find('\n'), std::string::npos);
  return request.error().what;
}

std::string text_of(const Words& words) {
  const auto request = read_request(kSample, words);
  if (!request || request->command != nullptr) {
    ADD_FAILURE() << (request ? "a command" : request.error().what);
    return {};
  }
  return request->text;
}

TEST(CommandLine, TellsWhatWasGivenAndWhatIsUsual) {
  const CommandLine line = read({"make", "a", "-l", "5", "--size=1M", "b", "--set", "x=1", "--set", "y=2", "--force"});
  EXPECT_EQ(line.command, "make");
  EXPECT_EQ(line.typed, "resilver make a -l 5 --size=1M b --set x=1 --set y=2 --force");
  EXPECT_EQ(line.words, (Words{"a", "b"}));
  EXPECT_EQ(line.text("level"), "5");
  EXPECT_EQ(line.size_of("size").value(), 1u << 20);
  EXPECT_EQ(line.all("set"), (Words{"x=1", "y=2"}));
  EXPECT_TRUE(line.has("force"));
  EXPECT_FALSE(line.has("disk"));

  const CommandLine bare = read({"make"});
  EXPECT_FALSE(bare.has("size"));
  EXPECT_EQ(bare.size_of("size").value(), 64u << 10);
  EXPECT_EQ(bare.text("level"), "");
  EXPECT_EQ(bare.count_of("count", 7).value(), 7u);
  EXPECT_TRUE(bare.all("devices").empty());
}

TEST(CommandLine, AnOptionMayTakeAllThatFollows) {
  const CommandLine line = read({"make", "--devices", "a", "missing", "c", "--force"});
  EXPECT_EQ(line.all("devices"), (Words{"a", "missing", "c"}));
  EXPECT_TRUE(line.words.empty());
}

TEST(CommandLine, ReadsVerbs) {
  const CommandLine line = read({"thing", "show", "red", "--config", "x"});
  EXPECT_EQ(line.command, "thing show");
  EXPECT_EQ(line.words, Words{"red"});
}

TEST(CommandLine, NumbersThatAreNoneNameTheirOption) {
  const CommandLine line = read({"make", "--size", "1x", "--count", "9"});
  EXPECT_EQ(line.size_of("size").error().what.find("--size: "), 0u);
  EXPECT_EQ(line.count_of("count", 0, 8).error().what, "--count: 9 is more than 8");
}

TEST(CommandLine, MistakesGetOneLineWithTheNearestName) {
  EXPECT_EQ(refused({}), "resilver: expected a subcommand (make, list, thing, ...); see resilver --help");
  EXPECT_EQ(refused({"mkae"}), "resilver: unknown subcommand 'mkae' (did you mean 'make'?); see resilver --help");
  EXPECT_EQ(refused({"elsewhere"}), "resilver: unknown subcommand 'elsewhere'; see resilver --help");
  EXPECT_EQ(refused({"make", "--sise", "1M"}),
            "resilver make: unrecognised option '--sise' (did you mean '--size'?); see resilver make --help");
  EXPECT_EQ(refused({"make", "--frobnicate"}),
            "resilver make: unrecognised option '--frobnicate'; see resilver make --help");
  EXPECT_EQ(refused({"make", "--siz", "1M"}),
            "resilver make: unrecognised option '--siz' (did you mean '--size'?); see resilver make --help");
  EXPECT_EQ(refused({"make", "--size", ""}), "resilver make: --size: empty; see resilver make --help");
  EXPECT_NE(refused({"make", "--size"}).find("--size"), std::string::npos);
  EXPECT_EQ(refused({"list", "x"}), "resilver list: 'x': expected options only; see resilver list --help");
  EXPECT_EQ(refused({"thing"}), "resilver thing: expected a verb (show); see resilver thing --help");
  EXPECT_EQ(refused({"thing", "shwo"}),
            "resilver thing: unknown verb 'shwo' (did you mean 'show'?); see resilver thing --help");
  EXPECT_EQ(refused({"help", "lsit"}),
            "resilver: unknown subcommand 'lsit' (did you mean 'list'?); see resilver --help");
}

TEST(CommandLine, HelpIsAskedForInManyWays) {
  const std::string whole = text_of({"--help"}), make = text_of({"make", "--help"}), thing = text_of({"thing", "-h"}),
                    show = text_of({"thing", "show", "-h"});
  EXPECT_EQ(text_of({"-h"}), whole);
  EXPECT_EQ(text_of({"help"}), whole);
  EXPECT_EQ(text_of({"make", "-h"}), make);
  EXPECT_EQ(text_of({"help", "make"}), make);
  EXPECT_EQ(text_of({"make", "a", "--force", "--help"}), make);
  EXPECT_EQ(text_of({"thing", "help"}), thing);
  EXPECT_EQ(text_of({"help", "thing"}), thing);
  EXPECT_EQ(text_of({"help", "thing", "show"}), show);
  EXPECT_EQ(text_of({"thing", "help", "show"}), show);
  EXPECT_EQ(text_of({"--version"}).find("resilver "), 0u);
}

}  // namespace
}  // namespace resilver::cli
