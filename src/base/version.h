#pragma once

namespace resilver {

inline constexpr const char* kVersion = "0.1";

}  // namespace resilver
