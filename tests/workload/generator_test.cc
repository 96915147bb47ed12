#include "workload/generator.h"

#include <gtest/gtest.h>

#include <set>

namespace resilver::workload {
namespace {

LoadSpec spec(Rw rw) {
  LoadSpec s;
  s.rw = rw;
  s.bs = 16384;
  s.begin = 65536;
  s.end = 65536 + 10 * 16384 + 4096;
  s.rate_iops = 3000;
  s.seed = 7;
  return s;
}

bool same(const LoadOp& a, const LoadOp& b) {
  return a.kind == b.kind && a.offset == b.offset && a.length == b.length && a.intended == b.intended;
}

TEST(Generator, SameSeedGivesTheSameStreamAndAnotherSeedAnother) {
  LoadSpec s = spec(Rw::randrw);
  s.flush_every = 5;
  Generator a(s), b(s);
  s.seed = 8;
  Generator c(s);
  bool differs = false;
  for (int i = 0; i < 1000; ++i) {
    const LoadOp op = a.next();
    EXPECT_TRUE(same(op, b.next()));
    differs |= !same(op, c.next());
  }
  EXPECT_TRUE(differs);
}

TEST(Generator, EveryOperationLiesInTheRangeAndIsAligned) {
  for (const Rw rw : {Rw::read, Rw::write, Rw::randread, Rw::randwrite, Rw::rw, Rw::randrw}) {
    const LoadSpec s = spec(rw);
    Generator generator(s);
    std::set<std::uint64_t> places;
    for (int i = 0; i < 500; ++i) {
      const LoadOp op = generator.next();
      EXPECT_GE(op.offset, s.begin);
      EXPECT_LE(op.offset + op.length, s.end);
      EXPECT_EQ((op.offset - s.begin) % s.bs, 0u);
      places.insert(op.offset);
    }
    EXPECT_EQ(places.size(), 10u);
  }
}

TEST(Generator, KindsAreWhatFioSays) {
  const auto reads = [](Rw rw, std::uint32_t mix) {
    LoadSpec s = spec(rw);
    s.rwmixread = mix;
    Generator generator(s);
    int count = 0;
    for (int i = 0; i < 10000; ++i) count += generator.next().kind == LoadKind::read;
    return count;
  };
  EXPECT_EQ(reads(Rw::read, 0), 10000);
  EXPECT_EQ(reads(Rw::randread, 0), 10000);
  EXPECT_EQ(reads(Rw::write, 100), 0);
  EXPECT_EQ(reads(Rw::randwrite, 100), 0);
  EXPECT_NEAR(reads(Rw::randrw, 70), 7000, 200);
  EXPECT_NEAR(reads(Rw::rw, 30), 3000, 200);
  EXPECT_EQ(reads(Rw::randrw, 100), 10000);
  EXPECT_EQ(reads(Rw::randrw, 0), 0);
}

TEST(Generator, SequentialReadsAndWritesEachGoRound) {
  Generator generator(spec(Rw::rw));
  std::uint64_t next[2] = {0, 0};
  for (int i = 0; i < 100; ++i) {
    const LoadOp op = generator.next();
    auto& place = next[op.kind == LoadKind::read ? 0 : 1];
    EXPECT_EQ(op.offset, 65536 + place * 16384);
    place = (place + 1) % 10;
  }
}

TEST(Generator, IntendedStartsDoNotDrift) {
  Generator generator(spec(Rw::randread));
  for (std::uint64_t i = 0; i < 9001; ++i) {
    EXPECT_EQ(generator.next().intended, static_cast<Nanos>(i * 1'000'000'000 / 3000));
  }
}

TEST(Generator, AFlushFollowsEveryNthWriteAndTakesNoTurn) {
  LoadSpec s = spec(Rw::randwrite);
  s.flush_every = 3;
  Generator generator(s);
  std::uint64_t requests = 0;
  for (int i = 0; i < 400; ++i) {
    const LoadOp op = generator.next();
    if (i % 4 == 3) {
      EXPECT_EQ(op.kind, LoadKind::flush);
      EXPECT_EQ(op.intended, static_cast<Nanos>((requests - 1) * 1'000'000'000 / 3000));
    } else {
      EXPECT_EQ(op.kind, LoadKind::write);
      ++requests;
    }
  }
}

TEST(Generator, RedirectLeavesTheMainStreamAlone) {
  Generator a(spec(Rw::randrw)), b(spec(Rw::randrw));
  for (int i = 0; i < 300; ++i) {
    const LoadOp op = a.next();
    EXPECT_TRUE(same(op, b.next()));
    LoadOp other = op;
    EXPECT_TRUE(a.redirect(other));
    EXPECT_EQ(other.intended, op.intended);
    EXPECT_LE(other.offset + other.length, spec(Rw::randrw).end);
  }
  Generator sequential(spec(Rw::write));
  LoadOp op = sequential.next();
  EXPECT_FALSE(sequential.redirect(op));
}

TEST(Generator, ANewRateHoldsFromTheNextOperationOn) {
  LoadSpec s = spec(Rw::randread);
  s.rate_iops = 1000;
  Generator generator(s);
  for (int i = 0; i < 10; ++i) generator.next();
  generator.set_rate(100);
  EXPECT_EQ(generator.next().intended, 10 * kMillisecond);
  EXPECT_EQ(generator.next().intended, 20 * kMillisecond);
  generator.set_rate(1000);
  EXPECT_EQ(generator.next().intended, 30 * kMillisecond);
  EXPECT_EQ(generator.next().intended, 31 * kMillisecond);
}

TEST(Generator, WhatIsDrawnToMeetOverlapsAndStaysInTheRange) {
  LoadSpec s = spec(Rw::randrw);
  s.overlap = 30;
  Generator drawn(s);
  s.overlap = 0;
  Generator plain(s);
  int wanted = 0;
  std::set<std::uint64_t> offsets;
  for (int i = 0; i < 2000; ++i) {
    LoadOp op = drawn.next();
    EXPECT_TRUE(same(op, plain.next())) << "the stream stays what it was";
    EXPECT_FALSE(plain.wants_conflict());
    const LoadOp other{LoadKind::write, s.begin + static_cast<std::uint64_t>(i % 10) * s.bs, s.bs, 0};
    if (!drawn.wants_conflict()) continue;
    ++wanted;
    drawn.meet(op, {&other, 1});
    EXPECT_TRUE(op.offset < other.offset + other.length && other.offset < op.offset + op.length);
    EXPECT_GE(op.offset, s.begin);
    EXPECT_LE(op.offset + op.length, s.end);
    EXPECT_EQ(op.offset % 4096, 0u);
    offsets.insert(op.offset);
  }
  EXPECT_GT(wanted, 500);
  EXPECT_LT(wanted, 700);
  EXPECT_GT(offsets.size(), 30u) << "parts overlap, too";
}

}  // namespace
}  // namespace resilver::workload
