#include "replica/wire.h"

#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace resilver::replica {
namespace {

Record some_record() {
  Record record;
  record.volume = {1, 2};
  record.slots = {{11, {3, 3}, 0, 0}, {12, {4, 4}, 0, 0}};
  record = next_reign(record, {.nonce = 7, .seed = 5, .primary = 1}, {3}, 1);
  return next_epoch(record, {2}, 2);
}

PeerWelcome full_welcome() {
  PeerWelcome w;
  w.name = 3;
  w.refusal = Refusal::stale;
  w.inconsistent = true;
  w.base = {7, 2};
  w.known = some_record();
  w.marks = {5, {1, 2}, true, {1, 1}, {1, 3}, {1, 2}, {{{1, 2}, 3}}};
  w.durable_seq = 99;
  w.attachment = 4;
  w.size = 1 << 20;
  w.recent_known = true;
  w.recent = {{4096, 8192}, {65536, 4096}};
  return w;
}

template <std::size_t I = 0>
void collect(std::vector<Body>& all) {
  if constexpr (I < std::variant_size_v<Body>) {
    all.emplace_back(std::in_place_index<I>);
    collect<I + 1>(all);
  }
}

TEST(Wire, EveryMessageComesBackAsItself) {
  std::vector<Body> all;
  collect(all);
  std::set<std::uint8_t> numbers;
  for (const Body& body : all) {
    numbers.insert(type_number(body));
    const Message message = encode(17, body);
    const auto decoded = decode(message.head);
    ASSERT_TRUE(decoded.has_value()) << int{type_number(body)};
    EXPECT_EQ(decoded->epoch, 17u);
    EXPECT_EQ(decoded->body.index(), body.index());
    EXPECT_EQ(encode(17, decoded->body).head, message.head);
  }
  EXPECT_EQ(numbers.size(), all.size());
}

TEST(Wire, FieldsKeepTheirValues) {
  const auto decoded = decode(encode(5, full_welcome()).head);
  ASSERT_TRUE(decoded.has_value());
  const auto& w = std::get<PeerWelcome>(decoded->body);
  EXPECT_EQ(w.name, 3u);
  EXPECT_EQ(w.refusal, Refusal::stale);
  EXPECT_TRUE(w.inconsistent);
  EXPECT_EQ(w.base, (Head{7, 2}));
  EXPECT_EQ(w.known, some_record());
  EXPECT_EQ(w.marks.peers, (std::vector<PeerMark>{{{1, 2}, 3}}));
  EXPECT_EQ(w.recent.size(), 2u);
  EXPECT_EQ(w.recent[1], (Extent{65536, 4096}));
}

TEST(Wire, LayoutOfARequestIsFixed) {
  const Request request{0x0102030405060708, 9, IoOp::write, true, 4096, 8192};
  const Message message = encode(0x11, request);
  ASSERT_EQ(message.head.size(), 12u + 8 + 8 + 1 + 1 + 8 + 8);
  EXPECT_EQ(static_cast<int>(message.head[0]), 3);     // version
  EXPECT_EQ(static_cast<int>(message.head[1]), 4);     // type
  EXPECT_EQ(static_cast<int>(message.head[4]), 0x11);  // epoch, little endian
  EXPECT_EQ(static_cast<int>(message.head[12]), 8);    // id
  EXPECT_EQ(static_cast<int>(message.head[19]), 1);
  EXPECT_EQ(static_cast<int>(message.head[28]), 1);  // op
}

TEST(Wire, EveryTruncationAndExtensionIsRefused) {
  const Message message = encode(5, full_welcome());
  for (std::size_t n = 0; n < message.head.size(); ++n) {
    EXPECT_FALSE(decode(std::span(message.head).first(n)).has_value()) << n;
  }
  auto longer = message.head;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode(longer).has_value());
}

TEST(Wire, OtherVersionsAndUnknownTypesAreNamedUnsupported) {
  auto head = encode(1, Ping{3}).head;
  head[0] = std::byte{kWireVersion + 1};
  EXPECT_EQ(decode(head).error().code, Errc::unsupported);
  head[0] = std::byte{kWireVersion};
  head[1] = std::byte{200};
  EXPECT_EQ(decode(head).error().code, Errc::unsupported);
}

TEST(Wire, ListsLongerThanAllowedAreRefused) {
  auto head = encode(1, ClearBits{}).head;
  head[12] = std::byte{0xff};
  head[13] = std::byte{0xff};
  head.resize(head.size() + 65535 * 16);
  EXPECT_FALSE(decode(head).has_value());
}

TEST(Wire, DamagedMessagesNeverDoMoreThanFail) {
  std::vector<Body> all;
  collect(all);
  all.push_back(full_welcome());
  Random random(1);
  for (int round = 0; round < 20000; ++round) {
    auto head = encode(random.next(), all[random.below(all.size())]).head;
    for (std::uint64_t n = random.below(4); n-- > 0;) {
      head[random.below(head.size())] = static_cast<std::byte>(random.below(256));
    }
    if (random.percent(20)) head.resize(random.below(head.size() + 1));
    if (random.percent(20)) head.push_back(static_cast<std::byte>(random.below(256)));
    const auto decoded = decode(head);
    if (decoded) {
      EXPECT_EQ(encode(decoded->epoch, decoded->body).head.size(), head.size());
    }
  }
}

TEST(Wire, RangesMustBeWholeBlocksInsideTheVolume) {
  EXPECT_TRUE(valid_range(4096, 4096, 8192));
  EXPECT_FALSE(valid_range(4096, 8192, 8192));
  EXPECT_FALSE(valid_range(512, 4096, 8192));
  EXPECT_FALSE(valid_range(0, 0, 8192));
  EXPECT_FALSE(valid_range(~0ull - 4095, 4096, 8192));
  EXPECT_FALSE(valid_range(0, kMaxTransfer + 4096, kMaxTransfer * 4));
}

}  // namespace
}  // namespace resilver::replica
