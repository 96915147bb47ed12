// A volume of two or three nodes and an arbiter as a user has it: the program's own processes on loopback, images in a
// folder of the test. Every test process has a loopback address of its own, so that ports never meet.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/small.h"

namespace resilver::test {

// JSON that the program printed: values as text, strings without their quotes.
class State {
 public:
  explicit State(std::string json) : json_(std::move(json)) {}
  std::string at(const std::string& key) const;
  std::string of(const std::string& node, const std::string& key) const;  // of one of "nodes"
  std::uint64_t number(const std::string& key) const { return std::stoull(at(key)); }
  std::uint64_t number_of(const std::string& node, const std::string& key) const { return std::stoull(of(node, key)); }
  std::size_t count(const std::string& key) const;  // of a list
  // A reason code that status gives, of this node or of any; the command that it comes with.
  bool has(const std::string& code, const std::string& node = {}) const;
  std::string command_of(const std::string& code) const;
  const std::string& text() const noexcept { return json_; }

 private:
  std::string json_;
};

class VolumeTest : public testing::Test {
 protected:
  using Words = std::vector<std::string>;

  // Writes the configuration: nodes A, B, … with an image each, or what `storage` says instead ("array = …").
  void configure(int nodes, const std::string& more = {}, const std::map<std::string, std::string>& storage = {});
  // `resilver volume VERB … --config FILE …`
  Ended volume(const Words& words) const;
  Ended done(const Words& words) const;  // expects exit code 0
  Words with_config(const Words& words) const;

  void start_arbiter();
  void start(const std::string& node);
  void start_all();  // created, served, all in sync
  void kill(const std::string& node);
  Ended stop(const std::string& node);  // by SIGTERM; what it said
  void stop_arbiter();
  void stop_all();  // the nodes, then the arbiter
  Program& node(const std::string& name) { return *nodes_.at(name); }

  State status() const { return State(volume({"status", "--json"}).out); }
  // Waits until the state is such.
  bool eventually_status(const std::function<bool(const State&)>& good, int seconds = 15) const;
  bool eventually_has(const std::string& code, const std::string& node = {}, int seconds = 15) const;
  // A primary serves, with so many copies in sync.
  testing::AssertionResult eventually_in_sync(std::size_t nodes) const;

  void import(const std::string& text) const;
  std::string export_text(std::size_t bytes) const;
  // What the node's own copy holds of the volume, while it does not run.
  std::string held_by(const std::string& node, std::size_t bytes) const;
  std::string image(const std::string& node) const { return directory_ / (node + ".img"); }
  // The copies of these nodes hold the same bytes of the volume, looked at in the images.
  void expect_equal(const Words& nodes) const;
  static std::string noise(std::size_t bytes, std::uint32_t seed = 1);
  static void overwrite(const std::string& path, std::uint64_t at, const std::string& bytes);

  static constexpr std::uint64_t kVolume = 8 << 20;
  // A killed program's sockets outlive it, on a busy machine by seconds: each test has addresses of its own.
  std::string address(int port) const;
  static unsigned next_number();

  const unsigned number_ = next_number();  // of the test
  // Where nothing is to fail over: long, so that a busy machine does not look like a dead node.
  std::string detect_ = "600ms";
  Directory directory_;
  std::string config_ = directory_ / "web.toml";
  std::unique_ptr<Program> arbiter_;
  std::map<std::string, std::unique_ptr<Program>> nodes_;
  Words names_;
};

}  // namespace resilver::test
