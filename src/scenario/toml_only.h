// The one place that includes toml++: without exceptions and without its writers.
#pragma once

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_UNDEF_MACROS 1
#define TOML_MAX_NESTED_VALUES 32
// What a text holds is no mistake of the parser's: it goes on to an error ("[[[x]]]" ended the program).
#define TOML_ASSERT(condition) static_cast<void>(0)
#include <toml++/toml.h>

namespace resilver::scenario {
inline constexpr int kDeepestNesting = 32;  // of values: TOML_MAX_NESTED_VALUES
}
