// What somebody may have meant who misspelt a name.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace resilver {

// " (did you mean 'x'?)" with the nearest of `known`, if it is at most so many letters off (by default a slip of the pen) and
// not another word altogether; else empty.
std::string nearest_hint(std::string_view word, const std::vector<std::string_view>& known, std::size_t most_slips = 2);

}  // namespace resilver
