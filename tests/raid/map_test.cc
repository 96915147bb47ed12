// `resilver map` as a user sees it. The program's tools are not linked into a room's tests, so map.cc and what it stands on
// are compiled here.
#include "tools/map.cc"
#include "tools/command.cc"

#include <gtest/gtest.h>

namespace resilver::tools {
namespace {

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

Outcome run(const std::vector<std::string>& arguments) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  const auto request = cli::read_request(kMapCommand, arguments);
  if (!request) {
    outcome.exit_code = kBadUsage;
    fmt::print(stderr, "{}\n", request.error().what);
  } else {
    fmt::print("{}", request->text);
    outcome.exit_code = request->command == nullptr ? kDone : request->command->run(request->line);
  }
  std::fflush(stdout);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

TEST(Map, TellsWhereAByteLivesAndWhatItCosts) {
  const Outcome outcome = run({"--level", "5", "--disks", "5", "128K", "0"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_EQ(outcome.out,
            "raid5 of 5 disks, chunk 64 KiB, left-symmetric\n"
            "4 KiB at byte 131072: stripe 0, D2 on disk 2, byte 0 of its data (0 in the chunk); P on disk 4\n"
            "  read  1 read: disk 2\n"
            "  write 2 reads + 2 writes, read-modify-write; reads 2, 4; writes 2, 4\n"
            "4 KiB at byte 0: stripe 0, D0 on disk 0, byte 0 of its data (0 in the chunk); P on disk 4\n"
            "  read  1 read: disk 0\n"
            "  write 2 reads + 2 writes, read-modify-write; reads 0, 4; writes 0, 4\n");
}

TEST(Map, TellsWhatAFailedDiskCosts) {
  EXPECT_EQ(run({"--level", "5", "--disks", "5", "--failed", "2", "128K"}).out,
            "raid5 of 5 disks, chunk 64 KiB, left-symmetric, failed: 2\n"
            "4 KiB at byte 131072: stripe 0, D2 on disk 2 (failed), byte 0 of its data (0 in the chunk); P on disk 4\n"
            "  read  4 reads: disks 0, 1, 3, 4, computes D2\n"
            "  write 3 reads + 1 write, reconstruct-write; reads 0, 1, 3; writes 4\n");
  EXPECT_EQ(run({"--level", "1", "--disks", "3", "--failed", "0", "5000"}).out,
            "raid1 of 3 disks, failed: 0\n"
            "4 KiB at byte 5000: every disk, byte 5000 of its data\n"
            "  read  1 read: any of disks 1, 2\n"
            "  write 0 reads + 2 writes, data only; writes 1, 2\n");
  EXPECT_EQ(run({"--level", "0", "--disks", "2", "--failed", "0", "0"}).out,
            "raid0 of 2 disks, chunk 64 KiB, failed: 0 (more than it survives)\n"
            "4 KiB at byte 0: stripe 0, D0 on disk 0 (failed), byte 0 of its data (0 in the chunk)\n"
            "  read  not possible: too many failed disks\n"
            "  write not possible: too many failed disks\n");
}

TEST(Map, SumsARequestOverSeveralStripes) {
  const Outcome outcome = run({"--level", "6", "--disks", "6", "--bs", "512K", "0"});
  EXPECT_EQ(outcome.out,
            "raid6 of 6 disks, chunk 64 KiB, left-symmetric\n"
            "512 KiB at byte 0: stripe 0, D0 on disk 1, byte 0 of its data (0 in the chunk); P on disk 5; Q on disk 0\n"
            "  read  stripe 0: 4 reads: disks 1, 2, 3, 4\n"
            "  read  stripe 1: 4 reads: disks 0, 1, 2, 3\n"
            "  read  together 8 reads\n"
            "  write stripe 0: 0 reads + 6 writes, full stripe; writes 0, 1, 2, 3, 4, 5\n"
            "  write stripe 1: 0 reads + 6 writes, full stripe; writes 0, 1, 2, 3, 4, 5\n"
            "  write together 0 reads + 12 writes\n");
  EXPECT_NE(run({"--level", "0", "--disks", "1", "--bs", "1M", "0"}).out.find("... 8 parts more"), std::string::npos);
}

TEST(Map, DrawsStripes) {
  EXPECT_EQ(run({"--level", "6", "--disks", "4", "--failed", "1", "--stripes", "3"}).out,
            "raid6 of 4 disks, chunk 64 KiB, left-symmetric, failed: 1\n"
            "stripe  disk 0   (disk 1) disk 2   disk 3\n"
            "0       Q        (D0)     D1       P\n"
            "1       D2       (D3)     P        Q\n"
            "2       D5       (P)      Q        D4\n");
}

TEST(Map, ShowsTheCopiesOfARaid10) {
  EXPECT_EQ(run({"--level", "10", "--disks", "3", "--failed", "0", "--stripes", "3"}).out,
            "raid10 of 3 disks, chunk 64 KiB, near-2, failed: 0\n"
            "stripe  (disk 0) disk 1   disk 2\n"
            "0       (D0)     D0       D1\n"
            "1       (D1)     D2       D2\n"
            "2       (D3)     D3       D4\n");
  EXPECT_EQ(run({"--level", "10", "--disks", "3", "--failed", "0", "--bs", "64K", "64K"}).out,
            "raid10 of 3 disks, chunk 64 KiB, near-2, failed: 0\n"
            "64 KiB at byte 65536: D1 on disk 2, byte 0 of its data; on disk 0 (failed), byte 65536 of its data"
            " (0 in the chunk)\n"
            "  read  1 read: any of disks 2\n"
            "  write 0 reads + 1 write, data only; writes 2\n");
  EXPECT_NE(run({"--level", "10", "--disks", "4", "--failed", "0", "--failed", "1", "0"}).out.find("more than it"),
            std::string::npos);
  EXPECT_EQ(run({"--level", "10", "--disks", "4", "--failed", "0", "--failed", "2", "0"}).out.find("more than it"),
            std::string::npos);
}

TEST(Map, DrawsEveryLayout) {
  EXPECT_EQ(run({"--level", "6", "--disks", "4", "--layout", "right-asymmetric", "--stripes", "4"}).out,
            "raid6 of 4 disks, chunk 64 KiB, right-asymmetric\n"
            "stripe  disk 0   disk 1   disk 2   disk 3\n"
            "0       P        Q        D0       D1\n"
            "1       D2       P        Q        D3\n"
            "2       D4       D5       P        Q\n"
            "3       Q        D6       D7       P\n");
}

TEST(Map, RefusesBadInputWithOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--level is missing"},
      {{"--level", "5"}, "--disks is missing"},
      {{"--level", "5", "--disks", "3"}, "either addresses or --stripes N was expected"},
      {{"--level", "5", "--disks", "3", "--stripes", "2", "0"}, "either addresses or --stripes N was expected"},
      {{"--level", "2", "--disks", "4", "0"}, "--level 2: 0, 1, 4, 5, 6 or 10 was expected"},
      {{"--level", "x", "--disks", "4", "0"}, "--level x: a number from 0 to 100 was expected"},
      {{"--level", "6", "--disks", "2", "0"}, "raid6 needs at least 4 disks, not 2"},
      {{"--level", "5", "--disks", "5", "--chunk", "3K", "0"}, "chunk of 3072 bytes: must be a power of two"},
      {{"--level", "1", "--disks", "2", "--chunk", "64K", "0"}, "--chunk: raid1 has no chunks"},
      {{"--level", "5", "--disks", "5", "--layout", "sideways", "0"}, "--layout sideways: left-symmetric, left-"},
      {{"--level", "6", "--disks", "5", "--layout", "near-2", "0"}, "raid6 has no layout near-2 (left-symmetric, "},
      {{"--level", "1", "--disks", "2", "--layout", "sideways", "0"}, "--layout: raid1 has no choice"},
      {{"--level", "5", "--disks", "5", "--failed", "5", "0"}, "--failed 5: a disk from 0 to 4 was expected"},
      {{"--level", "5", "--disks", "5", "--bs", "0", "0"}, "--bs: a size from 1 byte to 1 GiB was expected"},
      {{"--level", "5", "--disks", "5", "--stripes", "0"}, "--stripes 0: at least 1 was expected"},
      {{"--level", "5", "--disks", "5", "--stripes", "10001"}, "--stripes 10001: a number from 0 to 10000 was expected"},
      {{"--level", "5", "--disks", "5", "8192P"}, "address"},
      {{"--level", "5", "--disks", "5", "here"}, "address"},
      {{"--lev", "5", "--disks", "5", "0"}, "unrecognised option '--lev'"},
      {{"--level"}, "the required argument for option '--level' is missing"},
  };
  for (const auto& [arguments, expected] : cases) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err.find("resilver map: " + expected), 0u) << outcome.err;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  }
}

TEST(Map, HelpShowsAnExample) {
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_NE(outcome.out.find("resilver map --level 5 --disks 5 --chunk 64K --failed 2 1M"), std::string::npos);
  EXPECT_NE(outcome.out.find("--layout NAME"), std::string::npos);
}

}  // namespace
}  // namespace resilver::tools
