// A bad scenario file: `check` and `run` name the place and what was expected, in one line, and make nothing.
#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

struct BadFile {
  const char* name;
  const char* from;
  const char* to;
  const char* place;  // line:column
  const char* says;
};

void PrintTo(const BadFile& bad, std::ostream* out) { *out << bad.name; }

const BadFile kBadFiles[] = {
    {"UnknownKey", "rate_iops = 200", "rate_iop = 200", "26:1",
     "unknown key 'workload.rate_iop' (did you mean 'rate_iops'?)"},
    {"WrongType", "length = \"2s\"", "length = 2", "6:10", "a duration with its unit"},
    {"Raid6OfTwoDisks", "raid = 0, disks = 1", "raid = 6, disks = 2", "15:10", "raid6 needs at least 4 disks, not 2"},
    {"ChunkNoPowerOfTwo", "chunk = \"64K\"", "chunk = \"48K\"", "15:10", "power of two"},
    {"ChunkBelow4K", "chunk = \"64K\"", "chunk = \"2K\"", "15:10", "power of two from 4K"},
    {"TargetThatNobodyHas", "\"@serving\"", "\"C\"", "29:1", "no contender has the target 'C'"},
    {"TriggerThatNeverFires", "at = \"1s\"", "at = \"5s\"", "29:1", "can never fire"},
    {"UnknownMeasure", "lost_writes", "lost_write", "36:10", "unknown measure 'lost_write'"},
    {"KeyWithAnEscape", "rate_iops = 200", "\"r\\u001b[31m\" = 1\nrate_iops = 200", "26:1",
     "unknown key 'workload.r\\x1b[31m'"},
    {"DeepNesting", "rate_iops = 200",
     "x = [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\nrate_iops = 200", "26:37",
     "values nested more than 32 deep"},
    {"ThreeBrackets", "[workload]", "[[[workload]]]", "23:3", "Error while parsing key"},
    {"BrokenToml", "rw = \"randrw\"", "rw = = \"randrw\"", "24:6", "Error while parsing value"},
};

class BadFileTest : public SmallTest, public testing::WithParamInterface<BadFile> {};

TEST_P(BadFileTest, CheckNamesThePlaceAndWhatWasExpected) {
  write_scenario(with(GetParam().from, GetParam().to));
  const Ended ended = run_program({"check", file_});
  expect_refusal(ended, GetParam().says);
  EXPECT_EQ(ended.err.find(file_ + ":" + GetParam().place), 0u) << ended.err;
}

TEST_P(BadFileTest, RunRefusesItInBothWorldsAndMakesNothing) {
  write_scenario(with(GetParam().from, GetParam().to));
  for (const std::string world : {"virtual", "real"}) {
    const Ended ended = run_program({"run", file_, "--time", world, "--work", work_, "--out", directory_ / "out"});
    expect_refusal(ended, GetParam().says);
    EXPECT_TRUE(work_is_empty());
    EXPECT_FALSE(std::filesystem::exists(directory_ / "out"));
  }
}

INSTANTIATE_TEST_SUITE_P(All, BadFileTest, testing::ValuesIn(kBadFiles),
                         [](const auto& info) { return info.param.name; });

TEST_F(SmallTest, FileThatIsNotThereIsNamed) {
  expect_refusal(run_program({"check", file_}), file_);
  expect_refusal(run_program({"run", file_}), file_);
  expect_refusal(run_program({"show", file_}), file_);
}

TEST_F(SmallTest, DirectoryAndBinaryInsteadOfAScenarioAreRefused) {
  expect_refusal(run_program({"check", work_ + "/"}), work_);
  write_scenario(std::string("\0\x01\xff\xfe", 4));
  expect_refusal(run_program({"check", file_}), file_ + ":1:");
}

TEST_F(SmallTest, SetThatDoesNotFitIsToldByItsName) {
  write_scenario();
  expect_refusal(run_program({"run", file_, "--set", "workload.rate_iop=1"}), "--set workload.rate_iop: unknown key");
  expect_refusal(run_program({"run", file_, "--set", "length=never"}), "--set length: ");
  expect_refusal(run_program({"run", file_, "--set", "length"}), "--set length: expected KEY=VALUE");
  expect_refusal(run_program({"run", file_, "--only", "nobody"}), "nobody");
  expect_refusal(run_program({"run", file_, "--seed", "-1"}), "--seed -1: expected a number");
}

}  // namespace
}  // namespace resilver::test
