// The prefix of every message on a byte stream: docs/wire-protocol.md names it, this file and frame.cc are its definition.
// 24 bytes, little endian:
//
//   0  u32 magic     'R' 'S' 'L' 'V' in this order
//   4  u16 version   kFrameVersion; another one is refused, not guessed at
//   6  u16 flags     0; reserved, refused when set
//   8  u32 head_len  <= Message::kMaxHead
//  12  u32 body_len  <= Message::kMaxBody
//  16  u32 head_crc  crc32c of bytes 0..15 and then the head, plus the number of the frame on its connection, modulo 2^32
//  20  u32 body_crc  crc32c of the body; 0 when it is empty
//
// then the head, then the body. A length is believed only as far as memory is bounded by it (the limits above) until head_crc,
// which covers both lengths, has been checked.
//
// Each direction of a connection numbers its frames from 0. The number does not travel: a frame that was lost, sent twice or
// sent again later shows in the checksum of the next one, as damage does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "env/network.h"

namespace resilver {

inline constexpr std::size_t kFrameBytes = 24;
inline constexpr std::uint16_t kFrameVersion = 2;

struct FramePrefix {
  std::uint32_t head_len = 0;
  std::uint32_t body_len = 0;
  std::uint32_t head_crc = 0;
  std::uint32_t body_crc = 0;
};

// Bytes that a message takes on the wire; simulated links are charged by it.
inline std::uint64_t wire_bytes(const Message& message) noexcept {
  return kFrameBytes + message.head.size() + message.body.size();
}

// Writes the prefix of `message`, the frame of this number. Precondition: head and body within Message's limits.
void encode_frame(const Message& message, std::uint32_t number, std::span<std::byte, kFrameBytes> out) noexcept;

// Checks all that can be checked of a prefix alone. Error: corrupt.
Result<FramePrefix> decode_frame(std::span<const std::byte, kFrameBytes> in);

// Checks the head, the prefix it came with, and that it is the frame of this number. Error: corrupt.
Status check_frame_head(std::span<const std::byte, kFrameBytes> prefix, std::uint32_t number,
                        std::span<const std::byte> head);

// Checks the body. Error: corrupt.
Status check_frame_body(const FramePrefix& prefix, std::span<const std::byte> body);

}  // namespace resilver
