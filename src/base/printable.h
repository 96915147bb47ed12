// Names of files, keys and hosts in one line of a message.
#pragma once

#include <string>
#include <string_view>

namespace resilver {

// `text` with control characters (below 0x20, and 0x7f) as "\x1b": what is printed then moves no cursor and begins no line.
std::string printable(std::string_view text);

}  // namespace resilver
