#include "env/frame.h"

#include "base/check.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace resilver {
namespace {

constexpr std::uint32_t kMagic = 0x564c5352;  // the bytes R S L V
constexpr std::size_t kCovered = 16;          // the part of the prefix that head_crc covers

}  // namespace

void encode_frame(const Message& message, std::uint32_t number, std::span<std::byte, kFrameBytes> out) noexcept {
  CHECK(message.head.size() <= Message::kMaxHead && message.body.size() <= Message::kMaxBody);
  store_le<std::uint32_t>(&out[0], kMagic);
  store_le<std::uint16_t>(&out[4], kFrameVersion);
  store_le<std::uint16_t>(&out[6], 0);
  store_le<std::uint32_t>(&out[8], static_cast<std::uint32_t>(message.head.size()));
  store_le<std::uint32_t>(&out[12], static_cast<std::uint32_t>(message.body.size()));
  store_le<std::uint32_t>(&out[16], crc32c(message.head, crc32c(out.first<kCovered>())) + number);
  store_le<std::uint32_t>(&out[20], crc32c(message.body.bytes()));
}

Result<FramePrefix> decode_frame(std::span<const std::byte, kFrameBytes> in) {
  if (load_le<std::uint32_t>(&in[0]) != kMagic) return fail(Errc::corrupt, "a frame with a wrong magic number");
  if (load_le<std::uint16_t>(&in[4]) != kFrameVersion) return fail(Errc::corrupt, "a frame of another version");
  if (load_le<std::uint16_t>(&in[6]) != 0) return fail(Errc::corrupt, "a frame with unknown flags");
  FramePrefix prefix;
  prefix.head_len = load_le<std::uint32_t>(&in[8]);
  prefix.body_len = load_le<std::uint32_t>(&in[12]);
  prefix.head_crc = load_le<std::uint32_t>(&in[16]);
  prefix.body_crc = load_le<std::uint32_t>(&in[20]);
  if (prefix.head_len > Message::kMaxHead || prefix.body_len > Message::kMaxBody) {
    return fail(Errc::corrupt, "a frame longer than allowed");
  }
  return prefix;
}

Status check_frame_head(std::span<const std::byte, kFrameBytes> prefix, std::uint32_t number,
                        std::span<const std::byte> head) {
  const std::uint32_t expected = load_le<std::uint32_t>(&prefix[16]);
  const bool whole = head.size() == load_le<std::uint32_t>(&prefix[8]);
  if (!whole || crc32c(head, crc32c(prefix.first<kCovered>())) + number != expected) {
    return fail(Errc::corrupt, "a frame whose head does not match its checksum");
  }
  return {};
}

Status check_frame_body(const FramePrefix& prefix, std::span<const std::byte> body) {
  if (body.size() != prefix.body_len || crc32c(body) != prefix.body_crc) {
    return fail(Errc::corrupt, "a frame whose body does not match its checksum");
  }
  return {};
}

}  // namespace resilver
