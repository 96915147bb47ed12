// Peers that are broken, strange or old: refused, told once per peer and minute, and of no harm to anybody else.
#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

using Script = std::vector<Message>;

// Says the script to node B from a machine of its own, and waits until B has ended the session; false: it has not after 10 s.
bool say(Cluster& cluster, const std::string& from, Script script) {
  sim::Node& stranger = cluster.world.add_node(from);
  bool ended = false;
  stranger.start([&](Env& env) -> Task<void> {
    const Nanos until = env.scheduler().now() + 10 * kSecond;
    auto connection = co_await env.network().connect("B", until);
    if (!connection) co_return;
    for (Message& message : script) {
      if (!co_await (*connection)->send(std::move(message), until)) break;
    }
    for (;;) {
      auto answer = co_await (*connection)->receive(until);
      if (answer) continue;
      ended = answer.error().code == Errc::closed;
      break;
    }
  });
  EXPECT_TRUE(cluster.run_until([&] { return !stranger.running(); }));
  return ended;
}

Message of_version(std::uint8_t version, Message message) {
  message.head[0] = static_cast<std::byte>(version);
  return message;
}

int told(const Cluster& cluster, NodeId peer, Errc reason) {
  int n = 0;
  for (const auto& [node, event] : cluster.events)
    n += node == 1 && event.kind == EventKind::peer_refused && event.peer == peer && event.reason == reason;
  return n;
}

Message hello(const Record& record) { return encode(record.epoch, Cluster::hello_of(record, 2)); }

TEST(Garbage, AnotherVersionOfTheProtocolIsRefusedAndToldOnceAMinute) {
  Cluster cluster(91);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(say(cluster, "old" + std::to_string(i), {of_version(1, encode(0, Ping{1}))}));
  EXPECT_EQ(told(cluster, kNoNode, Errc::unsupported), 1);
  EXPECT_EQ(cluster.status(1).refusals, 20u);
  cluster.run_for(61 * kSecond);
  EXPECT_TRUE(say(cluster, "late", {of_version(2, encode(0, Ping{1}))}));
  EXPECT_EQ(told(cluster, kNoNode, Errc::unsupported), 2);
  EXPECT_EQ(cluster.primary(), 0);
  EXPECT_EQ(cluster.status(0).in_sync.count(), 3u);
}

TEST(Garbage, APeerThatStopsInTheMiddleOfTheHandshakeIsLetGo) {
  Cluster cluster(92);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  EXPECT_TRUE(say(cluster, "silent", {})) << "not a word";
  EXPECT_EQ(told(cluster, kNoNode, Errc::timeout), 1);
  // A higher epoch ends the session of the real primary, which asks the arbiter, finds itself in office and comes back.
  EXPECT_TRUE(say(cluster, "half", {hello(cluster.next_record(2))})) << "greeted, then not a word";
  ASSERT_TRUE(cluster.wait_full(60 * kSecond));
  EXPECT_TRUE(cluster.copies_equal());
}

TEST(Garbage, ReplayedAndMisplacedMessagesEndTheSession) {
  Cluster cluster(93);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  cluster.write_range(0, 10, 1);
  cluster.node(2).crash();
  ASSERT_TRUE(cluster.run_until([&] { return cluster.count(EventKind::peer_left) == 1; }));
  const Record now = cluster.arbiter_record(), next = cluster.next_record(2);
  const std::uint64_t epoch = next.epoch;
  BufferPool pool(std::size_t{2} << 20);
  Buffer body = pool.allocate(kBlockBytes);
  const Message write = encode(epoch, Replicate{1, 0, IoOp::write, 4096, 4096}, body);
  const auto resend = [&] { return Message{write.head, body}; };
  EXPECT_TRUE(say(cluster, "x1", {hello(next), resend()})) << "a write before its Configure";
  const Message configure = encode(epoch, Configure{1, next, 0, 5, epoch, {}});
  EXPECT_TRUE(say(cluster, "x2", {hello(next), Message{configure.head, {}}, resend()})) << "a number that was not next";
  EXPECT_TRUE(say(cluster, "x3", {hello(now)})) << "a record whose primary is somebody else";
  EXPECT_TRUE(say(cluster, "x4", {hello(next), encode(epoch, HashRequest{1, {4096, kMaxTransfer * 2}})}));
  EXPECT_TRUE(say(cluster, "x5", {hello(next), encode(epoch, Discard{{1, 1}, next})}))
      << "no split brain, nothing to discard";
  EXPECT_GE(told(cluster, 2, Errc::bad_input), 1);
  std::uint64_t version = 0;
  EXPECT_EQ(cluster.read(5, &version), Errc::ok);
  EXPECT_EQ(version, 1u);
}

TEST(Garbage, TruncatedAndDamagedHeadsAreRefused) {
  Cluster cluster(94);
  cluster.start_all();
  ASSERT_TRUE(cluster.wait_full());
  const Message good = hello(cluster.next_record(2));
  for (std::size_t keep : {std::size_t{0}, std::size_t{3}, std::size_t{11}, good.head.size() - 1}) {
    Message half;
    half.head.assign(good.head.begin(), good.head.begin() + static_cast<std::ptrdiff_t>(keep));
    Script script;
    script.push_back(std::move(half));
    EXPECT_TRUE(say(cluster, "half" + std::to_string(keep), std::move(script)));
  }
  Message longest = good;
  longest.head.resize(Message::kMaxHead);
  Script script;
  script.push_back(std::move(longest));
  EXPECT_TRUE(say(cluster, "long", std::move(script)));
  EXPECT_EQ(told(cluster, kNoNode, Errc::corrupt), 1);
  EXPECT_EQ(cluster.status(1).refusals, 5u);
  EXPECT_EQ(cluster.primary(), 0);
}

}  // namespace
}  // namespace resilver::replica
