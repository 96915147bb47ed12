// What the commands of a volume refuse, each in one line and without changing anything; and how they end when interrupted.
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class VolumeRefusal : public VolumeTest {
 protected:
  using Snapshot = std::map<std::string, std::pair<std::size_t, std::int64_t>>;

  // Content and time of every file.
  Snapshot snapshot() const {
    Snapshot all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory_.path())) {
      if (!entry.is_regular_file()) continue;
      struct stat status{};
      stat(entry.path().c_str(), &status);
      all[entry.path()] = {std::hash<std::string>()(read_text(entry.path())),
                           status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
    }
    return all;
  }
  // Exit code 1, one line that holds `text`, and every file as it was.
  void refuses(const Words& words, const std::string& text) const {
    const Snapshot before = snapshot();
    expect_refusal(run_program(words), text, 1);
    EXPECT_EQ(snapshot(), before) << "something was written by " << testing::PrintToString(words);
  }
  void create_refuses(const std::string& text, const Words& more = {}) const {
    Words words = with_config({"create"});
    words.insert(words.end(), more.begin(), more.end());
    refuses(words, text);
  }
  Words node_words(const std::string& name) const { return {"node", "--config", config_, "--name", name}; }
};

TEST_F(VolumeRefusal, CreateKeepsWhatIsThere) {
  configure(2);
  done({"create"});
  create_refuses("epoch 0), which would be given up (--force formats it anew)");
  std::filesystem::remove(image("A"));
  create_refuses("B.img: holds a new copy, which holds nothing yet, of volume 'web' (id ");
  EXPECT_FALSE(std::filesystem::exists(image("A"))) << "all is checked before anything is made";
  write_text(image("A"), std::string(1 << 20, '\0'));
  create_refuses("A.img: 1048576 bytes; the volume and its metadata need ", {"--node", "A"});
  const std::string vm = directory_ / "vm";
  ASSERT_EQ(run_program({"create", vm, "--level", "1", "--disks", "2", "--size", "20M"}).code, 0);
  configure(2, {}, {{"A", "device = \"vm/disk0.img\""}});
  create_refuses("vm/disk0.img: holds a member of an md array", {"--node", "A"});
  configure(2, {}, {{"A", "array = \"vm\""}});
  done({"create", "--node", "A"});
  create_refuses("vm: holds a new copy, which holds nothing yet, of volume 'web'", {"--node", "A"});
  const std::string before = read_text(config_);
  EXPECT_NE(done({"create", "--node", "B", "--force"}).out.find("node --config"), std::string::npos);
  EXPECT_EQ(read_text(config_), before) << "a new copy of the volume that there is";
  EXPECT_NE(done({"create", "--node", "A", "B", "--force"}).out.find("a state file of its own"), std::string::npos);
  EXPECT_NE(read_text(config_), before) << "nothing of the volume was left: another one, with another id";
}

