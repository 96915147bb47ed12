#include "tests/walk/lab.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/walk/interrupt.h"

namespace resilver::test {
namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kSmallDiskBytes = 40 << 20;
constexpr double kStopSeconds = 25;  // a primary hands over for 5 s at most
constexpr int kTerminated = 128 + SIGTERM;

unsigned next_number() {
  static unsigned last = 0;
  return ++last;
}

bool ends_within(const Program& program, double seconds) {
  for (double waited = 0; program.running(); waited += 0.005) {
    if (waited > seconds || interrupted()) return false;
    usleep(5000);
  }
  return true;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

}  // namespace

Lab::Lab(const Plan& plan) : plan_(plan), number_(next_number()), file_(config()) {
  for (int i = 0; i < plan.nodes; ++i) nodes_.push_back(static_cast<char>('A' + i));
  if (plan.small_disk != '-') small_disk_ = std::make_unique<SmallFileSystem>(path("small"), kSmallDiskBytes);
  write_text(config(), text_of_file(nodes_));
}

Lab::~Lab() = default;

double Lab::now() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count(); }

bool Lab::is_node(char who) const { return std::ranges::find(nodes_, who) != nodes_.end(); }

// A killed program's sockets outlive it: each round has addresses of its own. Those of tests/e2e end below 127.201.
std::string Lab::address(int port) const {
  const auto pid = static_cast<unsigned>(getpid());
  return fmt::format("127.{}.{}.{}:{}", 201 + (pid >> 16) % 2 * 25 + number_ % 25, pid >> 8 & 255, pid & 255, port);
}

// ---- the volume's file -----------------------------------------------------------------------------------------------

std::string Lab::text_of_file(const std::vector<char>& order) const {
  std::string text = fmt::format(
      "schema = 1\n[volume]\nname = \"web\"\nsize = \"8MiB\"\nack = \"{}\"\narbiter = \"{}\"\nfirst_primary = \"A\"\n"
      "min_in_sync = {}\ndetect = \"{}ms\"\nop_timeout = \"1500ms\"\n",
      plan_.ack, address(7400), plan_.min_in_sync, plan_.detect_ms);
  for (const char who : order) {
    text += fmt::format("[[node]]\nname = \"{}\"\nlisten = \"{}\"\ncontrol = \"{}\"\n", who, address(7401 + who - 'A'),
                        address(7501 + who - 'A'));
    text += on_array(who) ? fmt::format("array = \"array{}\"\n", who) : fmt::format("device = \"{}\"\n", image(who));
  }
  return text;
}

void Lab::give_other_file(char who, std::uint64_t manner) {
  const std::string now = read_text(config());
  std::string text = now;
  std::vector<char> order = nodes_;
  switch (manner) {
    case 0: text = replaced(now, fmt::format("detect = \"{}ms\"", plan_.detect_ms), "detect = \"3s\""); break;
    case 1: text = replaced(now, "ack = \"" + plan_.ack + "\"", "ack = \"async\""); break;
    case 2: std::ranges::reverse(order); break;
    case 3: std::erase(order, who == 'C' ? 'B' : 'C'); break;
  }
  if (order != nodes_) {
    const std::string nodes = text_of_file(order);
    text = now.substr(0, now.find("[[node]]")) + nodes.substr(nodes.find("[[node]]"));
  }
  other_files_[who] = path(fmt::format("web-{}.toml", who));
  write_text(other_files_[who], text);
}

const std::string& Lab::file_of(char who) const {
  const auto other = other_files_.find(who);
  return other == other_files_.end() ? file_ : other->second;
}

std::uint64_t Lab::volume_bytes() const {
  const std::string text = read_text(config());
  const auto at = text.find("\nsize = \"");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + 9)) << 20;
}

// ---- processes -------------------------------------------------------------------------------------------------------

Words Lab::words_for(char who) const {
  if (who == kArbiter) return {"arbiter", "--state", state(), "--listen", address(7400)};
  return {"node", "--config", file_of(who), "--name", std::string(1, who)};
}

