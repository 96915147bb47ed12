// What the oracle calls lost, stale, corrupt and unreadable, and how it counts.
#include "workload/oracle.h"

#include <cstring>
#include <vector>

#include "base/random.h"
#include "base/version.h"

namespace resilver::workload {
namespace {

constexpr std::uint64_t kVolumeBytes = 8 << 20;

OracleConfig config(Durability durability = Durability::on_ack) {
  OracleConfig c;
  c.volume_id = 42;
  c.volume_bytes = kVolumeBytes;
  c.durability = durability;
  return c;
}

// An oracle and a volume that does what it is told, or the test lies in its name.
struct Volume {
  explicit Volume(const OracleConfig& c = config(), History* history = nullptr)
      : oracle(c, history), bytes(c.volume_bytes) {}

  std::vector<std::byte> write(std::uint64_t offset, std::uint64_t length,
                               WriteOutcome outcome = WriteOutcome::acknowledged, bool apply = true,
                               SectorKind kind = SectorKind::data) {
    const OpHandle op = oracle.begin_write(++now, offset, length, kind);
    std::vector<std::byte> data(length);
    oracle.encode(op, data);
    if (apply) put(offset, data);
    oracle.end_write(op, ++now, outcome, outcome == WriteOutcome::unknown ? Errc::timeout : Errc::ok);
    return data;
  }
  void put(std::uint64_t offset, std::span<const std::byte> data) {
    std::memcpy(bytes.data() + offset, data.data(), data.size());
  }
  ReadVerdict read(std::uint64_t offset, std::uint64_t length) {
    const OpHandle op = oracle.begin_read(++now, offset, length);
    return oracle.end_read(op, ++now, std::span(bytes).subspan(offset, length));
  }
  void flush(Errc status = Errc::ok) {
    const OpHandle op = oracle.begin_flush(++now);
    oracle.end_flush(op, ++now, status);
  }
  void read_back() {
    oracle.begin_final(++now);
    std::uint64_t at = 0;
    for (;;) {
      const Oracle::Run run = oracle.next_written(at, 65536);
      if (run.length == 0) return;
      read(run.offset, run.length);
      at = run.offset + run.length;
    }
  }
  const OracleCounts& counts() const { return oracle.counts(); }

