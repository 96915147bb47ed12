// What a real run needs of the machine: refused in one line, before anything is made, where it is missing.
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class BadPlace : public SmallTest {
 protected:
  Ended run_real(std::vector<std::string> more = {}, const Prepare& prepare = {}) {
    std::vector<std::string> words = {"run", file_, "--time", "real", "--quiet", "--work", work_};
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words, prepare);
  }
  void refuses(const std::string& text, const std::vector<std::string>& more = {}, const Prepare& prepare = {}) {
    write_scenario();
    expect_refusal(run_real(more, prepare), text);
    if (fs::exists(work_)) {
      EXPECT_TRUE(work_is_empty());
    }
    EXPECT_TRUE(processes_naming(work_).empty());
  }
};

TEST_F(BadPlace, WithoutRoom) { refuses("MiB are needed and ", {"--set", "volume=8TiB"}); }

TEST_F(BadPlace, DirectoryThatDoesNotExist) {
  fs::remove(work_);
  refuses("--work " + work_ + ": No such file or directory");
  EXPECT_FALSE(fs::exists(work_));
}

TEST_F(BadPlace, FileInsteadOfADirectory) {
  fs::remove(work_);
  write_text(work_, "a file");
  write_scenario();
  expect_refusal(run_real(), "--work " + work_ + ": Not a directory");
  EXPECT_EQ(read_text(work_), "a file");
}

TEST_F(BadPlace, DirectoryThatIsNotWritable) {
  fs::permissions(work_, fs::perms::owner_read | fs::perms::owner_exec);
  refuses("--work " + work_ + ": Permission denied", {}, respect_permissions);
}

TEST_F(BadPlace, TemporaryDirectoryThatIsNotWritable) {
  fs::permissions(work_, fs::perms::owner_read | fs::perms::owner_exec);
  write_scenario();
  const Ended ended = run_program({"run", file_, "--time", "real", "--quiet"},
                                  [this] { return setenv("TMPDIR", work_.c_str(), 1) == 0 && respect_permissions(); });
  expect_refusal(ended, "choose another place with --work DIR");
}

TEST_F(BadPlace, IoUringForbidden) {
  refuses("io_uring is forbidden here: ", {}, forbid_io_uring);
  const Ended ended = run_real({}, forbid_io_uring);
  EXPECT_NE(ended.err.find("--time virtual"), std::string::npos) << ended.err;
}

TEST_F(BadPlace, VirtualTimeNeedsNoIoUring) {
  write_scenario();
  EXPECT_EQ(run_program({"run", file_, "--quiet"}, forbid_io_uring).code, 0);
}

TEST_F(BadPlace, WithoutODirectGoesThroughThePageCacheAndSaysSo) {
  write_scenario();
  const Ended ended = run_real({"--only", "solo", "--json"}, refuse_o_direct);
  ASSERT_EQ(ended.code, 0) << ended.all();
  EXPECT_NE(Json::parse(ended.out)["run"]["notes"].dump().find("no O_DIRECT"), std::string::npos);
  EXPECT_TRUE(work_is_empty());
}

TEST_F(BadPlace, FillFileThatDoesNotFitOrIsNoFile) {
  const std::string fill = directory_ / "fill";
  refuses("--fill " + fill + ": No such file or directory", {"--fill", fill});
  refuses("expected a regular file", {"--fill", work_});
  write_text(fill, "");
  fs::resize_file(fill, 17 << 20);
  refuses("--fill " + fill + ": 17 MiB do not fit", {"--fill", fill});
  expect_refusal(run_program({"run", file_, "--fill", fill}), "17 MiB do not fit");
}

TEST_F(BadPlace, OutThatCannotBeMade) {
  const std::string out = directory_ / "no" + "/out";
  refuses("--out " + out + ": No such file or directory", {"--out", out});
  refuses("--out " + file_ + ": ", {"--out", file_});
}

TEST_F(BadPlace, ImageThatIsThereAlreadyIsNotTouched) {
  write_scenario();
  write_text(work_ + "/solo-A.disk0.img", "precious");
  const Ended ended = run_real({"--only", "solo"});
  EXPECT_NE(ended.code, 0) << ended.all();
  EXPECT_NE(ended.all().find("solo-A.disk0.img: File exists"), std::string::npos) << ended.all();
  EXPECT_EQ(read_text(work_ + "/solo-A.disk0.img"), "precious");
}

TEST_F(BadPlace, NodeThatDiesAtStartIsNamedWithItsLastWords) {
  write_scenario();
  // What the node should read is swallowed: it finds nothing and ends.
  fs::create_symlink("/dev/null", work_ + "/pair-B.json");
  const Ended ended = run_real({"--only", "pair", "--json"});
  EXPECT_EQ(ended.code, 3) << ended.all();
  EXPECT_EQ(ended.err, "");
  const Json json = Json::parse(ended.out);
  const std::string why = json["contenders"][0]["inconclusive"];
  EXPECT_EQ(why.find("node B did not start: exit 2: resilver contender-node: " + work_ + "/pair-B.json: "), 0u) << why;
  EXPECT_EQ(lines_of(why).size(), 1u) << why;
  EXPECT_NE(json["expectations"][0]["outcome"], "passed") << "nothing was measured, so nothing holds";
  EXPECT_TRUE(processes_naming(work_).empty());
  EXPECT_TRUE(work_is_empty());
}

}  // namespace
}  // namespace resilver::test