TEST_F(VolumeRefusal, NodeServesItsOwnCopyOnly) {
  configure(2);
  const Ended without_id = run_program(node_words("A"));
  expect_refusal(without_id, "no id in it");
  done({"create"});
  const std::string first = read_text(image("A"));
  std::filesystem::remove(image("A"));
  refuses(node_words("A"), "A.img: No such file or directory; if what was there is gone for good");
  write_text(image("A"), "cut");
  refuses(node_words("A"), "A.img: its size is 3 bytes; if what was there is gone for good");
  write_text(image("A"), std::string(first.size(), '\0'));
  refuses(node_words("A"), "resilver volume create --config " + config_ + " --node A");
  std::filesystem::copy_file(image("B"), image("A"), std::filesystem::copy_options::overwrite_existing);
  refuses(node_words("A"), "resilver volume adopt --config " + config_ + " --name A");
  std::string damaged = first;
  for (std::size_t at = kVolume + 40'960; at < damaged.size(); at += 4096) damaged[at + 100] = '\x7f';
  write_text(image("A"), damaged);
  refuses(node_words("A"), "A.img: holds a copy of a volume with damaged metadata");
  expect_refusal(run_program(node_words("D")), "--name: no node 'D'");
  expect_refusal(run_program({"node", "--config", config_}), "expected --name A or B");
}

TEST_F(VolumeRefusal, ImageInUseIsRefusedEvenByForce) {
  configure(1);
  ASSERT_NO_FATAL_FAILURE(start_all());
  create_refuses("A.img: already open by another process", {"--force"});
}

TEST_F(VolumeRefusal, OrdersThatMakeNoSense) {
  detect_ = "3s";
  configure(2);
  done({"create"});
  const Ended nobody = volume({"status"});
  EXPECT_EQ(nobody.code, 1);
  EXPECT_NE(nobody.out.find("nobody answers"), std::string::npos);
  expect_refusal(volume({"demote"}), "no node is the primary now", 1);
  expect_refusal(volume({"promote", "A"}), "A: " + address(7501) + ": Connection refused", 1);
  std::filesystem::remove(image("A"));
  std::filesystem::remove(image("B"));
  ASSERT_NO_FATAL_FAILURE(start_all());
  expect_refusal(volume({"ack", "soon"}), "expected one of async, received, durable, quorum");
  expect_refusal(volume({"promote", "Z"}), "no node 'Z'");
  expect_refusal(volume({"promote"}), "expected one node: A or B");
  expect_refusal(volume({"resolve", "--discard", "B"}), "there is no split brain with A", 1);
  expect_refusal(volume({"attach"}), "expected one of --import FILE, --export FILE, --load TIME");
  expect_refusal(volume({"attach", "--load", "soon"}), "--load: ");
  expect_refusal(volume({"attach", "--load", "1s", "--offset", "4K"}), "--offset goes with --import and --export");
  expect_refusal(volume({"attach", "--import", image("A")}), "is the device of node A", 1);
  expect_refusal(volume({"attach", "--export", image("B")}), "is the device of node B", 1);
  write_text(directory_ / "large", std::string(kVolume + 1, 'x'));
  expect_refusal(volume({"attach", "--import", directory_ / "large"}), "do not fit into the 8388608 bytes of web", 1);
  import("x");
  expect_refusal(volume({"attach", "--load", "1s"}), "holds data, at byte 0; --yes-destroy-data", 1);
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  expect_refusal(volume({"verify"}), "no other copy is in sync", 1);
  expect_refusal(volume({"demote"}), "A: no other copy is in sync", 1);
}

// A connection to an address, closed at the end.
class Stranger {
 public:
  explicit Stranger(const std::string& address) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::size_t colon = address.find(':');
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(colon + 1))));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &to.sin_addr);
    const timeval patience{10, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0) << address;
  }
  Stranger(const Stranger&) = delete;
  Stranger& operator=(const Stranger&) = delete;
  ~Stranger() { close(fd_); }

  void say(const std::string& bytes) const { static_cast<void>(send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL)); }
  // The other side ended the connection without a word, within the patience.
  bool is_turned_away() const {
    char byte = 0;
    const ssize_t got = recv(fd_, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }

 private:
  int fd_;
};

