// docs/verbs.md and docs/scenario-keys.md say what the parser reads; `show` tells every argument of an event.
#include "scenario/reference.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "scenario/parse.h"
#include "scenario/verbs.h"
#include "tests/scenario_lang/texts.h"

namespace resilver::scenario {
namespace {

// RESILVER_WRITE_REFERENCE (make reference): written anew instead.
void expect_is(const std::string& path, const std::string& text) {
  if (std::getenv("RESILVER_WRITE_REFERENCE") != nullptr) std::ofstream(path) << text;
  std::ifstream in(path);
  std::stringstream there;
  there << in.rdbuf();
  EXPECT_EQ(there.str(), text) << path << " is stale: make reference";
}

TEST(Reference, TheDocsAreWhatTheParserReads) {
  expect_is("docs/verbs.md", verbs_reference());
  expect_is("docs/scenario-keys.md", keys_reference());
}

TEST(Reference, NamesEveryVerbAndArgument) {
  const std::string text = verbs_reference();
  for (const VerbInfo& verb : verb_table()) {
    EXPECT_NE(text.find(fmt::format("`{}`", verb.name)), std::string::npos) << verb.name;
    for (const VerbArgument& argument : verb.arguments)
      EXPECT_NE(text.find(fmt::format("| `{}` | {} |", argument.key, argument.values)), std::string::npos)
          << argument.key;
  }
}

}  // namespace
}  // namespace resilver::scenario
