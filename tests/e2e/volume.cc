#include "tests/e2e/volume.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

namespace resilver::test {
namespace {

using Json = nlohmann::json;

std::string text_of(const Json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end()) return "(no " + key + ")";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

Json parse(const std::string& text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json::object();
}

// Of a program that the test is about to end anyway.
std::string last_words(Program& program) {
  program.signal(SIGTERM);
  return program.wait(20).all();
}

}  // namespace

std::string State::at(const std::string& key) const { return text_of(parse(json_), key); }

std::string State::of(const std::string& node, const std::string& key) const {
  for (const Json& one : parse(json_).value("nodes", Json::array())) {
    if (one.at("name") == node) return text_of(one, key);
  }
  return "(no node " + node + ")";
}

std::size_t State::count(const std::string& key) const { return parse(json_).value(key, Json::array()).size(); }

bool State::has(const std::string& code, const std::string& node) const {
  for (const Json& one : parse(json_).value("reasons", Json::array()))
    if (one.at("code") == code && (node.empty() || one.at("node") == node)) return true;
  return false;
}

std::string State::command_of(const std::string& code) const {
  for (const Json& one : parse(json_).value("reasons", Json::array()))
    if (one.at("code") == code) return one.at("command");
  return "(no " + code + ")";
}

std::string VolumeTest::address(int port) const {
  const auto pid = static_cast<unsigned>(getpid());
  return "127." + std::to_string(1 + pid / 65536 % 10 * 20 + number_ % 20) + "." + std::to_string(pid >> 8 & 255) +
         "." + std::to_string(pid & 255) + ":" + std::to_string(port);
}

unsigned VolumeTest::next_number() {
  static unsigned last = 0;
  return ++last;
}

void VolumeTest::configure(int nodes, const std::string& more, const std::map<std::string, std::string>& storage) {
  std::string text = "schema = 1\n[volume]\nname = \"web\"\nsize = \"8MiB\"\ndetect = \"" + detect_ + "\"\n" + more;
  // The id that create wrote stays: it is the same volume.
  const std::string before = std::filesystem::exists(config_) ? read_text(config_) : "";
  if (const auto id = before.find("\nid = "); id != std::string::npos)
    text += before.substr(id + 1, before.find('\n', id + 1) - id);
  if (nodes > 1) text += "arbiter = \"" + address(7400) + "\"\n";
  names_.clear();
  for (int i = 0; i < nodes; ++i) {
    const std::string name(1, static_cast<char>('A' + i));
    names_.push_back(name);
    text += "[[node]]\nname = \"" + name + "\"\nlisten = \"" + address(7401 + i) + "\"\ncontrol = \"" +
            address(7501 + i) + "\"\n";
    const auto other = storage.find(name);
    text += (other == storage.end() ? "device = \"" + name + ".img\"" : other->second) + "\n";
  }
  write_text(config_, text);
}

VolumeTest::Words VolumeTest::with_config(const Words& words) const {
  Words all = {"volume"};
  all.insert(all.end(), words.begin(), words.end());
  all.insert(all.end(), {"--config", config_});
  return all;
}

Ended VolumeTest::volume(const Words& words) const { return run_program(with_config(words)); }

Ended VolumeTest::done(const Words& words) const {
  Ended ended = volume(words);
  EXPECT_EQ(ended.code, 0) << testing::PrintToString(words) << "\n" << ended.all();
  return ended;
}

void VolumeTest::start_arbiter() {
  arbiter_ = std::make_unique<Program>(Words{"arbiter", "--state", directory_ / "arbiter", "--listen", address(7400)});
}

void VolumeTest::start(const std::string& name) {
  nodes_[name] = std::make_unique<Program>(Words{"node", "--config", config_, "--name", name});
}

void VolumeTest::start_all() {
  done({"create"});
  if (names_.size() > 1) start_arbiter();
  for (const std::string& name : names_) start(name);
  ASSERT_TRUE(eventually_in_sync(names_.size()));
}

void VolumeTest::kill(const std::string& name) {
  node(name).signal(SIGKILL);
  nodes_.erase(name);
}

Ended VolumeTest::stop(const std::string& name) {
  node(name).signal(SIGTERM);
  Ended ended = node(name).wait(20);
  EXPECT_EQ(ended.code, 0) << ended.all();
  nodes_.erase(name);
  return ended;
}

void VolumeTest::stop_arbiter() {
  arbiter_->signal(SIGTERM);
  EXPECT_EQ(arbiter_->wait(20).code, 0);
  arbiter_.reset();
}

void VolumeTest::stop_all() {
  while (!nodes_.empty()) stop(nodes_.begin()->first);
  if (arbiter_) stop_arbiter();
}

bool VolumeTest::eventually_has(const std::string& code, const std::string& node, int seconds) const {
  const bool good = eventually_status([&](const State& now) { return now.has(code, node); }, seconds);
  EXPECT_TRUE(good) << "no " << code << " " << node << "\n" << volume({"status"}).all();
  return good;
}

bool VolumeTest::eventually_status(const std::function<bool(const State&)>& good, int seconds) const {
  return eventually([&] { return good(status()); }, seconds);
}

testing::AssertionResult VolumeTest::eventually_in_sync(std::size_t count) const {
  const bool good = eventually_status(
      [count](const State& now) { return now.at("serving") == "true" && now.count("in_sync") == count; });
  if (good) return testing::AssertionSuccess();
  std::string said = volume({"status"}).all();
  for (const auto& [name, program] : nodes_) said += name + ": " + last_words(*program);
  if (arbiter_) said += "arbiter: " + last_words(*arbiter_);
  return testing::AssertionFailure() << said;
}

void VolumeTest::import(const std::string& text) const {
  write_text(directory_ / "in", text);
  done({"attach", "--import", directory_ / "in"});
}

std::string VolumeTest::export_text(std::size_t bytes) const {
  done({"attach", "--export", directory_ / "out", "--length", std::to_string(bytes)});
  return read_text(directory_ / "out");
}

std::string VolumeTest::held_by(const std::string& node, std::size_t bytes) const {
  return read_text(image(node)).substr(0, bytes);
}

void VolumeTest::expect_equal(const Words& nodes) const {
  const std::string first = read_text(image(nodes.at(0))).substr(0, kVolume);
  for (const std::string& name : nodes) {
    EXPECT_TRUE(read_text(image(name)).substr(0, kVolume) == first) << name << " differs from " << nodes[0];
  }
}

std::string VolumeTest::noise(std::size_t bytes, std::uint32_t seed) {
  std::string text(bytes, '\0');
  std::uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  for (char& byte : text) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    byte = static_cast<char>(state >> 56);
  }
  return text;
}

void VolumeTest::overwrite(const std::string& path, std::uint64_t at, const std::string& bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path;
  EXPECT_EQ(pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at)), static_cast<ssize_t>(bytes.size()));
  close(fd);
}

}  // namespace resilver::test
