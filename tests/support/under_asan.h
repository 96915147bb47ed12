// Whether this is the build with AddressSanitizer, where a test that searches for long looks for less.
#pragma once

namespace resilver {

#if __has_feature(address_sanitizer)
inline constexpr bool kUnderAsan = true;
#else
inline constexpr bool kUnderAsan = false;
#endif

}  // namespace resilver
