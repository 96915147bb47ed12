// What somebody may have meant who misspelt a name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace resilver {

// " (did you mean 'x'?)" with the nearest of `known`, if it is near enough to be a slip of the pen; else empty.
std::string nearest_hint(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace resilver
