// Targets ("@serving.disk1", "A>B", "client-@serving") and conditions ("rebuild >= 50%") as text: the two small grammars
// inside a scenario, used by parse.cc and by whoever takes them from a command line.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "scenario/scenario.h"

namespace resilver::scenario {

// The target of a verb: node and disk verbs take NODE and NODE.diskN, link verbs END-END (both directions) or END>END,
// volume.overwrite "volume" (also if nothing is written). NODE: a name, @serving, @secondary[:n], @rebuilding, @spare, @any;
// END also client and arbiter. Errors: bad_input, with what was expected.
Result<Target> parse_target(std::string_view text, Verb verb);

// MEASURE OP VALUE, or `serving` / `not serving`. Errors: bad_input.
Result<Condition> parse_condition(std::string_view text);

// Letters, digits and _, not starting with a digit: what contenders and nodes may be called.
bool is_identifier(std::string_view text);

// The nearest of `known` if it is near enough to be a slip of the pen: " (did you mean 'x'?)", else empty.
// A word of another tradition ("sync", "ssd") is answered with ours, if that is among `known`.
std::string hint(std::string_view word, const std::vector<std::string>& known);
// The same, however far off the nearest is: for lists that are too long to print.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace resilver::scenario
