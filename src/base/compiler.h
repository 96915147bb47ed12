// Refuses compilers that are known to miscompile this project.
#pragma once

#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14
#error "resilver needs clang 19 (GCC before 14 miscompiles coroutines); run 'make deps' and use the Makefile's CXX"
#endif
