// Signs of a file system or partition table, by which a guess at how an array was laid out is judged: not a magic alone, but
// structures that must be in certain places of the array, each of which tells by itself whether it is the right one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace resilver::tools {

enum class Verdict : std::uint8_t { right, wrong, silent };  // silent: zeroes, which may be right or not

// At most 4096 bytes that do not cross a multiple of 4096, so that they lie on one member.
struct Sign {
  std::uint64_t at = 0;  // byte of the array
  std::size_t bytes = 0;
  std::function<Verdict(std::span<const std::byte>)> judge;
};

struct Signs {
  std::string what;         // "ext4", "xfs", "gpt"; empty: nothing is known here
  std::uint64_t bytes = 0;  // that the array must have at least
  std::vector<Sign> signs;  // at most kMaxSigns, over all of the array
};
inline constexpr std::size_t kMaxSigns = 512;

// By the first bytes of the array, as far as they lie in its first chunk (at least 4096).
Signs signs_of(std::span<const std::byte> beginning);

}  // namespace resilver::tools
