// Bytes from a stream as frames, and what they carry as messages: nothing longer than allowed is believed, what decodes
// encodes to the same bytes, no single changed bit of a good frame passes, nor one in another's place.
#include <vector>

#include "env/frame.h"
#include "replica/wire.h"
#include "tests/fuzz/fuzz.h"

using namespace resilver;

namespace {

void check_message(std::span<const std::byte> head) {
  const auto decoded = replica::decode(head);
  if (!decoded) return;
  const Message again = replica::encode(decoded->epoch, decoded->body);
  FUZZ_ASSERT(again.head.size() == head.size() && std::equal(head.begin(), head.end(), again.head.begin()));
}

// As a receiver does; returns what it took, 0 when the stream is refused or ends.
std::size_t take_frame(std::span<const std::byte> stream, std::uint32_t number) {
  if (stream.size() < kFrameBytes) return 0;
  const auto prefix = stream.first<kFrameBytes>();
  const auto frame = decode_frame(prefix);
  if (!frame) return 0;
  FUZZ_ASSERT(frame->head_len <= Message::kMaxHead && frame->body_len <= Message::kMaxBody);
  const auto rest = stream.subspan(kFrameBytes);
  if (rest.size() < frame->head_len) return 0;
  if (!check_frame_head(prefix, number, rest.first(frame->head_len))) return 0;
  check_message(rest.first(frame->head_len));
  if (rest.size() - frame->head_len < frame->body_len) return 0;
  if (!check_frame_body(*frame, rest.subspan(frame->head_len, frame->body_len))) return 0;
  return kFrameBytes + frame->head_len + frame->body_len;
}

// The input as the head of a good frame, and with one bit of it changed.
void check_sealed(std::span<const std::byte> head, std::size_t bit) {
  Message message;
  message.head.assign(head.begin(), head.end());
  std::vector<std::byte> bytes(kFrameBytes);
  encode_frame(message, 3, std::span<std::byte, kFrameBytes>(bytes.data(), kFrameBytes));
  bytes.insert(bytes.end(), head.begin(), head.end());
  FUZZ_ASSERT(take_frame(bytes, 3) == bytes.size() && take_frame(bytes, 4) == 0);
  bit %= bytes.size() * 8;
  bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  FUZZ_ASSERT(take_frame(bytes, 3) == 0);
}

}  // namespace

FUZZ_TARGET(data) {
  std::uint32_t number = 0;
  for (auto stream = data; const std::size_t taken = take_frame(stream, number); ++number)
    stream = stream.subspan(taken);
  check_message(data);
  std::size_t bit = data.size();
  for (const std::byte b : data.first(std::min<std::size_t>(data.size(), 8)))
    bit = bit * 31 + std::to_integer<unsigned>(b);
  check_sealed(data.first(std::min(data.size(), Message::kMaxHead)), bit);
}
