// What a user does with a volume: make it, use it, lose a node, get it back, hand over, compare, bring up to date.
#include <gmock/gmock.h>
#include <signal.h>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class Volume : public VolumeTest {};

void expect_nothing_lost(const Ended& load) {
  EXPECT_EQ(load.code, 0) << load.all();
  const State report(load.out);
  for (const char* key :
       {"failed", "lost_writes", "stale_reads", "corrupt_reads", "unknown_writes", "unreadable_bytes"}) {
    EXPECT_EQ(report.at(key), "0") << key << load.all();
  }
  EXPECT_GT(report.number("writes"), 50u);
  EXPECT_GT(report.number("bytes_read_back"), 0u);
}

TEST_F(Volume, SurvivesItsPrimaryAndCatchesUpByBitmap) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const State whole = status();
  EXPECT_EQ(whole.at("primary"), "A");
  EXPECT_EQ(whole.number("redundancy"), 2u);
  EXPECT_EQ(whole.number("size_bytes"), kVolume);
  EXPECT_EQ(whole.of("B", "role"), "secondary");
  const std::string text = noise(1'500'000);
  import(text);
  ASSERT_TRUE(eventually_in_sync(3));
  kill("A");
  EXPECT_TRUE(export_text(text.size()) == text);
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_EQ(status().at("primary"), "B");
  EXPECT_EQ(status().of("A", "role"), "unreachable");
  EXPECT_NE(done({"status"}).out.find("to do: start A"), std::string::npos);
  import(noise(200'000, 2));
  start("A");
  ASSERT_TRUE(eventually_in_sync(3));
  // On a busy machine a catch-up may itself break off and go on.
  EXPECT_THAT(status().of("A", "why"), testing::AnyOf("bitmap", testing::StartsWith("resumed")));
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

TEST_F(Volume, PlannedSwitchoverAndStopCostNoRequest) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  Program load(with_config({"attach", "--load", "2500ms", "--json"}));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 100; }));
  EXPECT_EQ(done({"ack", "quorum"}).out, "web: ack quorum now\n");
  EXPECT_EQ(status().at("ack"), "quorum");
  EXPECT_NE(done({"promote", "C"}).out.find("C is the primary now"), std::string::npos);
  EXPECT_NE(done({"demote"}).out.find("C handed over; "), std::string::npos);
  ASSERT_TRUE(eventually_in_sync(3));
  const std::string third = status().at("primary");
  const std::string log = stop(third).err;
  EXPECT_NE(log.find("hands over first"), std::string::npos) << log;
  EXPECT_EQ(log.find("not handed over"), std::string::npos) << log;
  ASSERT_TRUE(eventually_in_sync(2));
  const Ended ended = load.wait(30);
  expect_nothing_lost(ended);
  EXPECT_GE(State(ended.out).number("failovers"), 1u);
  EXPECT_NE(status().at("primary"), third);
}

