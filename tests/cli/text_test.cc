// Help, man pages and completion as texts.
#include <gtest/gtest.h>

#include "cli/completion.h"
#include "cli/help.h"
#include "cli/man.h"
#include "tests/cli/sample.h"

namespace resilver::cli {
namespace {

void expect_in(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), std::string::npos) << part << "\nin\n" << text;
}

TEST(Help, OfACommandIsLaidOut) {
  EXPECT_EQ(help_text(kMake),
            "Usage: resilver make DIR|IMAGE... FILE [OPTIONS]\n\n"
            "Makes a thing.\n\n"
            "And says 'it's *made*_'.\n\n"
            "Options:\n"
            "  -l, --level 0|1|5      the level\n"
            "  -z, --size SIZE        of it (default 64K)\n"
            "      --devices FILE...  on these\n"
            "      --set KEY=VALUE    change a key; may be repeated\n\n"
            "Disks:\n"
            "      --disk MODEL       a disk: hdd, nvme\n"
            "      --count N          how many\n"
            "      --force            whatever [is] there: yes\n"
            "  -h, --help             this text\n\n"
            "Example:\n"
            "  resilver make vm out \\x\n\n"
            "Exit: 0   made\n"
            "      2   bad usage\n");
}

TEST(Help, OfTheProgramListsCommandsAndOfACommandItsVerbs) {
  expect_in(help_text(kSample), {"resilver: a sample\n", "Things:\n  make   make a thing\n",
                                 "\nItself:\n  inner  for itself\n", "Example:\n  resilver list\n"});
  expect_in(help_text(kThing), {"Usage: resilver thing VERB [OPTIONS]\n", "\n  show  show it\n"});
}

TEST(Help, LongMeaningsAreWrapped) {
  const CommandSpec wide = {
      .name = "wide",
      .meaning = "",
      .description =
          "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
          "seventeen eighteen",
      .options = {{"a-very-long-name-of-an-option", "WITH-A-VALUE", "has a line of its own"}},
      .examples = {"resilver wide"},
      .exits = {{0, "done"}},
  };
  const std::string text = help_text(wide);
  expect_in(text, {"sixteen\nseventeen eighteen\n", "WITH-A-VALUE\n", "\n              has a line"});
}

TEST(Man, PagesAreEscapedAndWhole) {
  const std::string page = man_page(kMake);
  EXPECT_EQ(page.find("resilver-make(1)\n\n# NAME\n\nresilver-make - make a thing\n"), 0u) << page;
  expect_in(page, {"*resilver make* DIR\\|IMAGE... FILE \\[OPTIONS\\]\n", "it's \\*made\\*\\_'",
                   "*\\-l*, *\\--level* _0\\|1\\|5_\n\tthe level\n", "*Disks*",
                   "```\nresilver make vm out \\\\x\n```\n", "*2*\n\tbad usage\n", "*resilver*(1)\n"});
  expect_in(man_page(kThing), {"# thing show\n", "*show*\n\tshow it\n"});
  const std::string whole = man_page(kSample);
  expect_in(whole, {"*resilver-make*(1)\n\tmake a thing\n"});
  EXPECT_EQ(whole.find("inner"), std::string::npos);
}

TEST(Completion, KnowsValuesByTheirKind) {
  const std::string bash = bash_completion(kSample);
  expect_in(bash, {"_resilver_words 'make list thing help --help --version'",
                   "'make --level' | 'make -l') _resilver_words '0 1 5' ;;", "'make --size' | 'make -z') : ;;",
                   "'make --devices') _resilver_files -f ;;", "'make --disk') _resilver_words 'hdd nvme' ;;",
                   "'make '*) _resilver_files -f ;;", "'thing show '*) _resilver_words 'red green' ;;",
                   "'list '*) _resilver_words '--help' ;;"});
  const std::string zsh = zsh_completion(kSample);
  expect_in(zsh, {"#compdef resilver\n", "'(-l --level)'{-l+,--level=}'[the level]:0|1|5:(0 1 5)'",
                  "'--devices=[on these]:*-*:FILE...:_files'", "'*--set=[change a key; may be repeated]:KEY=VALUE: '",
                  "'--force[whatever \\[is\\] there\\: yes]'", "'*:DIR|IMAGE...:_files'", "'show:show it'"});
  for (const std::string& script : {bash, zsh}) EXPECT_EQ(script.find("inner"), std::string::npos);
}

}  // namespace
}  // namespace resilver::cli