TEST_F(VolumeRefusal, StrangersAtTheControlDoorAreEnded) {
  configure(1);
  ASSERT_NO_FATAL_FAILURE(start_all());
  for (const std::string& said : {noise(100), std::string(200'000, 'x'), std::string("GET / HTTP/1.1\r\n\r\n      ")}) {
    const Stranger stranger(address(7501));
    stranger.say(said);
    EXPECT_TRUE(stranger.is_turned_away());
  }
  std::vector<std::unique_ptr<Stranger>> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(std::make_unique<Stranger>(address(7501)));
  EXPECT_TRUE(silent.back()->is_turned_away()) << "there are more than the door has room for";
  EXPECT_TRUE(eventually_in_sync(1)) << "the silent ones are ended, too";
}

TEST_F(VolumeRefusal, ArbiterTakesNoOtherFileForItsRecord) {
  const auto arbiter = [this](const std::string& state, const std::string& where) {
    const auto before = snapshot();
    const Ended ended = run_program({"arbiter", "--state", state, "--listen", where});
    EXPECT_EQ(ended.code, 1) << ended.all();
    EXPECT_EQ(ended.out, "") << "it listened, and then did not";
    EXPECT_EQ(snapshot(), before) << "something was written";
    return ended.err;
  };
  const std::string state = directory_ / "state";
  EXPECT_NE(arbiter(state, "10.1.2.3:7400").find("not a loopback address"), std::string::npos);
  write_text(state, noise(8192));
  EXPECT_NE(arbiter(state, address(7400)).find("too small to be an arbiter's state"), std::string::npos);
  write_text(state, noise(6 << 20));
  EXPECT_NE(arbiter(state, address(7400)).find("mv " + state + " " + state + ".old"), std::string::npos);
  write_text(state, std::string(4096, '\0'));
  EXPECT_NE(arbiter(state, address(7400)).find("state: it is too small to be an arbiter's state"), std::string::npos);
}

TEST_F(VolumeRefusal, MistakesInTheFileAreToldByLineAndColumn) {
  configure(2);
  std::string text = read_text(config_);
  write_text(config_, text.replace(text.find("8MiB"), 4, "8M1B") + "colour = 1\n");
  for (const Words& words : {with_config({"status"}), with_config({"create"}), node_words("A")}) {
    const Ended ended = run_program(words);
    EXPECT_EQ(ended.code, 2) << ended.all();
    EXPECT_EQ(lines_of(ended.err).size(), 2u) << ended.err;
    EXPECT_EQ(ended.err.find(config_ + ":4:8: volume.size: "), 0u) << ended.err;
    EXPECT_NE(ended.err.find(":17:1: unknown key 'node[1].colour'"), std::string::npos) << ended.err;
  }
}

TEST_F(VolumeRefusal, EveryVerbSaysWhatItExpects) {
  for (const std::string verb : {"create", "status", "attach", "promote", "demote", "ack", "verify", "resync",
                                 "resolve", "recover", "grow", "adopt", "reid", "upgrade"}) {
    expect_refusal(run_program({"volume", verb}), "resilver volume " + verb + ": expected ");
    expect_refusal(run_program({"volume", verb, "--nonsense"}), "--nonsense");
  }
}

class VolumeInterrupted : public VolumeTest {
 protected:
  // Ends soon, with 130.
  static void interrupt(Program& program) {
    program.signal(SIGINT);
    const Ended ended = program.wait(10);
    EXPECT_EQ(ended.code, 130) << ended.all();
  }
};

TEST_F(VolumeInterrupted, CommandsEndAndLeaveTheVolumeAsItIs) {
  detect_ = "3s";
  configure(2, "resync_max = \"8MiB/s\"\n");
  ASSERT_NO_FATAL_FAILURE(start_all());
  {
    Program verify(with_config({"verify"}));  // takes a second
    ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "verify") != "null"; }));
    interrupt(verify);
    EXPECT_TRUE(eventually_status([](const State& now) { return now.of("A", "verify") == "null"; }));
  }
  {
    Program load(with_config({"attach", "--load", "60s", "--json"}));
    ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "writes") > 20; }));
    load.signal(SIGINT);
    const Ended ended = load.wait(10);
    EXPECT_EQ(ended.code, 130) << ended.all();
    EXPECT_EQ(State(ended.out).at("interrupted"), "true") << ended.all();
    EXPECT_EQ(State(ended.out).at("lost_writes"), "0") << ended.all();
  }
  ASSERT_TRUE(eventually_in_sync(2));
  // Nobody answers any more, and still it ends.
  node("A").signal(SIGSTOP);
  node("B").signal(SIGSTOP);
  for (const Words& words : {Words{"status"}, Words{"promote", "B"}, Words{"attach", "--export", directory_ / "out"}}) {
    Program program(with_config(words));
    usleep(200'000);
    interrupt(program);
  }
  node("A").signal(SIGCONT);
  node("B").signal(SIGCONT);
  EXPECT_TRUE(eventually_in_sync(2));
}

}  // namespace
}  // namespace resilver::test