TEST_F(Volume, VerifyFindsAFlippedByteAndRepairsIt) {
  detect_ = "3s";
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(300'000));
  stop("C");
  ASSERT_TRUE(eventually_in_sync(2));
  overwrite(image("C"), 6 << 20, "x");
  start("C");
  ASSERT_TRUE(eventually_in_sync(3));
  const Ended found = volume({"verify"});
  EXPECT_EQ(found.code, 1) << found.all();
  EXPECT_NE(found.out.find("  C             4 KiB at byte 6291456\n"), std::string::npos) << found.out;
  EXPECT_NE(found.out.find("16 MiB compared of 2 copies, 4 KiB differ\n"), std::string::npos) << found.out;
  EXPECT_NE(done({"verify", "--repair"}).out.find("4 KiB differ, 4 KiB repaired"), std::string::npos);
  EXPECT_EQ(State(done({"verify", "--json"}).out).at("different_bytes"), "0");
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

TEST_F(Volume, CopyThatIsNotTrustedIsBroughtUpToDate) {
  detect_ = "3s";
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(300'000));
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  overwrite(image("B"), 5 << 20, "x");
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_EQ(done({"resync", "B"}).out, "B is in sync\n");
  EXPECT_EQ(status().of("B", "why"), "checksum: a copy of everything broke off, or was given up");
  done({"verify"});
  done({"resync", "B", "--full"});
  EXPECT_EQ(status().of("B", "why"), "full: new disk");
  const Ended refused = volume({"resync", "A"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("A: the primary's copy is the volume"), std::string::npos) << refused.err;
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

// A goes on alone and dies; B, which missed that, is made the primary by force and goes on, too; A comes back.
TEST_F(Volume, SplitBrainIsListedAndResolved) {
  detect_ = "1500ms";
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(100'000));
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  import(noise(8'192, 2));
  kill("A");
  start("B");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("B", "role") == "idle"; }));
  EXPECT_EQ(volume({"promote", "B"}).code, 1) << "an outdated copy is not promoted without force";
  const Ended forced = done({"promote", "B", "--force"});
  EXPECT_NE(forced.err.find("split brain"), std::string::npos) << forced.err;
  const std::string kept = noise(4'096, 3) + noise(95'904, 4);
  import(kept);
  start("A");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "diverged") == "true"; }));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "divergent") != "[]"; }));
  const std::string shown = done({"status"}).out;
  EXPECT_NE(shown.find("differs: "), std::string::npos) << shown;
  EXPECT_NE(shown.find("resolve --config " + config_ + " --discard A|B"), std::string::npos) << shown;
  // Both sides can be read before somebody chooses.
  const std::string side = directory_ / "side";
  done({"attach", "--export", side, "--node", "A", "--length", "8K"});
  EXPECT_TRUE(read_text(side) == noise(8'192, 2));
  done({"attach", "--export", side, "--node", "B", "--length", std::to_string(kept.size())});
  EXPECT_TRUE(read_text(side) == kept);
  EXPECT_NE(volume({"attach", "--export", side, "--node", "X"}).err.find("expected A or B"), std::string::npos);
  EXPECT_EQ(volume({"attach", "--import", side, "--node", "A"}).code, 2);
  done({"resolve", "--discard", "A"});
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kept.size()) == kept);
  EXPECT_EQ(volume({"resolve", "--discard", "A"}).code, 1) << "there is none any more";
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

TEST_F(Volume, NodesOverArraysLoseAMemberAndANode) {
  for (const char* folder : {"vmA", "vmB"}) {
    const Ended made = run_program({"create", directory_ / folder, "--level", "5", "--disks", "3", "--size", "8M"});
    ASSERT_EQ(made.code, 0) << made.all();
  }
  configure(2, {}, {{"A", "array = \"vmA\""}, {"B", "array = \"vmB\""}});
  ASSERT_NO_FATAL_FAILURE(start_all());
  EXPECT_NE(status().of("A", "array").find("[UUU] "), std::string::npos);
  const std::string text = noise(1'000'000);
  import(text);
  stop("A");
  ASSERT_TRUE(eventually_in_sync(1));
  std::filesystem::remove(directory_ / "vmA/disk1.img");
  start("A");
  ASSERT_TRUE(eventually_in_sync(2));
  const std::string shown = done({"status"}).out;
  EXPECT_NE(shown.find("[U_U] degraded"), std::string::npos) << shown;
  EXPECT_NE(shown.find("array_degraded: A: its array lacks a disk"), std::string::npos) << shown;
  done({"verify"});
  done({"promote", "A"});
  EXPECT_TRUE(export_text(text.size()) == text) << "from a degraded array";
  ASSERT_TRUE(eventually_in_sync(2));
  kill("A");
  EXPECT_TRUE(export_text(text.size()) == text);
}

TEST_F(Volume, NewOneIsWhatItsFirstPrimaryHeldAndOtherDevicesMayHoldAnything) {
  detect_ = "3s";
  configure(2, "first_primary = \"B\"\n");
  const std::string held = noise(kVolume);
  write_text(image("A"), noise(kVolume + (1 << 20), 2));
  write_text(image("B"), held + std::string(1 << 20, '\0'));
  ASSERT_NO_FATAL_FAILURE(start_all());
  EXPECT_EQ(status().at("primary"), "B");
  EXPECT_EQ(status().of("A", "why"), "full: new disk");
  EXPECT_TRUE(export_text(kVolume) == held);
  for (const std::string& name : names_) stop(name);
  expect_equal(names_);
}

TEST_F(Volume, OneNodeAloneNeedsNoArbiter) {
  configure(1);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(50'000);
  import(text);
  stop("A");
  std::filesystem::resize_file(image("A"), std::filesystem::file_size(image("A")) + 700);  // no number of blocks
  start("A");
  EXPECT_TRUE(export_text(text.size()) == text);
  EXPECT_NE(done({"status"}).out.find("stand-alone"), std::string::npos);
}

}  // namespace
}  // namespace resilver::test
