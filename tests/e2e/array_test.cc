// Persistent arrays through the program, as a user does: made, filled, degraded, rebuilt, read back; what it prints and
// what it exits with.
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

struct Shape {
  const char* name;
  int level;
  int disks;
  int survives;
};
void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.name; }

class EveryLevel : public ArrayTest, public testing::WithParamInterface<Shape> {};

// An odd offset and length; then without as many members as the level survives; then rebuilt.
TEST_P(EveryLevel, KeepsWhatWasImportedThroughLossAndRebuild) {
  const Shape& shape = GetParam();
  create(shape.level, shape.disks);
  const std::string data = noise(3'000'001);
  import(data, 54'321);
  EXPECT_TRUE(export_text(54'321, data.size()) == data);
  EXPECT_TRUE(export_text(0, 54'321) == std::string(54'321, '\0'));
  for (int i = 0; i < shape.survives; ++i) done({"fail", vm_, "disk" + std::to_string(i)});
  EXPECT_TRUE(export_text(54'321, data.size()) == data) << "degraded";
  const std::string newer = noise(100'000, 2);
  import(newer, 1'000'000);
  for (int i = 0; i < shape.survives; ++i) {
    done({"add", vm_, "fresh" + std::to_string(i), "--size", "16M"});
  }
  if (shape.survives > 0) {
    EXPECT_NE(slots().find('_'), std::string::npos) << "add is instant";
    done({"rebuild", vm_});
    const Ended scrubbed = done({"scrub", vm_});
    EXPECT_NE(scrubbed.out.find("mismatch_cnt 0"), std::string::npos) << scrubbed.out;
  }
  EXPECT_EQ(slots(), std::string(shape.disks, 'U'));
  std::string expected = data;
  expected.replace(1'000'000 - 54'321, newer.size(), newer);
  EXPECT_TRUE(export_text(54'321, data.size()) == expected);
}

INSTANTIATE_TEST_SUITE_P(All, EveryLevel,
                         testing::Values(Shape{"Raid0", 0, 3, 0}, Shape{"Raid1", 1, 2, 1}, Shape{"Raid4", 4, 3, 1},
                                         Shape{"Raid5", 5, 3, 1}, Shape{"Raid6", 6, 5, 2}, Shape{"Raid10", 10, 4, 1}),
                         [](const auto& info) { return info.param.name; });

TEST_F(ArrayTest, SwappedAndMissingImagesOpenTheSame) {
  create(5, 3);
  const std::string data = noise(1'000'000);
  import(data);
  done({"assemble", image(2), image(0), image(1)});
  EXPECT_TRUE(export_text(0, data.size()) == data);
  const std::string out = directory_ / "two";
  done({"export", image(2), image(1), out, "--length", std::to_string(data.size())});
  EXPECT_TRUE(read_text(out) == data);
}

TEST_F(ArrayTest, ExportAndStatusWriteNothing) {
  create(6, 4, {"--consistency", "bitmap"});
  import(noise(500'000));
  const auto before = snapshot();
  export_text(0, 500'000);
  done({"status", vm_});
  done({"status", vm_, "--json"});
  done({"examine", image(1)});
  done({"stop", vm_});
  EXPECT_EQ(snapshot(), before);
}

TEST_F(ArrayTest, SparseStaysSparse) {
  create(5, 3, {}, "64M");
  const std::string raw = directory_ / "raw";
  write_text(raw, noise(5000));
  fs::resize_file(raw, 100 << 20);
  done({"import", vm_, raw});
  const std::string out = directory_ / "out";
  done({"export", vm_, out});
  struct stat status{};
  ASSERT_EQ(stat(out.c_str(), &status), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), std::stoull(status_of("size")));
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  EXPECT_TRUE(read_text(out).substr(0, 5000) == noise(5000));
  ASSERT_EQ(stat(image(0).c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 4 << 20);
}

TEST_F(ArrayTest, StatusHasTheFormOfMdstat) {
  create(5, 3, {"--consistency", "bitmap"});
  Ended shown = done({"status", vm_});
  std::vector<std::string> lines = lines_of(shown.out);
  ASSERT_EQ(lines.size(), 3u) << shown.out;
  EXPECT_EQ(lines[0], "vm : active raid5 disk0.img[0] disk1.img[1] disk2.img[2]");
  EXPECT_EQ(lines[1], "      30720 blocks super 1.2 level 5, 64k chunk, algorithm 2 [3/3] [UUU]");
  EXPECT_EQ(lines[2].find("      bitmap: 0/1 pages [0KB], "), 0u) << lines[2];
  done({"fail", vm_, "1"});
  shown = done({"status", vm_});
  EXPECT_NE(shown.out.find("[3/2] [U_U]"), std::string::npos) << shown.out;
}

TEST_F(ArrayTest, TestGivesTheExitCodesOfMdadmDetailTest) {
  create(5, 3);
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 0);
  done({"fail", vm_, "disk2"});
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 1);
  fs::remove(image(0));
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 2);
  EXPECT_EQ(run({"status", directory_ / "nowhere", "--test"}).code, 4);
}

TEST_F(ArrayTest, ExamineNamesTheFieldsOfMdadm) {
  create(6, 4, {"--chunk", "128K"});
  const std::string text = done({"examine", image(3)}).out;
  for (const char* field : {"          Magic : a92b4efc\n", "        Version : 1.2\n", "     Raid Level : raid6\n",
                            "   Raid Devices : 4\n", "           Name : vm\n", "         Layout : left-symmetric\n",
                            "     Chunk Size : 128K\n", "   Device Role : Active device 3\n",
                            "   Array State : AAAA ('A' == active, '.' == missing, 'R' == replacing)\n"}) {
    EXPECT_NE(text.find(field), std::string::npos) << field << text;
  }
  const Json json = Json::parse(done({"examine", vm_, "--json"}).out);
  ASSERT_EQ(json.at("disks").size(), 4u);
  EXPECT_EQ(json.at("disks").at(2).at("device_role"), "Active device 2");
  EXPECT_EQ(json.at("disks").at(2).at("chunk_size"), 128 << 10);
  EXPECT_NE(json.at("disks").at(0).at("device_uuid"), json.at("disks").at(1).at("device_uuid"));
}

TEST_F(ArrayTest, TwoArraysHaveDifferentUuids) {
  create(1, 2);
  const std::string one = status_of("array_uuid");
  fs::remove_all(vm_);
  create(1, 2);
  EXPECT_NE(one, status_of("array_uuid"));
}

TEST_F(ArrayTest, SpareTakesTheSlotOfAFailedMemberWithTheNextRebuild) {
  create(5, 3, {"--spares", "1"});
  const std::string data = noise(2'000'000);
  import(data);
  const Ended failed = done({"fail", vm_, "disk0.img"});
  EXPECT_NE(failed.out.find("to do: resilver rebuild " + vm_), std::string::npos) << failed.out;
  const Ended rebuilt = done({"rebuild", vm_});
  EXPECT_NE(rebuilt.out.find("[3/3] [UUU]"), std::string::npos) << rebuilt.out;
  fs::remove(image(0));
  EXPECT_TRUE(export_text(0, data.size()) == data);
  EXPECT_NE(done({"rebuild", vm_}).out.find("nothing to rebuild"), std::string::npos);
}

TEST_F(ArrayTest, RebuildWithoutASpareSaysWhatIsMissing) {
  create(5, 3);
  done({"fail", vm_, "disk1"});
  const Ended ended = run({"rebuild", vm_});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.out.find("to do: give it a disk: resilver add " + vm_ + " DISK"), std::string::npos) << ended.out;
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
}

TEST_F(ArrayTest, LastCopyCannotBeFailed) {
  create(1, 2);
  done({"fail", vm_, "disk0"});
  const Ended ended = run({"fail", vm_, "disk1"});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_EQ(slots(), "_U");
}

TEST_F(ArrayTest, RemovedDiskIsForgotten) {
  create(5, 3, {"--spares", "1"});
  EXPECT_EQ(run({"remove", vm_, "disk0"}).code, 1) << "a member in use";
  done({"remove", vm_, "spare0"});
  done({"fail", vm_, "disk0"});
  done({"remove", vm_, "disk0"});
  EXPECT_EQ(slots(), "_UU");
  done({"add", vm_, "disk0"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUU");
}

TEST_F(ArrayTest, ReplacementIsCopiedAndTheOldMemberLeaves) {
  create(5, 3, {"--spares", "1"});
  const std::string data = noise(2'000'000);
  import(data);
  const Ended replaced = done({"replace", vm_, "disk1"});
  EXPECT_NE(replaced.out.find("to do: resilver rebuild " + vm_), std::string::npos) << replaced.out;
  EXPECT_EQ(slots(), "UUU");
  const Ended copied = done({"rebuild", vm_});
  EXPECT_NE(copied.out.find("replace of "), std::string::npos) << copied.out;
  EXPECT_EQ(slots(), "UUU");
  fs::remove(image(1));
  EXPECT_EQ(slots(), "UUU");
  EXPECT_TRUE(export_text(0, data.size()) == data);
}

TEST_F(ArrayTest, ReAddByTheBitmapCatchesUp) {
  create(5, 3, {"--consistency", "bitmap"});
  const std::string data = noise(2'000'000);
  import(data);
  done({"fail", vm_, "disk1"});
  const std::string newer = noise(300'000, 3);
  import(newer, 700'000);
  done({"re-add", vm_, "disk1"});
  done({"rebuild", vm_});
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  done({"fail", vm_, "disk0"});
  std::string expected = data;
  expected.replace(700'000, newer.size(), newer);
  EXPECT_TRUE(export_text(0, data.size()) == expected);
}

TEST_F(ArrayTest, JournalHasAnImageOfItsOwn) {
  create(5, 3, {"--consistency", "journal", "--journal-size", "16M"});
  EXPECT_TRUE(fs::exists(vm_ + "/journal.img"));
  const std::string data = noise(1'000'000);
  import(data, 4096);
  EXPECT_TRUE(export_text(4096, data.size()) == data);
  EXPECT_NE(done({"status", vm_}).out.find("journal.img["), std::string::npos);
}

TEST_F(ArrayTest, ArrayWhoseJournalIsLostStartsOnlyByForce) {
  create(5, 3, {"--consistency", "journal", "--journal-size", "16M"});
  const std::string data = noise(1'000'000);
  import(data);
  fs::remove(vm_ + "/journal.img");
  refuses({"assemble", vm_}, {"vm: ", "journal", "force"});
  refuses({"import", vm_, file_}, {"vm: ", "journal", "force"});
  EXPECT_TRUE(export_text(0, data.size()) == data) << "reading needs no journal";
  done({"assemble", vm_, "--force"});
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
}

TEST_F(ArrayTest, ALostJournalIsSeenAndReplaced) {
  create(5, 3, {"--consistency", "journal", "--journal-size", "16M"});
  EXPECT_EQ(status_of("journal"), "journal.img");
  const std::string data = noise(1'000'000);
  import(data);
  done({"fail", vm_, "journal"});
  EXPECT_EQ(status_of("journal"), "missing");
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 1);
  refuses({"import", vm_, file_}, {"vm: ", "journal", "force"});
  fs::remove(vm_ + "/journal.img");
  EXPECT_NE(done({"status", vm_}).out.find("journal=MISSING"), std::string::npos);
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 1);
  const Words add = {"add", vm_, "other", "--size", "16M", "--journal"};
  EXPECT_EQ(run(add).code, 1) << "only after a start without it";
  EXPECT_FALSE(fs::exists(vm_ + "/other.img"));
  const Ended forced = done({"assemble", vm_, "--force"});
  EXPECT_NE(forced.out.find("--journal"), std::string::npos) << forced.out;
  EXPECT_EQ(status_of("journal"), "null");
  const Ended small = run({"add", vm_, "tiny", "--size", "4M", "--journal"});
  EXPECT_EQ(small.code, 1);
  EXPECT_NE(small.err.find("too small"), std::string::npos) << small.err;
  done(add);
  EXPECT_EQ(status_of("journal"), "other.img");
  EXPECT_NE(done({"status", vm_}).out.find("other.img[4](J)"), std::string::npos) << done({"status", vm_}).out;
  EXPECT_EQ(run({"status", vm_, "--test"}).code, 0);
  import(noise(500'000, 2), 8192);
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  EXPECT_EQ(run({"add", vm_, "third", "--size", "16M", "--journal"}).code, 1);
  fs::remove(vm_ + "/other.img");
  refuses({"assemble", vm_}, {"journal"});
}

TEST_F(ArrayTest, Raid0UsesAllOfUnequalMembers) {
  done({"create", vm_, "--level", "0", "--disks", "3", "--size", "4M,8M,16M"});
  const std::uint64_t size = std::stoull(status_of("size"));
  EXPECT_EQ(size, (3 + 7 + 15) << 20);
  const std::string data = noise(size);
  import(data);
  EXPECT_TRUE(export_text(0, size) == data);
}

TEST_F(ArrayTest, Raid6RebuildsTwoMembersAtOnce) {
  create(6, 5, {"--spares", "2"});
  const std::string data = noise(10'000'000);
  import(data);
  done({"fail", vm_, "disk0"});
  done({"fail", vm_, "disk3"});
  const Ended third = run({"fail", vm_, "disk1"});
  EXPECT_NE(third.code, 0) << third.all();
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UUUUU");
  for (const int gone : {0, 1, 2, 3}) fs::remove(image(gone));
  EXPECT_TRUE(export_text(0, data.size()) == data) << "by disk4 and the two that were rebuilt";
}

TEST_F(ArrayTest, ScrubCountsLocatesAndRepairs) {
  create(6, 5);
  const std::string data = noise(4'000'000);
  import(data);
  const std::uint64_t begin =
      512 *
      Json::parse(done({"examine", vm_, "--json"}).out).at("disks").at(0).at("data_offset_sectors").get<std::uint64_t>();
  overwrite(image(2), begin + 65536, noise(4096, 9));
  Ended ended = run({"scrub", vm_, "--locate"});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.out.find("mismatch_cnt 8, not repaired"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("slot 2 is wrong"), std::string::npos) << ended.out;
  ended = done({"scrub", vm_, "--repair", "--locate"});
  EXPECT_NE(ended.out.find("mismatch_cnt 8, repaired"), std::string::npos) << ended.out;
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  EXPECT_TRUE(export_text(0, data.size()) == data);
}

TEST_F(ArrayTest, ScrubDoesNothingElse) {
  create(5, 3, {"--spares", "1"});
  import(noise(1'000'000));
  done({"replace", vm_, "disk1"});
  const Ended compared = done({"scrub", vm_});
  EXPECT_NE(compared.out.find("mismatch_cnt 0"), std::string::npos) << compared.out;
  EXPECT_NE(compared.out.find("to do: resilver rebuild"), std::string::npos) << compared.out;
  EXPECT_NE(done({"status", vm_}).out.find("spare0.img[3](R)"), std::string::npos);
  done({"fail", vm_, "disk1"});
  refuses({"scrub", vm_}, {"vm: ", "degraded", "resilver rebuild "});
  refuses({"scrub", vm_, "--repair"}, {"resilver rebuild "});
  done({"rebuild", vm_});
  for (const int index : {0, 1, 2}) {
    if (index != 1) set_field(image(index), 208, std::string(8, '\0'));
  }
  set_field(vm_ + "/spare0.img", 208, std::string(8, '\0'));
  refuses({"scrub", vm_}, {"resilver assemble "});
  done({"assemble", vm_});
  done({"scrub", vm_});
}

TEST_F(ArrayTest, PipesInAndOut) {
  create(5, 3);
  write_text(file_, noise(1'234'567));
  const std::string program =
      fs::absolute(std::getenv("RESILVER_PROGRAM") ? std::getenv("RESILVER_PROGRAM") : "build/release/resilver");
  const std::string out = directory_ / "out";
  EXPECT_EQ(std::system(("cat " + file_ + " | " + program + " import " + vm_ + " - --offset 77 >/dev/null").c_str()), 0);
  EXPECT_EQ(std::system((program + " export " + vm_ + " - --offset 77 --length 1234567 | cat >" + out).c_str()), 0);
  EXPECT_TRUE(read_text(out) == noise(1'234'567));
  EXPECT_NE(std::system((program + " import " + vm_ + " - </dev/zero >/dev/null 2>&1").c_str()), 0) << "more than fits";
}

// ---- options ----

TEST_F(ArrayTest, OptionsThatMakeNoSenseExitWith2AndMakeNothing) {
  const auto usage = [this](Words words, const std::string& text) {
    expect_refusal(run(words), text);
    EXPECT_FALSE(fs::exists(vm_));
  };
  usage({"create", vm_}, "--level is needed");
  usage({"create", vm_, "--level", "7", "--disks", "3", "--size", "16M"}, "--level: ");
  usage({"create", vm_, "--level", "5", "--size", "16M"}, "--disks N is needed");
  usage({"create", vm_, "--level", "5", "--disks", "3"}, "--size SIZE is needed");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M,16M"}, "--size: 2 sizes for 3 images");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M1"}, "--size: ");
  usage({"create", vm_, "--level", "5", "--disks", "1", "--size", "16M"}, "at least 2");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M", "--chunk", "48K"}, "power of two");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M", "--layout", "spiral"}, "--layout: ");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--size", "16M", "--consistency", "ppl"}, "--consistency: ");
  usage({"create", vm_, "--level", "5", "--disks", "3", "--sise", "16M"}, "--sise");
  usage({"create", vm_, "--level", "0", "--disks", "2", "--size", "16M", "--consistency", "bitmap"}, "--consistency: ");
  usage({"fail", vm_}, "expected a folder or images, then a member");
  usage({"status"}, "expected a folder or images");
  usage({"export", vm_, file_, "--offset", "x"}, "--offset: ");
}

}  // namespace
}  // namespace resilver::test
