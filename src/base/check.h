// CHECK: for our own mistakes. Always on, also in release builds: a broken invariant must stop the program before it
// writes wrong data. Anything that comes from outside (a disk, a peer, a file, a user) is input and gets an Error
// instead.
#pragma once

#include "base/compiler.h"

namespace resilver {

// Prints "file:line: CHECK failed: expression (message)" on standard error and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* expression, const char* message) noexcept;

}  // namespace resilver

// CHECK(condition) or CHECK(condition, "why it must hold").
#define CHECK(condition, ...)                                                   \
  do {                                                                          \
    if (!(condition)) [[unlikely]]                                              \
      ::resilver::check_failed(__FILE__, __LINE__, #condition, "" __VA_ARGS__); \
  } while (false)
