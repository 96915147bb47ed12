#include "env/frame.h"

#include <array>
#include <cstring>

namespace resilver {
namespace {

using Prefix = std::array<std::byte, kFrameBytes>;

struct Frame : testing::Test {
  Message make(std::size_t head, std::size_t body) {
    Message message;
    for (std::size_t i = 0; i < head; ++i) message.head.push_back(static_cast<std::byte>(i * 7));
    if (body > 0) {
      message.body = pool.allocate(body);
      for (std::size_t i = 0; i < body; ++i) message.body.data()[i] = static_cast<std::byte>(i * 13);
    }
    return message;
  }
  // What a receiver does with the whole frame.
  static bool accepted(const Prefix& raw, const Message& message) {
    const auto prefix = decode_frame(raw);
    return prefix && prefix->head_len == message.head.size() && check_frame_head(raw, 7, message.head) &&
           check_frame_body(*prefix, message.body.bytes());
  }
  BufferPool pool{std::size_t{4} << 20};
};

TEST_F(Frame, RoundTripsAtEverySizeThatIsAllowed) {
  for (std::size_t head : {std::size_t{0}, std::size_t{1}, std::size_t{100}, Message::kMaxHead}) {
    for (std::size_t body : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, Message::kMaxBody}) {
      const Message message = make(head, body);
      Prefix raw;
      encode_frame(message, 7, raw);
      EXPECT_TRUE(accepted(raw, message)) << head << " " << body;
      EXPECT_EQ(wire_bytes(message), 24 + head + body);
    }
  }
}

TEST_F(Frame, IsLaidOutAsDocumented) {
  const Message message = make(3, 5);
  Prefix raw;
  encode_frame(message, 7, raw);
  EXPECT_EQ(std::memcmp(raw.data(), "RSLV\2\0\0\0\3\0\0\0\5\0\0\0", 16), 0);
}

TEST_F(Frame, AnyFlippedBitIsSeen) {
  Message message = make(20, 300);
  Prefix raw;
  encode_frame(message, 7, raw);
  const auto flip = [](std::byte& at, int bit) { at ^= static_cast<std::byte>(1 << bit); };
  for (int bit = 0; bit < 8; ++bit) {
    for (std::byte& at : raw) {
      flip(at, bit);
      EXPECT_FALSE(accepted(raw, message)) << "prefix byte " << (&at - raw.data()) << " bit " << bit;
      flip(at, bit);
    }
    for (std::byte& at : message.head) {
      flip(at, bit);
      EXPECT_FALSE(accepted(raw, message));
      flip(at, bit);
    }
    for (std::byte& at : message.body.bytes()) {
      flip(at, bit);
      EXPECT_FALSE(accepted(raw, message));
      flip(at, bit);
    }
  }
  EXPECT_TRUE(accepted(raw, message));
}

TEST_F(Frame, AFrameInAnothersPlaceIsSeen) {
  const Message message = make(20, 300);
  Prefix raw;
  encode_frame(message, 7, raw);
  for (const std::uint32_t number : {0u, 6u, 8u, 0xffffffffu})
    EXPECT_FALSE(check_frame_head(raw, number, message.head));
  EXPECT_TRUE(check_frame_head(raw, 7, message.head));
}

TEST_F(Frame, LengthsBeyondTheLimitsAreRefusedBeforeTheyAreBelieved) {
  Prefix raw;
  encode_frame(make(0, 0), 0, raw);
  const std::uint32_t too_long[] = {Message::kMaxHead + 1, Message::kMaxBody + 1, 0xffffffffu};
  for (std::size_t field : {8u, 12u}) {
    for (std::uint32_t length : too_long) {
      if (field == 12 && length <= Message::kMaxBody) continue;
      Prefix bad = raw;
      std::memcpy(&bad[field], &length, 4);
      const auto prefix = decode_frame(bad);
      ASSERT_FALSE(prefix);
      EXPECT_EQ(prefix.error().code, Errc::corrupt);
    }
  }
}

TEST_F(Frame, AnotherVersionIsRefusedByName) {
  Prefix raw;
  encode_frame(make(0, 0), 0, raw);
  raw[4] = std::byte{1};
  const auto prefix = decode_frame(raw);
  ASSERT_FALSE(prefix);
  EXPECT_NE(prefix.error().what.find("version"), std::string::npos);
}

}  // namespace
}  // namespace resilver
