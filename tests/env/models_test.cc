#include "env/disk_model.h"
#include "env/link_model.h"

namespace resilver {
namespace {

constexpr DiskParameters kOneHead{8 * kMillisecond, 50 * kMicrosecond, 200'000'000, 100'000'000, 1, 10 * kMillisecond};

TEST(DiskModel, PresetsAreKnownByName) {
  for (const char* name : {"hdd", "sata-ssd", "nvme", "ostep"}) EXPECT_TRUE(disk_preset(name)) << name;
  const auto unknown = disk_preset("tape");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::not_found);
  EXPECT_EQ(disk_preset("ostep")->random_access, 10 * kMillisecond);
}

TEST(DiskModel, ARandomReadTakesAccessAndTransfer) {
  DiskTimer timer(kOneHead);
  // 4096 bytes at 200 MB/s are 20.48 us.
  EXPECT_EQ(timer.complete_at(IoOp::read, 1 << 20, 4096, 1000), 1000 + 8 * kMillisecond + 20'480);
}

TEST(DiskModel, TheNextBlockNeedsNoSeek) {
  DiskTimer timer(kOneHead);
  const Nanos first = timer.complete_at(IoOp::read, 1 << 20, 4096, 0);
  EXPECT_EQ(timer.complete_at(IoOp::read, (1 << 20) + 4096, 4096, first), first + 50 * kMicrosecond + 20'480);
  const Nanos second = timer.complete_at(IoOp::read, 0, 4096, kSecond);
  EXPECT_EQ(second, kSecond + 8 * kMillisecond + 20'480);
}

TEST(DiskModel, WritesHaveTheirOwnBandwidth) {
  DiskTimer timer(kOneHead);
  EXPECT_EQ(timer.complete_at(IoOp::write, 1 << 20, 4096, 0), 8 * kMillisecond + 40'960);
}

TEST(DiskModel, OneChannelServesOneAfterTheOther) {
  DiskTimer timer(kOneHead);
  const Nanos one = 8 * kMillisecond + 20'480;
  EXPECT_EQ(timer.complete_at(IoOp::read, 1 << 20, 4096, 0), one);
  EXPECT_EQ(timer.complete_at(IoOp::read, 1 << 21, 4096, 0), 2 * one);
  EXPECT_EQ(timer.complete_at(IoOp::read, 1 << 22, 4096, 0), 3 * one);
}

TEST(DiskModel, ChannelsOverlapAccessesButShareTheBus) {
  DiskTimer timer({100 * kMicrosecond, 100 * kMicrosecond, 1'000'000'000, 1'000'000'000, 4, 0});
  Nanos last = 0;
  for (int i = 0; i < 4; ++i) last = timer.complete_at(IoOp::read, (i + 1) * 1'048'576ull, 4096, 0);
  EXPECT_EQ(last, 100 * kMicrosecond + 4 * 4096);  // one access time for all, four transfers
  EXPECT_EQ(timer.complete_at(IoOp::read, 1ull << 30, 4096, 0), 100 * kMicrosecond + 4096 + 100 * kMicrosecond + 4096);
}

TEST(DiskModel, AFlushWaitsForWhatIsQueuedAndHoldsBackWhatComes) {
  DiskTimer timer(kOneHead);
  const Nanos written = timer.complete_at(IoOp::write, 1 << 20, 4096, 0);
  const Nanos flushed = timer.complete_at(IoOp::flush, 0, 0, 0);
  EXPECT_EQ(flushed, written + 10 * kMillisecond);
  EXPECT_GE(timer.complete_at(IoOp::read, 1 << 22, 4096, 0), flushed + 8 * kMillisecond);
}

TEST(DiskModel, LargeTransfersDoNotOverflow) {
  DiskTimer timer(kOneHead);
  const std::uint64_t tebibyte = 1ull << 40;
  const Nanos done = timer.complete_at(IoOp::read, 0, tebibyte, 0);
  EXPECT_NEAR(static_cast<double>(done) / kSecond, static_cast<double>(tebibyte) / 200e6, 0.1);
}

TEST(LinkModel, AnEmptyLinkTakesLatencyAndWireTime) {
  LinkTimer link({kMillisecond, 1'000'000, 0});
  EXPECT_EQ(link.arrive_at(1000, 500), 500 + kMillisecond + kMillisecond);
}

TEST(LinkModel, UnlimitedBandwidthIsLatencyOnly) {
  LinkTimer link({kMillisecond, 0, 0});
  EXPECT_EQ(link.arrive_at(1ull << 40, 0), kMillisecond);
  EXPECT_EQ(link.arrive_at(1, 0), kMillisecond);
  EXPECT_EQ(link.room_at(7), 7);
}

TEST(LinkModel, MessagesQueueForTheWireNotForTheLatency) {
  LinkTimer link({10 * kMillisecond, 1'000'000, 0});
  EXPECT_EQ(link.arrive_at(1000, 0), 11 * kMillisecond);
  EXPECT_EQ(link.arrive_at(1000, 0), 12 * kMillisecond);
  EXPECT_EQ(link.arrive_at(1000, kSecond), kSecond + 11 * kMillisecond);  // idle in between: nothing is saved up
}

TEST(LinkModel, TheSenderIsHeldBackWhileTheQueueIsFull) {
  LinkTimer link({0, 1'000'000, 10'000});
  EXPECT_EQ(link.room_at(0), 0);
  link.arrive_at(10'000, 0);
  EXPECT_EQ(link.room_at(0), 0);  // just full
  link.arrive_at(5'000, 0);
  EXPECT_EQ(link.room_at(0), 5 * kMillisecond);
  EXPECT_EQ(link.room_at(6 * kMillisecond), 6 * kMillisecond);
}

TEST(LinkModel, ChangedParametersHoldFromNowOn) {
  LinkTimer link({kMillisecond, 1'000'000, 0});
  const Nanos first = link.arrive_at(1000, 0);
  link.parameters().latency = 5 * kMillisecond;
  link.parameters().bandwidth = 500'000;
  EXPECT_EQ(first, 2 * kMillisecond);
  EXPECT_EQ(link.arrive_at(1000, 0), kMillisecond + 2 * kMillisecond + 5 * kMillisecond);
}

}  // namespace
}  // namespace resilver