void Lab::start(char who) {
  if (programs_.contains(who)) return;
  refusals_.erase(who);
  logs_[who] += fmt::format("---- started at {:.3f} s\n", now());
  programs_[who] = std::make_unique<Program>(words_for(who));
}

bool Lab::running(char who) const { return programs_.contains(who) && programs_.at(who)->running(); }

void Lab::note_end(char who) {
  const Ended ended = programs_.at(who)->wait(1);
  logs_[who] += ended.err + fmt::format("---- ended at {:.3f} s with {}\n", now(), ended.code);
  programs_.erase(who);
  frozen_.erase(who);
}

void Lab::kill(char who) {
  if (!running(who)) return;
  programs_.at(who)->signal(SIGKILL);
  static_cast<void>(ends_within(*programs_.at(who), kStopSeconds));
  note_end(who);
}

bool Lab::stop(char who) {
  if (!running(who)) return true;
  thaw(who);
  Program& program = *programs_.at(who);
  program.signal(SIGTERM);
  if (!ends_within(program, kStopSeconds)) {
    kill(who);
    return false;
  }
  const Ended ended = program.wait(1);
  logs_[who] += ended.err + fmt::format("---- stopped at {:.3f} s with {}\n", now(), ended.code);
  programs_.erase(who);
  return ended.code == 0 || ended.code == 1 || ended.code == kTerminated;  // 1: it was about to refuse
}

void Lab::freeze(char who) {
  if (!running(who)) return;
  programs_.at(who)->signal(SIGSTOP);
  frozen_.insert(who);
}

void Lab::thaw(char who) {
  if (!frozen_.erase(who)) return;
  programs_.at(who)->signal(SIGCONT);
}

// Of its own machine, so to say: the others' addresses, and its own where nobody looks for it.
void Lab::start_clone(char of) {
  const std::string from = image(of), to = path("clone.img");
  if (programs_.contains(kClone) || from.empty() || !exists(from)) return;
  copy_bytes(from, to);
  std::string text = read_text(config());
  text = replaced(text, address(7401 + of - 'A'), address(7601));
  text = replaced(text, address(7501 + of - 'A'), address(7602));
  write_text(path("clone.toml"), replaced(text, from, to));
  logs_[kClone] += fmt::format("---- a clone of {}, started at {:.3f} s\n", of, now());
  programs_[kClone] =
      std::make_unique<Program>(Words{"node", "--config", path("clone.toml"), "--name", std::string(1, of)});
}

std::string Lab::state() const { return path(second_arbiter_ ? "arbiter2" : "arbiter"); }

void Lab::start_second_arbiter() {
  static_cast<void>(stop(kArbiter));
  const std::string before = state();
  second_arbiter_ = !second_arbiter_;
  if (!exists(state()) && exists(before)) copy_bytes(before, state());
  start(kArbiter);
}

std::vector<Lab::Death> Lab::deaths() {
  std::vector<Death> dead;
  for (const auto& [who, program] : programs_) {
    if (program->running()) continue;
    const Ended ended = program->wait(1);
    const bool served = ended.out.find("listening") != std::string::npos;
    logs_[who] += ended.err + fmt::format("---- found ended at {:.3f} s with {}\n", now(), ended.code);
    if (!served && ended.code == 1) refusals_[who] = ended.err;
    dead.push_back({who, ended, served});
  }
  for (const Death& death : dead) {
    programs_.erase(death.who);
    frozen_.erase(death.who);
  }
  return dead;
}

std::string Lab::refusal(char who) const {
  const auto found = refusals_.find(who);
  return found == refusals_.end() ? "" : found->second;
}