  Oracle oracle;
  std::vector<std::byte> bytes;
  Nanos now = 0;
};

TEST(Oracle, AVolumeThatKeepsItsWordIsNotBlamed) {
  Volume v;
  Random random(3);
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t offset = random.below(kVolumeBytes / 16384) * 16384;
    if (random.percent(50)) {
      v.write(offset, 16384);
    } else {
      EXPECT_TRUE(v.read(offset, 16384).good());
    }
  }
  v.read_back();
  EXPECT_EQ(v.counts().stale_reads + v.counts().corrupt_reads + v.counts().lost_writes, 0u);
  EXPECT_EQ(v.oracle.tracked_blocks(), 0u);
  EXPECT_GT(v.counts().bytes_read_back, kVolumeBytes / 2);
}

TEST(Oracle, AnOlderVersionIsAStaleReadAndListed) {
  Volume v;
  const auto old = v.write(8192, 8192);
  v.write(8192, 8192);
  v.put(12288, std::span(old).subspan(4096, 512));
  const ReadVerdict verdict = v.read(0, 16384);
  EXPECT_TRUE(verdict.stale);
  EXPECT_FALSE(verdict.corrupt);
  EXPECT_EQ(v.counts().stale_reads, 1u);
  EXPECT_EQ(v.counts().stale_sectors, 1u);
  EXPECT_EQ(v.oracle.stale().ranges(), (std::vector<Range>{{24, 25}}));
  EXPECT_EQ(v.counts().lost_writes, 0u);
}

TEST(Oracle, ZeroesWhereSomethingWasAcknowledgedAreStale) {
  Volume v;
  v.write(0, 4096, WriteOutcome::acknowledged, false);
  EXPECT_TRUE(v.read(0, 4096).stale);
}

TEST(Oracle, DamagedMisplacedAndForeignDataIsCorrupt) {
  Volume v;
  const auto data = v.write(0, 8192);
  v.bytes[100] ^= std::byte{1};
  EXPECT_TRUE(v.read(0, 4096).corrupt);
  v.put(0, std::span(data).subspan(4096, 4096));  // misdirected
  EXPECT_TRUE(v.read(0, 4096).corrupt);
  for (std::uint64_t s = 0; s < 8; ++s) encode_sector({43, s, 1, SectorKind::data, 1}, v.bytes.data() + s * 512);
  EXPECT_TRUE(v.read(0, 4096).corrupt);
  for (std::uint64_t s = 0; s < 8; ++s) encode_sector({42, s, 7, SectorKind::data, 1}, v.bytes.data() + s * 512);
  EXPECT_TRUE(v.read(0, 4096).corrupt) << "a version that was never issued";
  EXPECT_EQ(v.counts().corrupt_reads, 4u);
  EXPECT_EQ(v.counts().stale_reads, 0u);
  EXPECT_EQ(v.oracle.corrupt().ranges(), (std::vector<Range>{{0, 8}}));
}

TEST(Oracle, AnUnknownWriteMayComeLateOrNeverButOnceSeenItStays) {
  Volume v;
  const auto first = v.write(0, 4096);
  const auto late = v.write(0, 4096, WriteOutcome::unknown, false);
  EXPECT_TRUE(v.read(0, 4096).good());
  const auto third = v.write(0, 4096);
  EXPECT_TRUE(v.read(0, 4096).good());
  v.put(0, late);
  EXPECT_TRUE(v.read(0, 4096).good());
  v.put(0, third);
  EXPECT_TRUE(v.read(0, 4096).stale);
  v.put(0, first);
  EXPECT_TRUE(v.read(0, 4096).stale);
  EXPECT_EQ(v.counts().unknown_writes, 1u);
  EXPECT_EQ(v.oracle.tracked_blocks(), 0u) << "what is settled costs nothing";
}

TEST(Oracle, AnUnknownWriteMayBeTorn) {
  Volume v;
  v.write(0, 4096);
  const auto torn = v.write(0, 4096, WriteOutcome::unknown, false);
  v.put(1024, std::span(torn).subspan(1024, 512));
  EXPECT_TRUE(v.read(0, 4096).good());
  v.put(1536, std::span(torn).subspan(1536, 512));
  EXPECT_TRUE(v.read(0, 4096).good());
  Volume copy = std::move(v);
  copy.write(0, 4096);
  EXPECT_TRUE(copy.read(0, 4096).good());
}

TEST(Oracle, TheFinalReadingCountsEachLostWriteOnce) {
  Volume v;
  const auto old = v.write(0, 32768);
  v.write(0, 16384, WriteOutcome::acknowledged, false);
  v.write(20480, 4096, WriteOutcome::acknowledged, false);
  v.read_back();
  EXPECT_EQ(v.counts().lost_writes, 2u);
  EXPECT_EQ(v.counts().lost_sectors, 40u);
  EXPECT_EQ(v.counts().stale_reads, 0u);
  EXPECT_EQ(v.oracle.lost().ranges(), (std::vector<Range>{{0, 32}, {40, 48}}));
}

TEST(Oracle, WhatCannotBeReadAtTheEndIsLostIfItWasAcknowledged) {
  Volume v;
  v.write(0, 16384);
  v.write(4096, 4096, WriteOutcome::unknown, false);
  v.oracle.begin_final(1);
  for (const std::uint64_t offset : {0u, 4096u, 16384u}) {
    const OpHandle op = v.oracle.begin_read(1, offset, 4096);
    v.oracle.end_read_error(op, 2, Errc::medium);
  }
  EXPECT_EQ(v.counts().lost_writes, 1u);
  EXPECT_EQ(v.counts().unreadable_bytes, 12288u);
  EXPECT_EQ(v.oracle.unreadable().ranges(), (std::vector<Range>{{0, 16}, {32, 40}}));
}

TEST(Oracle, AnErrorOfServiceIsNoUnreadableBlock) {
  Volume v;
  for (const Errc error : {Errc::timeout, Errc::closed, Errc::not_primary, Errc::medium, Errc::unavailable}) {
    const OpHandle op = v.oracle.begin_read(1, 0, 4096);
    v.oracle.end_read_error(op, 2, error);
  }
  EXPECT_EQ(v.counts().failed_reads, 3u);
  EXPECT_EQ(v.counts().unreadable_reads, 2u);
}

TEST(Oracle, AnOverwriteByTheClientIsKeptFaithfullyAndCounted) {
  Volume v;
  v.write(0, 32768);
  v.write(8192, 8192, WriteOutcome::acknowledged, true, SectorKind::damage);
  v.write(8192, 4096);
  v.read_back();
  EXPECT_EQ(v.counts().damaged_sectors, 8u);
  EXPECT_EQ(v.counts().lost_writes + v.counts().corrupt_reads, 0u);
}

TEST(Oracle, OnAckAPowerLossExcusesNothing) {
  Volume v;
  const auto old = v.write(0, 4096);
  v.write(0, 4096);
  v.oracle.note_power_loss(1);
  v.put(0, old);
  EXPECT_TRUE(v.read(0, 4096).stale);
}

TEST(Oracle, OnFlushAPowerLossMayBringBackWhatWasNotFlushedSectorBySector) {
  Volume v(config(Durability::on_flush));
  const auto ancient = v.write(0, 4096);
  const auto durable = v.write(0, 4096);
  v.flush();
  const auto first = v.write(0, 4096);
  v.write(0, 4096);
  v.oracle.note_power_loss(1);
  v.put(0, std::span(durable).subspan(0, 512));
  v.put(512, std::span(first).subspan(512, 512));
  EXPECT_TRUE(v.read(0, 4096).good());
  v.put(0, std::span(first).subspan(0, 512));  // a choice once seen is made
  EXPECT_TRUE(v.read(0, 4096).stale);
  v.put(0, std::span(ancient).subspan(0, 512));
  EXPECT_TRUE(v.read(0, 4096).stale);
}

TEST(Oracle, OnFlushOlderThanDurableIsLost) {
  Volume v(config(Durability::on_flush));
  const auto ancient = v.write(0, 4096);
  v.write(0, 4096);
  v.flush();
  v.oracle.note_power_loss(1);
  v.put(0, ancient);
  v.read_back();
  EXPECT_EQ(v.counts().lost_writes, 1u);
}

TEST(Oracle, OnFlushWhatIsDurableIsKnownAlsoWhereAWriteIsOpen) {
  Volume v(config(Durability::on_flush));
  const auto ancient = v.write(0, 4096);
  v.write(0, 4096, WriteOutcome::unknown, false);  // keeps the block tracked
  const auto durable = v.write(0, 4096);
  v.flush();
  EXPECT_TRUE(v.read(0, 4096).good());
  v.write(0, 4096);
  v.oracle.note_power_loss(1);
  v.put(0, durable);
  EXPECT_TRUE(v.read(0, 4096).good());

  v.write(0, 4096);
  v.flush();
  EXPECT_TRUE(v.read(0, 4096).good());
  v.write(0, 4096);
  v.oracle.note_power_loss(2);
  v.put(0, durable);
  EXPECT_TRUE(v.read(0, 4096).stale);
  v.put(0, ancient);
  EXPECT_TRUE(v.read(0, 4096).stale);
  std::fill_n(v.bytes.begin(), 4096, std::byte{0});
  EXPECT_TRUE(v.read(0, 4096).stale);
}

TEST(Oracle, AFlushThatFailedOrBeganEarlierCoversNothing) {
  Volume v(config(Durability::on_flush));
  const OpHandle early = v.oracle.begin_flush(1);
  v.write(0, 4096);
  v.oracle.end_flush(early, 2, Errc::ok);
  v.flush(Errc::timeout);
  v.oracle.note_power_loss(3);
  std::fill(v.bytes.begin(), v.bytes.end(), std::byte{0});
  EXPECT_TRUE(v.read(0, 4096).good());
  EXPECT_TRUE(v.read(0, 4096).good());
}

TEST(Oracle, OnFlushAnOverwriteDuringAFlushForgetsNothingOfWhatTheFlushCovers) {
  for (const bool flushed : {true, false}) {
    Volume v(config(Durability::on_flush));
    v.write(0, 4096);
    const OpHandle flush = v.oracle.begin_flush(++v.now);
    v.write(0, 4096);
    v.oracle.end_flush(flush, ++v.now, flushed ? Errc::ok : Errc::timeout);
    EXPECT_EQ(v.oracle.tracked_blocks(), 0u) << "what the flush settled costs nothing";
    v.oracle.note_power_loss(++v.now);
    std::fill(v.bytes.begin(), v.bytes.end(), std::byte{0});
    EXPECT_EQ(v.read(0, 4096).stale, flushed);
  }
}

TEST(Oracle, OnFlushEachOfTwoOpenFlushesCoversWhatWasCompleteWhenItBegan) {
  for (const bool second : {false, true}) {
    Volume v(config(Durability::on_flush));
    const auto first = v.write(0, 4096);
    const OpHandle early = v.oracle.begin_flush(++v.now);
    v.write(0, 4096);
    const OpHandle late = v.oracle.begin_flush(++v.now);
    v.write(0, 4096);
    v.oracle.end_flush(second ? late : early, ++v.now, Errc::ok);
    v.oracle.note_power_loss(++v.now);
    v.oracle.end_flush(second ? early : late, ++v.now, Errc::ok);  // too late to prove anything
    v.put(0, first);
    EXPECT_EQ(v.read(0, 4096).stale, second);
  }
}

TEST(Oracle, OnFlushAReadBesideAWriteThatWasInFlightAtALossMayShowEither) {
  Volume v(config(Durability::on_flush));
  const auto first = v.write(0, 4096);
  const OpHandle write = v.oracle.begin_write(++v.now, 0, 4096);
  std::vector<std::byte> second(4096);
  v.oracle.encode(write, second);
  v.oracle.note_power_loss(++v.now);
  const OpHandle read = v.oracle.begin_read(++v.now, 0, 4096);
  v.oracle.end_write(write, ++v.now, WriteOutcome::acknowledged);
  v.put(0, second);
  EXPECT_TRUE(v.read(0, 4096).good());
  EXPECT_TRUE(v.oracle.end_read(read, ++v.now, first).good());
  v.put(0, first);
  EXPECT_TRUE(v.read(0, 4096).stale);
}

TEST(Oracle, OnFlushAReadInFlightAtALossCounts) {
  Volume v(config(Durability::on_flush));
  const auto first = v.write(0, 4096);
  v.flush();
  v.write(0, 4096);
  const OpHandle read = v.oracle.begin_read(++v.now, 0, 4096);
  v.oracle.note_power_loss(++v.now);
  v.put(0, first);
  EXPECT_TRUE(v.oracle.end_read(read, ++v.now, std::vector<std::byte>(4096)).stale) << "older than what was flushed";
  EXPECT_TRUE(v.read(0, 4096).good());
}

TEST(Oracle, OnFlushATornSectorKeepsItsOwnFloor) {
  Volume v(config(Durability::on_flush));
  const auto first = v.write(0, 4096);
  v.flush();
  const auto second = v.write(0, 4096);
  v.oracle.note_power_loss(++v.now);
  v.put(0, first);
  v.put(512, std::span(second).subspan(512, 512));
  EXPECT_TRUE(v.read(0, 4096).good());  // the second sector kept the second write: that is on the disk
  v.write(0, 4096);
  v.oracle.note_power_loss(++v.now);
  v.put(512, std::span(first).subspan(512, 512));
  v.put(0, std::span(first).subspan(0, 512));
  EXPECT_TRUE(v.read(0, 4096).stale);
  EXPECT_EQ(v.oracle.stale().ranges(), (std::vector<Range>{{1, 2}}));
  v.write(0, 4096);
  v.flush();
  EXPECT_TRUE(v.read(0, 4096).good());
  EXPECT_EQ(v.oracle.tracked_blocks(), 0u) << "one version in all sectors again";
}

// Four writes one after another; the last `lost` of them are gone after a failover.
struct Failover {
  explicit Failover(std::size_t lost) : volume(config(Durability::prefix)) {
    for (std::uint64_t block = 0; block < 4; ++block) volume.write(block * 4096, 4096);
    const auto before = volume.bytes;
    for (std::uint64_t block = 0; block < 4; ++block) {
      newer.push_back(volume.write(block * 4096, 4096));
      if (block + lost >= 4) std::memcpy(volume.bytes.data() + block * 4096, before.data() + block * 4096, 4096);
    }
    volume.oracle.note_failover(++volume.now);
  }
  Volume volume;
  std::vector<std::vector<std::byte>> newer;
};

TEST(Oracle, AcrossAFailoverAPrefixMayBeKeptAndTheRestIsCountedAsLost) {
  for (std::size_t lost = 0; lost <= 4; ++lost) {
    Failover failover(lost);
    for (std::uint64_t block : {2, 0, 3, 1}) EXPECT_TRUE(failover.volume.read(block * 4096, 4096).good());
    EXPECT_EQ(failover.volume.counts().prefix_breaks, 0u);
    EXPECT_EQ(failover.volume.counts().lost_writes, lost);
    failover.volume.read_back();
    EXPECT_EQ(failover.volume.counts().lost_writes, lost) << "each once";
    EXPECT_EQ(failover.volume.counts().stale_reads, 0u);
  }
}

TEST(Oracle, AWriteThatIsKeptAfterALostOneIsNoPrefix) {
  for (const bool kept_first : {true, false}) {
    Failover failover(4);
    failover.volume.put(2 * 4096, failover.newer[2]);
    for (std::uint64_t block : kept_first ? std::vector<std::uint64_t>{2, 1} : std::vector<std::uint64_t>{1, 2}) {
      failover.volume.read(block * 4096, 4096);
    }
    EXPECT_EQ(failover.volume.counts().prefix_breaks, 1u) << kept_first;
    EXPECT_EQ(failover.volume.counts().stale_reads, 0u);
  }
  Failover later(4);
  later.volume.read(4096, 4096);
  later.volume.write(0, 4096);  // of the new reign: no matter what the old one lost
  EXPECT_TRUE(later.volume.read(0, 4096).good());
  EXPECT_EQ(later.volume.counts().prefix_breaks, 0u);
}

TEST(Oracle, AReadInFlightAtAFailoverShowsWhatWasLost) {
  Volume v(config(Durability::prefix));
  const auto first = v.write(0, 4096);
  v.write(0, 4096);
  const OpHandle read = v.oracle.begin_read(++v.now, 0, 4096);
  v.oracle.note_failover(++v.now);
  EXPECT_TRUE(v.oracle.end_read(read, ++v.now, first).good());
  v.write(0, 4096);
  EXPECT_EQ(v.counts().lost_writes, 1u);
}

TEST(Oracle, AReadThatMayHaveBeenAnsweredBeforeAFailoverShowsNothing) {
  Volume v(config(Durability::prefix));
  const auto first = v.write(0, 4096);
  const OpHandle read = v.oracle.begin_read(++v.now, 0, 4096);
  v.write(0, 4096);
  v.oracle.note_failover(++v.now);
  EXPECT_TRUE(v.oracle.end_read(read, ++v.now, first).good());
  EXPECT_EQ(v.counts().lost_writes, 0u);
  EXPECT_TRUE(v.read(0, 4096).good());
  EXPECT_EQ(v.counts().lost_writes, 0u);
}

TEST(Oracle, WhatIsLostUnderANewerLostWriteBreaksAPrefixToo) {
  Volume v(config(Durability::prefix));
  const auto first = v.write(0, 4096);
  v.write(0, 4096);
  v.write(4096, 4096);
  v.write(0, 4096);
  v.oracle.note_failover(++v.now);
  v.put(0, first);  // without the second write, but with the third
  v.read(0, 8192);
  EXPECT_EQ(v.counts().prefix_breaks, 1u);
  EXPECT_EQ(v.counts().lost_writes, 1u) << "what was overwritten is nobody's loss";
}

TEST(Oracle, BetweenFailoversAPrefixIsNoExcuse) {
  Failover failover(2);
  EXPECT_TRUE(failover.volume.read(3 * 4096, 4096).good());
  failover.volume.put(3 * 4096, failover.newer[3]);
  EXPECT_TRUE(failover.volume.read(3 * 4096, 4096).stale) << "what was lost does not come back";
  Volume quiet(config(Durability::prefix));
  quiet.write(0, 4096);
  quiet.write(0, 4096, WriteOutcome::acknowledged, false);
  EXPECT_TRUE(quiet.read(0, 4096).stale);
  quiet.flush();
  quiet.oracle.note_power_loss(++quiet.now);
  EXPECT_TRUE(quiet.read(0, 4096).stale) << "a power loss is the replicas' business";
}

TEST(Oracle, TheFillIsKnownByItsBytesWhateverTheyAre) {
  OracleConfig c = config();
  c.fill_offset = 4096;
  c.fill_bytes = kFillChunkBytes + 8192;
  Volume v(c);
  std::vector<std::byte> file(c.fill_bytes);
  for (std::size_t i = 0; i < file.size(); ++i) file[i] = static_cast<std::byte>(i * 7 + i / 256);
  std::fill_n(file.begin() + 1024, 4096, std::byte{0});                         // a hole
  encode_sector({42, 8 + 12, 9, SectorKind::data, 1}, file.data() + 12 * 512);  // looks like ours
  for (std::uint64_t at = 0; at < file.size(); at += kFillChunkBytes) {
    const auto piece = std::span(file).subspan(at, std::min(kFillChunkBytes, file.size() - at));
    const OpHandle op = v.oracle.begin_fill(1, c.fill_offset + at, piece);
    v.put(c.fill_offset + at, piece);
    v.oracle.end_write(op, 2, WriteOutcome::acknowledged);
  }
  EXPECT_TRUE(v.read(0, 65536).good());
  v.write(8192, 4096);
  EXPECT_TRUE(v.read(0, 65536).good());
  v.put(8192, std::span(file).subspan(4096, 4096));
  EXPECT_TRUE(v.read(8192, 4096).stale);
  v.bytes[40000] ^= std::byte{4};
  EXPECT_TRUE(v.read(36864, 4096).corrupt);
  v.bytes[40000] ^= std::byte{4};
  std::fill_n(v.bytes.begin() + 65536, 512, std::byte{0});
  v.read_back();
  EXPECT_EQ(v.counts().lost_writes, 2u);  // the write that was undone, and the first piece of the fill
  EXPECT_EQ(v.oracle.lost().ranges(), (std::vector<Range>{{16, 24}, {128, 129}}));
}

TEST(Oracle, ConflictsAreOverlapsWithAWrite) {
  Volume v;
  const OpHandle read = v.oracle.begin_read(1, 8192, 8192);
  EXPECT_FALSE(v.oracle.conflicts(8192, 4096, false));
  EXPECT_TRUE(v.oracle.conflicts(12288, 8192, true));
  EXPECT_FALSE(v.oracle.conflicts(16384, 4096, true));
  v.oracle.end_read(read, 2, std::span(v.bytes).subspan(8192, 8192));
  const OpHandle write = v.oracle.begin_write(3, 8192, 8192);
  EXPECT_TRUE(v.oracle.conflicts(8192, 4096, false));
  v.oracle.end_write(write, 4, WriteOutcome::acknowledged);
  EXPECT_FALSE(v.oracle.conflicts(8192, 4096, false));
}

TEST(Oracle, MemoryForOpenWritesIsBounded) {
  OracleConfig c = config();
  c.max_tracked_blocks = 4;
  Volume v(c);
  for (std::uint64_t b = 0; b < 8; ++b) v.write(b * 4096, 4096, WriteOutcome::unknown);
  EXPECT_EQ(v.oracle.tracked_blocks(), 4u);
  EXPECT_EQ(v.counts().waived_blocks, 4u);
  EXPECT_TRUE(v.read(0, 32768).good());
  for (int i = 0; i < 300; ++i) v.write(0, 4096, WriteOutcome::unknown, false);
  EXPECT_EQ(v.counts().waived_blocks, 5u);
}

TEST(RangeList, MergesSortsAndIsBounded) {
  RangeList list(3);
  list.add(10, 20);
  list.add(30, 40);
  list.add(0, 5);
  EXPECT_EQ(list.ranges(), (std::vector<Range>{{0, 5}, {10, 20}, {30, 40}}));
  list.add(50, 60);
  EXPECT_TRUE(list.truncated());
  list.add(20, 30);
  EXPECT_EQ(list.ranges(), (std::vector<Range>{{0, 5}, {10, 40}}));
  list.add(3, 100);
  EXPECT_EQ(list.ranges(), (std::vector<Range>{{0, 100}}));
}

TEST(RangeList, IsTheUnionOfWhatWasAdded) {
  Random random(5);
  RangeList list(1000);
  std::vector<bool> expected(400);
  for (int i = 0; i < 60; ++i) {
    const std::uint64_t begin = random.below(390), end = begin + 1 + random.below(8);
    list.add(begin, end);
    std::fill(expected.begin() + static_cast<std::ptrdiff_t>(begin),
              expected.begin() + static_cast<std::ptrdiff_t>(end), true);
    std::vector<bool> got(400);
    for (const Range& r : list.ranges()) {
      for (std::uint64_t at = r.begin; at < r.end; ++at) got[at] = true;
    }
    ASSERT_EQ(got, expected);
  }
}

TEST(BlockTable, FindsWhatWasInsertedAmongMany) {
  BlockTable table;
  Random random(9);
  std::map<BlockIndex, Version> expected;
  for (Version i = 1; i <= 20000; ++i) {
    const auto block = static_cast<BlockIndex>(random.below(1u << 28));
    table.insert(block).cell->base = i;
    expected[block] = i;
  }
  for (const auto& [block, version] : expected) EXPECT_EQ(table.find(block).cell->base, version);
  const auto groups = table.groups();
  EXPECT_TRUE(std::is_sorted(groups.begin(), groups.end()));
  EXPECT_FALSE(table.find(1u << 29));
}

struct Lines final : HistorySink {
  void write(std::string_view lines) noexcept override { text += lines; }
  std::string text;
};

TEST(History, TellsEveryOperationInJepsensForm) {
  Lines lines;
  {
    History history(lines, {"a \"quoted\" title", "raid1", 7, kVolumeBytes, "on_ack"});
    Volume v(config(), &history);
    v.write(4096, 4096);
    v.write(4096, 4096, WriteOutcome::unknown, false, SectorKind::damage);
    v.oracle.note_failover(5);
    v.oracle.note_power_loss(6, std::vector<std::string>{"A", "B"});
    v.oracle.begin_final(7);
    v.now = 7;
    v.bytes[0] = std::byte{1};
    v.read(0, 8192);
  }
  EXPECT_EQ(lines.text, R"({"type":"history","schema":1,"resilver":")" + std::string(kVersion) +
                            R"(","scenario":"a \"quoted\" title","contender":"raid1","seed":7,"promise":"on_ack",)"
                            R"("volume_bytes":8388608,"sector_bytes":512,"block_bytes":4096,"fill_offset":0,)"
                            R"("fill_bytes":0,"time_unit":"ns"}
{"type":"invoke","process":0,"f":"write","op":1,"time":1,"offset":4096,"length":4096,"value":1}
{"type":"ok","process":0,"f":"write","op":1,"time":2,"offset":4096,"length":4096,"value":1}
{"type":"invoke","process":0,"f":"write","op":2,"time":3,"offset":4096,"length":4096,"value":2,"kind":"damage"}
{"type":"info","process":0,"f":"write","op":2,"time":4,"offset":4096,"length":4096,"value":2,"error":"timeout"}
{"type":"info","process":2,"f":"failover","time":5}
{"type":"info","process":3,"f":"power_loss","time":6,"nodes":["A","B"]}
{"type":"info","process":4,"f":"final_reading","time":7}
{"type":"invoke","process":1,"f":"read","op":3,"time":8,"offset":0,"length":8192}
{"type":"ok","process":1,"f":"read","op":3,"time":9,"offset":0,"length":8192,"value":[[null,1],[0,7],[1,8]],"verdict":"corrupt"}
)");
}

TEST(History, TellsAllThatALongReadFound) {
  Lines lines;
  {
    History history(lines, {"", "", 1, kVolumeBytes, "on_ack"});
    Volume v(config(), &history);
    for (std::uint64_t sector = 0; sector < 2048; sector += 2) v.bytes[sector * 512] = std::byte{1};
    for (int i = 0; i < 8; ++i) v.read(0, 1 << 20);
  }
  std::size_t runs = 0;
  for (std::size_t at = 0; (at = lines.text.find("[null,1]", at)) != std::string::npos; ++at) ++runs;
  EXPECT_EQ(runs, 8u * 1024);
}

}  // namespace
}  // namespace resilver::workload
