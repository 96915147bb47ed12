// The judge itself: what it must not let pass.
#include "tests/replica/volume_judge.h"

#include "tests/replica/cluster.h"

namespace resilver::replica {
namespace {

struct Judge : ::testing::Test {
  Judge() : judge({3, 7, 9}) { judge.attached(1); }

  std::uint64_t write(std::size_t block, Nanos begin, Nanos end, std::uint64_t attachment = 1) {
    const std::uint64_t version = judge.begin_write(block, attachment, begin);
    judge.acknowledged(block, version, attachment, end);
    return version;
  }
  std::string read(std::size_t block, std::uint64_t version, std::uint64_t attachment = 1) {
    const std::uint64_t token = judge.begin_read(block);
    return judge.end_read(block, token, attachment, content(block, version));
  }
  std::vector<std::byte> content(std::size_t block, std::uint64_t version) const {
    std::vector<std::byte> data(kBlockBytes);
    Cluster::fill(data, judge.address(block), version);
    return data;
  }
  VolumeJudge judge;
};

TEST_F(Judge, WhatWasAcknowledgedOrShownIsNotTakenBack) {
  EXPECT_EQ(read(0, 0), "");
  const auto first = write(0, 1, 2);
  EXPECT_EQ(read(0, first), "");
  EXPECT_NE(read(0, 0), "");
  const auto unknown = judge.begin_write(0, 1, 3);
  judge.given_up(0, unknown);
  EXPECT_EQ(read(0, unknown), "") << "it may have happened";
  EXPECT_NE(read(0, first), "") << "and was shown";
  EXPECT_EQ(judge.at_rest(0, content(0, unknown)), "");
  EXPECT_NE(judge.at_rest(0, content(0, first)), "");
}

TEST_F(Judge, AWriteThatWasGivenUpDoesNotHappenBehindALaterAnswer) {
  const auto unknown = judge.begin_write(0, 1, 1);
  judge.given_up(0, unknown);
  EXPECT_EQ(read(0, 0), "");
  EXPECT_NE(read(0, unknown), "");
}

TEST_F(Judge, ASectorOfTwoWritesIsSeen) {
  const auto version = write(0, 1, 2);
  auto torn = content(0, version);
  const auto old = content(0, 0);
  std::copy_n(old.begin(), kSectorBytes, torn.begin() + kSectorBytes);
  EXPECT_NE(judge.end_read(0, judge.begin_read(0), 1, torn), "");
}

TEST_F(Judge, AnOlderAttachmentBeginsNothing) {
  const auto under_way = judge.begin_write(0, 1, 1);
  judge.attached(2);
  EXPECT_EQ(read(0, under_way, 2), "") << "it had begun before";
  const auto late = judge.begin_write(0, 1, 5);
  judge.acknowledged(0, late, 1, 6);
  EXPECT_NE(read(0, late, 2), "");
}

TEST_F(Judge, OnlyAPromotionTakesAcknowledgedWritesBackAndKeepsAPrefix) {
  const Nanos ms = kMillisecond;
  const auto a = write(0, 1 * ms, 2 * ms);
  const auto b = write(1, 3 * ms, 4 * ms);
  EXPECT_NE(read(0, 0), "") << "no promotion";
  judge.rolled_back();
  EXPECT_EQ(read(0, a), "");
  EXPECT_EQ(read(1, 0), "") << "the end is lost";
  EXPECT_EQ(judge.lost(), VolumeJudge::kSectors);
  EXPECT_NE(read(1, b), "") << "and stays lost";

  const auto c = write(0, 5 * ms, 6 * ms);
  const auto d = write(1, 7 * ms, 8 * ms);
  judge.rolled_back();
  EXPECT_EQ(read(1, d), "");
  EXPECT_NE(read(0, a), "") << "c came before d, which is kept";
  static_cast<void>(c);
}

TEST_F(Judge, APromotionMayShowAWriteOfUnknownOutcomeThatWasOverwrittenByWhatItLost) {
  const Nanos ms = kMillisecond;
  const auto first = write(0, 1 * ms, 2 * ms);
  const auto unknown = judge.begin_write(0, 1, 3 * ms);
  judge.given_up(0, unknown);
  write(0, 5 * ms, 6 * ms);
  EXPECT_NE(read(0, unknown), "") << "no promotion";
  judge.rolled_back();
  EXPECT_EQ(read(0, unknown), "");
  EXPECT_NE(read(0, first), "") << "and was shown";
}

TEST_F(Judge, WhatWasAcknowledgedLongAgoIsNeverLost) {
  const auto a = write(0, 1, 2);
  write(0, 3, 4);
  write(1, VolumeJudge::kMostLost + 100, VolumeJudge::kMostLost + 101);
  judge.rolled_back();
  EXPECT_NE(read(0, a), "");
}

}  // namespace
}  // namespace resilver::replica