void Lab::await_start(char who, double seconds) {
  const double until = now() + seconds;
  while (running(who) && now() < until && !interrupted() &&
         programs_.at(who)->out_so_far().find("listening") == std::string::npos)
    usleep(10'000);
}

std::string Lab::log_of(char who) const {
  std::string log = logs_.contains(who) ? logs_.at(who) : "";
  if (programs_.contains(who)) log += programs_.at(who)->err_so_far();
  return log;
}

std::map<char, std::size_t> Lab::promotions() const {
  std::map<char, std::size_t> counts;
  for (const char who : nodes_) counts[who] = count_of(log_of(who), "primary now, epoch");
  return counts;
}

bool Lab::says_primary(char who) const {
  if (!running(who)) return false;
  const std::string log = programs_.at(who)->err_so_far();
  const auto won = log.rfind("primary now, epoch"), lost = log.rfind("not the primary any more");
  return won != std::string::npos && (lost == std::string::npos || lost < won);
}

// ---- commands --------------------------------------------------------------------------------------------------------

Ran Lab::await(Program& program, const Words& words, double limit) const {
  Ran ran;
  ran.line = "resilver";
  for (const std::string& word : words) ran.line += " " + word;
  const double begun = now();
  if (!ends_within(program, limit)) {
    ran.interrupted = true;
    program.signal(SIGINT);
    if (!ends_within(program, 15)) {
      ran.hung = true;
      program.signal(SIGKILL);
    }
  }
  ran.ended = program.wait(10);
  ran.seconds = now() - begun;
  return ran;
}

Ran Lab::run(const Words& words, double limit) const {
  Program program(words);
  return await(program, words, limit);
}

Words Lab::volume_words(Words words) const {
  words.insert(words.begin(), "volume");
  words.insert(words.end(), {"--config", config()});
  return words;
}

Ran Lab::volume(Words words, double limit) const { return run(volume_words(std::move(words)), limit); }

VolumeStatus Lab::status() const { return status_from(volume({"status", "--json"}).ended.out); }

// ---- files -----------------------------------------------------------------------------------------------------------

std::string Lab::image(char who) const {
  if (on_array(who)) return "";
  const bool small = who == plan_.small_disk && small_disk_ && small_disk_->good();
  return path(fmt::format("{}{}.img", small ? "small/" : "", who));
}

// The members of a RAID 1 hold what the array holds, from where their superblocks say.
CopyImage Lab::copy_of(char who) const {
  std::string file = image(who);
  std::uint64_t at = 0;
  if (on_array(who)) {
    file = path(fmt::format("array{}/disk0.img", who));
    const std::string sectors = bytes_of(file, 4096 + 128, 8);
    if (sectors.size() == 8) std::memcpy(&at, sectors.data(), 8);
    at *= 512;
  }
  return image_of(bytes_of(file, at, kWalkBlocks * kWalkBlock));
}

std::vector<CopyImage> Lab::copies() const { return copies_but('-'); }

std::vector<CopyImage> Lab::copies_but(char who) const {
  std::vector<CopyImage> all;
  for (const char one : nodes_) {
    if (one != who) all.push_back(copy_of(one));
  }
  return all;
}

void Lab::swap_images(char one, char other) {
  const std::string between = path("between.img");
  fs::rename(image(one), between);
  fs::rename(image(other), image(one));
  fs::rename(between, image(other));
}

bool Lab::lose_disk(char who) { return fs::remove(path(fmt::format("array{}/disk1.img", who))); }

// Another volume, with an arbiter that has been asked to keep a record.
bool Lab::make_foreign_state() {
  if (exists(path("foreign"))) return true;
  std::string text = read_text(config());
  text = text.substr(0, text.find("[[node]]"));
  text = replaced(replaced(text, address(7400), address(7700)), "name = \"web\"", "name = \"other\"");
  for (const char who : {'A', 'B'}) {
    text += fmt::format("[[node]]\nname = \"{0}\"\nlisten = \"{1}\"\ncontrol = \"{2}\"\ndevice = \"other{0}.img\"\n",
                        who, address(7701 + who - 'A'), address(7801 + who - 'A'));
  }
  const std::string file = path("other.toml");
  write_text(file, text);
  if (!run({"volume", "create", "--config", file}).good()) return false;
  Program arbiter({"arbiter", "--state", path("foreign"), "--listen", address(7700)});
  Program a({"node", "--config", file, "--name", "A"}), b({"node", "--config", file, "--name", "B"});
  const auto served = [&] { return interrupted() || a.err_so_far().find("primary now") != std::string::npos; };
  return eventually(served, 10);
}

}  // namespace resilver::test
