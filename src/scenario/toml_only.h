// The one place that includes toml++: without exceptions and without its writers.
#pragma once

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_UNDEF_MACROS 1
#define TOML_MAX_NESTED_VALUES 32
#include <toml++/toml.h>

namespace resilver::scenario {
inline constexpr int kDeepestNesting = 32;  // of values: TOML_MAX_NESTED_VALUES
}
