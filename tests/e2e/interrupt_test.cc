// A run that is cut short leaves nothing behind: no process, no socket, no image, no half-written file.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include <nlohmann/json.hpp>

#include "tests/e2e/small.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChildren = 3;  // of `pair`: two nodes and the arbiter

// Does anybody listen on 127.0.0.1:port?
bool listens(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return connected;
}

class Interrupt : public SmallTest {
 protected:
  // Starts a long run of `pair` and waits until its nodes serve.
  void start(std::vector<std::string> more = {}) {
    write_scenario(with("length = \"2s\"", "length = \"60s\""));
    std::vector<std::string> words = {"run", file_, "--time", "real", "--only", "pair", "--quiet", "--work", work_};
    words.insert(words.end(), more.begin(), more.end());
    program_ = std::make_unique<Program>(words);
    ASSERT_TRUE(eventually([this] { return children().size() == kChildren; }));
    ASSERT_TRUE(eventually([this] { return fs::exists(work_ + "/pair-B.json"); }));
    usleep(1'500'000);  // into the load
    remember_ports();
    ASSERT_FALSE(ports_.empty());
  }

  // The program's own processes have our directory in their command line, and the test only knows it by name.
  std::vector<pid_t> children() const {
    std::vector<pid_t> found = processes_naming(work_);
    std::erase(found, program_->pid());
    return found;
  }

  void expect_nobody() const {
    EXPECT_TRUE(eventually([this] { return processes_naming(work_).empty(); })) << "processes are left";
    for (const int port : ports_) {
      EXPECT_TRUE(eventually([port] { return !listens(port); })) << "somebody listens on port " << port;
    }
  }

  // The proxies' addresses stand in the nodes' configurations.
  void remember_ports() {
    const auto config = nlohmann::json::parse(read_text(work_ + "/pair-A.json"));
    const auto note = [this](const std::string& address) {
      if (!address.empty()) ports_.push_back(std::stoi(address.substr(address.rfind(':') + 1)));
    };
    note(config.at("arbiter").get<std::string>());
    for (const int port : ports_) EXPECT_TRUE(listens(port)) << port;
  }

  std::unique_ptr<Program> program_;
  std::vector<int> ports_;
};

TEST_F(Interrupt, CtrlCEndsTheChildrenAndRemovesTheImages) {
  start();
  program_->signal(SIGINT);
  const Ended ended = program_->wait(20);
  EXPECT_EQ(ended.code, 130) << ended.all();
  EXPECT_EQ(lines_of(ended.err).size(), 1u) << ended.err;
  EXPECT_TRUE(processes_naming(work_).empty()) << "the children end before the runner does";
  expect_nobody();
  EXPECT_TRUE(work_is_empty());
}

TEST_F(Interrupt, SigtermDoesTheSame) {
  start();
  program_->signal(SIGTERM);
  EXPECT_EQ(program_->wait(20).code, 130);
  expect_nobody();
  EXPECT_TRUE(work_is_empty());
}

TEST_F(Interrupt, KeepLeavesTheImagesAndTheLogs) {
  start({"--keep"});
  program_->signal(SIGINT);
  EXPECT_EQ(program_->wait(20).code, 130);
  expect_nobody();
  for (const char* name : {"pair-A.disk0.img", "pair-B.disk0.img", "pair-A.log", "pair-arbiter.img"}) {
    EXPECT_TRUE(fs::exists(work_ + "/" + name)) << name;
  }
}

// While a node is down another run may listen at its port: what serves there must not be taken for it.
TEST_F(Interrupt, EachRunHasAVolumeOfItsOwn) {
  std::set<std::string> volumes;
  for (int i = 0; i < 2; ++i) {
    start({"--keep"});
    program_->signal(SIGINT);
    EXPECT_EQ(program_->wait(20).code, 130);
    std::set<std::string> of_this_run;
    for (const char* name : {"pair-A.json", "pair-B.json"})
      of_this_run.insert(nlohmann::json::parse(read_text(work_ + "/" + name)).at("volume").get<std::string>());
    EXPECT_EQ(of_this_run.size(), 1u);
    volumes.merge(of_this_run);
    expect_nobody();
    ports_.clear();
    fs::remove_all(work_);
    fs::create_directory(work_);
  }
  EXPECT_EQ(volumes.size(), 2u);
}

TEST_F(Interrupt, OlderResultsStayWhole) {
  const std::string out = directory_ / "out";
  fs::create_directory(out);
  write_text(out + "/results.json", "{\"older\": true}\n");
  start({"--out", out});
  program_->signal(SIGINT);
  EXPECT_EQ(program_->wait(20).code, 130);
  EXPECT_EQ(read_text(out + "/results.json"), "{\"older\": true}\n");
  EXPECT_FALSE(fs::exists(out + "/results.json.part"));
}

TEST_F(Interrupt, RightAtTheStartItEndsAsWell) {
  write_scenario();
  Program program({"run", file_, "--time", "real", "--quiet", "--work", work_});
  ASSERT_TRUE(eventually([this] { return !work_is_empty(); }));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(20).code, 130);
  EXPECT_TRUE(eventually([this] { return processes_naming(work_).empty(); }));
  EXPECT_TRUE(work_is_empty());
}

TEST_F(Interrupt, VirtualRunIsLeftAtOnce) {
  write_scenario(with("length = \"2s\"", "length = \"100h\""));
  const std::string out = directory_ / "out";
  Program program({"run", file_, "--quiet", "--out", out});
  ASSERT_TRUE(eventually([&out] { return fs::exists(out); }));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait(20).code, 130);
  EXPECT_TRUE(fs::is_empty(out));
}

TEST_F(Interrupt, ChildrenDieWithARunnerThatIsKilled) {
  start();
  program_->signal(SIGKILL);
  EXPECT_EQ(program_->wait(20).code, 128 + SIGKILL);
  expect_nobody();
}

// A frozen node cannot end by itself.
TEST_F(Interrupt, FrozenNodeIsEndedToo) {
  start();
  for (const pid_t child : children()) kill(child, SIGSTOP);
  program_->signal(SIGINT);
  EXPECT_EQ(program_->wait(60).code, 130);
  expect_nobody();
  EXPECT_TRUE(work_is_empty());
}

}  // namespace
}  // namespace resilver::test
