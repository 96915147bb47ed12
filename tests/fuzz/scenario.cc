// Any bytes as a scenario's text: they end as a sound scenario or as diagnostics, each one line with a place. What is sound
// can be told and shown.
#include <string>
#include <string_view>

#include "scenario/parse.h"
#include "scenario/verbs.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver;

FUZZ_TARGET(input) {
  const std::string_view text(reinterpret_cast<const char*>(input.data()), input.size());
  const auto parsed = scenario::parse_scenario(text, "f", {});
  if (!parsed) {
    FUZZ_ASSERT(!parsed.error().empty());
    for (const scenario::Diagnostic& diagnostic : parsed.error())
      FUZZ_ASSERT(scenario::to_string(diagnostic).find('\n') == std::string::npos);
    return;
  }
  FUZZ_ASSERT(!parsed->contenders.empty() && parsed->volume_bytes > 0);
  for (const scenario::ContenderSpec& contender : parsed->contenders) FUZZ_ASSERT(!describe(contender).empty());
  for (const scenario::Event& event : parsed->events) {
    FUZZ_ASSERT(!describe(event.trigger).empty());
    for (const scenario::VerbArgument& argument : scenario::verb_info(event.verb).arguments)
      (void)argument.text(event.arguments);
  }
}
