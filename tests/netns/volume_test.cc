// A replicated volume across hosts: three nodes, an arbiter and a client, each with an address and a cable of its own. What is
// asserted is data and states; how long anything takes decides nothing.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/netns/network.h"

namespace resilver::test {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kFileBytes = 12 << 20;

// On a busy machine a catch-up may itself break off and go on.
const auto kOnlyWhatItMissed = testing::AnyOf("bitmap", testing::StartsWith("resumed"));

class VolumeAcrossHosts : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = HostNetwork::why_not(); !why.empty()) GTEST_SKIP() << why;
    directory_ = std::make_unique<Directory>();
    network_ = std::make_unique<HostNetwork>(std::vector<std::string>{"A", "B", "C", "arbiter", "client"});
  }

  // A new volume on all nodes, with everybody in sync.
  void start(const std::string& ack) {
    std::string text = fmt::format(
        "schema = 1\n[volume]\nname = \"far\"\nsize = \"16MiB\"\nack = \"{}\"\narbiter = \"{}:7400\"\ndetect = "
        "\"500ms\"\n",
        ack, network_->address_of("arbiter"));
    for (const std::string name : {"A", "B", "C"}) {
      const std::string address = network_->address_of(name);
      text +=
          fmt::format("[[node]]\nname = \"{0}\"\nlisten = \"{1}:7401\"\ncontrol = \"{1}:7501\"\ndevice = \"{0}.img\"\n",
                      name, address);
    }
    write_text(config(), text);
    const Ended created = on("client", {"volume", "create", "--config", config()})->wait();
    ASSERT_EQ(created.code, 0) << created.all();
    start_arbiter();
    for (const std::string name : {"A", "B", "C"}) start_node(name);
    ASSERT_TRUE(everybody_in_sync()) << status().dump(1);
  }

  std::string config() const { return *directory_ / "far.toml"; }
  std::unique_ptr<Program> on(const std::string& host, const std::vector<std::string>& words) const {
    return std::make_unique<Program>(words, network_->on(host));
  }
  void start_arbiter() {
    processes_["arbiter"] = on("arbiter", {"arbiter", "--state", *directory_ / "record.img", "--listen",
                                           network_->address_of("arbiter") + ":7400"});
  }
  void start_node(const std::string& name) {
    processes_[name] = on(name, {"node", "--config", config(), "--name", name});
  }
  void kill_node(const std::string& name) {
    processes_[name]->signal(SIGKILL);
    processes_[name]->wait();
  }

  // As the client's host sees it; empty where nobody answers.
  Json status() const {
    const Ended ended = on("client", {"volume", "status", "--config", config(), "--json"})->wait();
    return Json::parse(ended.out, nullptr, false);
  }
  std::string primary() const {
    const Json now = status();
    return now.is_object() && now.at("serving").get<bool>() ? now.at("primary").get<std::string>() : "";
  }
  // By which rule this node was last brought up to date, as the primary tells.
  std::string why_of(const std::string& name) const {
    const Json now = status();
    for (const Json& node : now.at("nodes")) {
      if (node.at("name") == name) return node.at("why");
    }
    return {};
  }
  bool in_sync(std::size_t count) const {
    const Json now = status();
    return now.is_object() && now.at("serving").get<bool>() && now.at("in_sync").size() == count;
  }
  bool everybody_in_sync() const {
    return eventually([this] { return in_sync(3); }, 60);
  }

  // The client's program under load, judged by the oracle; destroys what is there.
  std::unique_ptr<Program> load(const std::string& duration) const {
    return on("client", {"volume", "attach", "--config", config(), "--load", duration, "--yes-destroy-data", "--json"});
  }
  static void expect_nothing_lost(const Ended& ended) {
    ASSERT_EQ(ended.code, 0) << ended.all();
    const Json result = Json::parse(ended.out);
    EXPECT_EQ(result.at("lost_writes"), 0) << ended.out;
    EXPECT_EQ(result.at("stale_reads"), 0) << ended.out;
    EXPECT_EQ(result.at("corrupt_reads"), 0) << ended.out;
    EXPECT_GT(result.at("writes").get<std::uint64_t>(), 0u) << ended.out;
  }
  static void let_it_work(int milliseconds) { usleep(static_cast<useconds_t>(milliseconds) * 1000); }

  // All copies are the same bytes, as the nodes find by comparing them.
  void expect_copies_equal() const {
    const Ended verified = on("client", {"volume", "verify", "--config", config()})->wait();
    EXPECT_EQ(verified.code, 0) << verified.all();
  }

  std::unique_ptr<Directory> directory_;  // removed last
  std::unique_ptr<HostNetwork> network_;
  std::map<std::string, std::unique_ptr<Program>> processes_;
};

TEST_F(VolumeAcrossHosts, ThePrimarysCableIsPulledUnderLoadAndPutBack) {
  start("durable");
  ASSERT_EQ(primary(), "A");
  const auto client = load("7s");
  let_it_work(1500);
  network_->unplug("A");
  EXPECT_TRUE(eventually([this] { return primary() == "B" || primary() == "C"; }));
  let_it_work(500);
  network_->plug_in("A");
  expect_nothing_lost(client->wait());
  EXPECT_TRUE(everybody_in_sync()) << status().dump(1);
  EXPECT_THAT(why_of("A"), kOnlyWhatItMissed);
  expect_copies_equal();
}

TEST_F(VolumeAcrossHosts, WithoutTheArbiterNothingStopsUntilAPrimaryDies) {
  start("quorum");
  network_->unplug("arbiter");
  expect_nothing_lost(load("1s")->wait());
  kill_node("A");
  let_it_work(2000);  // four times what a failover takes
  EXPECT_EQ(primary(), "");
  network_->plug_in("arbiter");
  EXPECT_TRUE(eventually([this] { return in_sync(2); }, 60)) << status().dump(1);
  start_node("A");
  EXPECT_TRUE(everybody_in_sync()) << status().dump(1);
  expect_copies_equal();
}

TEST_F(VolumeAcrossHosts, AThinLineBreaksInTheMiddleOfAnImportAndOnlyTheRestIsCopiedLater) {
  start("durable");
  const std::string original = *directory_ / "original", copy = *directory_ / "copy";
  std::mt19937_64 random(7);
  std::string bytes(kFileBytes, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  write_text(original, bytes);
  network_->shape("C", "40mbit");
  const auto import = on("client", {"volume", "attach", "--config", config(), "--import", original});
  let_it_work(700);
  network_->unplug("C");  // in the middle: 12 MiB take two seconds and a half on that line
  const Ended imported = import->wait();
  EXPECT_EQ(imported.code, 0) << imported.all();
  network_->plug_in("C");
  network_->shape("C", "");
  EXPECT_TRUE(everybody_in_sync()) << status().dump(1);
  EXPECT_THAT(why_of("C"), kOnlyWhatItMissed);
  expect_copies_equal();
  kill_node("A");
  kill_node("B");  // what C says is what counts now: all three are in sync
  EXPECT_TRUE(eventually([this] { return primary() == "C"; }, 60)) << status().dump(1);
  const Ended exported = on("client", {"volume", "attach", "--config", config(), "--export", copy})->wait();
  EXPECT_EQ(exported.code, 0) << exported.all();
  EXPECT_TRUE(read_text(copy).substr(0, kFileBytes) == bytes) << "C has something else";
}

}  // namespace
}  // namespace resilver::test
