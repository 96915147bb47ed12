// Questions to a node and its answers as text.
#include "service/control.h"

#include <gtest/gtest.h>

namespace resilver::service {
namespace {

// As long as an answer can become.
Answer large() {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  Answer answer;
  NodeStatus& status = answer.status.emplace();
  status.volume = std::string(64, 'v');
  status.node = std::string(64, 'n');
  for (replica::NodeId id = 0; id < replica::kMaxNodes; ++id) {
    replica::PeerStatus peer;
    peer.id = id;
    peer.behind_bytes = peer.resync_done_bytes = peer.resync_total_bytes = peer.divergent_bytes = kHuge;
    status.replica.peers.push_back(peer);
    status.rates.push_back({id, kHuge});
  }
  status.replica.peers[3].divergent.assign(kMaxListed, {kHuge, kHuge});
  status.replica.peers[3].diverged = true;
  status.replica.role = replica::Role::primary;
  status.replica.in_sync.add(31);
  status.array = ArrayReport{.state = std::string(1000, 's'), .recovery = "rebuild", .lost_blocks = kHuge};
  return answer;
}

TEST(Control, AnswersTravelWholeAndFitOneMessage) {
  const std::string text = to_json(large());
  EXPECT_LE(text.size(), Message::kMaxHead);
  const Result<Answer> read = answer_from_json(text);
  ASSERT_TRUE(read.has_value()) << to_string(read.error());
  ASSERT_TRUE(read->status.has_value());
  EXPECT_EQ(read->status->replica.peers[3].divergent.size(), kMaxListed);
  EXPECT_EQ(read->status->replica.role, replica::Role::primary);
  EXPECT_TRUE(read->status->replica.in_sync.contains(31));
  EXPECT_EQ(read->status->array->recovery, "rebuild");
  EXPECT_FALSE(read->verify.has_value());
  EXPECT_EQ(to_json(*read), text);
}

TEST(Control, ReportsOfAVerifyFitOneMessage) {
  Answer answer;
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  answer.verify.emplace().different.assign(kMaxListed, {31, {kHuge, kHuge}});
  const std::string text = to_json(answer);
  EXPECT_LE(text.size(), Message::kMaxHead);
  EXPECT_EQ(answer_from_json(text)->verify->different.size(), kMaxListed);
}

TEST(Control, OrdersTravelWhole) {
  Order order;
  order.volume = {~std::uint64_t{0}, 1};
  order.verb = Verb::resolve;
  order.discard_local = true;
  order.peer = 7;
  const Result<Order> read = order_from_json(to_json(order));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(to_json(*read), to_json(order));
  EXPECT_EQ(read->verb, Verb::resolve);
}

TEST(Control, AnyTextGivesAnError) {
  for (const std::string text : {"", "{", "[]", "{\"verb\":\"status\"}", "\xff\xff", "{\"error\":-1}", "null"}) {
    EXPECT_EQ(order_from_json(text).error().code, Errc::bad_input) << text;
    EXPECT_EQ(answer_from_json(text).error().code, Errc::bad_input) << text;
  }
  EXPECT_FALSE(order_from_json(std::string(60'000, '[')).has_value());
}

}  // namespace
}  // namespace resilver::service
