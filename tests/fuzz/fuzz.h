// What every fuzz target needs. A target is one file tests/fuzz/NAME.cc with one FUZZ_TARGET and a folder of first inputs,
// tests/fuzz/corpus/NAME; the Makefile finds it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

// Never compiled out; libFuzzer keeps the input that ends here.
#define FUZZ_ASSERT(condition)                                                       \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                  \
    }                                                                                \
  } while (false)

#define FUZZ_TARGET(input)                                                            \
  static void fuzz_one(std::span<const std::byte> input);                             \
  extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) { \
    fuzz_one(std::as_bytes(std::span(data, size)));                                   \
    return 0;                                                                         \
  }                                                                                   \
  static void fuzz_one(std::span<const std::byte> input)

// The input as a block of fixed size: cut, or filled up with `rest`.
template <std::size_t kBytes>
std::array<std::byte, kBytes> padded_input(std::span<const std::byte> input, std::byte rest) {
  std::array<std::byte, kBytes> block;
  block.fill(rest);
  std::copy_n(input.begin(), std::min(input.size(), kBytes), block.begin());
  return block;
}

template <typename T>
T load_at(std::span<const std::byte> bytes, std::size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

template <typename T>
void store_at(std::span<std::byte> bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}
