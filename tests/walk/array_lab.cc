#include "tests/walk/array_lab.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace resilver::test::array_walk {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

template <typename T>
T field(const Json& json, const char* key, T otherwise) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? otherwise : found->get<T>();
}

void read_json(const std::string& text, Seen& seen) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return;
  seen.told = true;
  seen.state = field<std::string>(json, "state", "");
  seen.slots = field<std::string>(json, "slots", "");
  seen.next = field<std::string>(json, "next", "");
  seen.clean = field(json, "clean", false);
  seen.lacks_journal = field<std::string>(json, "journal", "") == "missing";
  seen.redundancy_left = field(json, "redundancy_left", 0);
  seen.size = field<std::uint64_t>(json, "size", 0);
  for (const Json& one : field(json, "members", Json::array())) {
    seen.members.push_back(
        {field<std::string>(one, "name", ""), field(one, "slot", -1), field<std::string>(one, "state", "")});
  }
}

std::string program_folder() {
  const char* set = std::getenv("RESILVER_PROGRAM");
  return fs::absolute(set != nullptr ? set : "build/release/resilver").parent_path();
}

}  // namespace

Lab::Lab(const Plan& plan) : plan_(plan) { fs::create_directory(folder()); }

double Lab::now() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count(); }

Words Lab::on_array(const std::string& command, const Words& more) const {
  Words words = {command};
  if (plan_.by_name && !images().empty()) {
    for (const std::string& name : images()) words.push_back(file(name));
  } else {
    words.push_back(folder());
  }
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Ran Lab::run(const Words& words, const Step& step) const {
  Ran ran;
  ran.command = words[0];
  ran.line = fmt::format("resilver {}", fmt::join(words, " "));
  const auto before = stamps();
  ran.cramped = step.room_kib != 0;
  const rlimit room{step.room_kib << 10, step.room_kib << 10};
  Program program(words, [&ran, &room] { return !ran.cramped || setrlimit(RLIMIT_FSIZE, &room) == 0; });
  if (step.cut != Cut::none) {
    while (step.writing && program.running() && stamps() == before) usleep(200);
    usleep(step.after_us);
    ran.cut = program.running();
    program.signal(step.cut == Cut::kill ? SIGKILL : SIGINT);
  }
  ran.ended = program.wait(kPatienceSeconds);
  ran.hung = ran.ended.code == 128 + SIGKILL && step.cut != Cut::kill;
  note_changes(ran, before);
  return ran;
}

Ran Lab::type(const std::string& line) const {
  Ran ran;
  ran.command = "shell";
  ran.line = line;
  const auto before = stamps();
  write_text(beside("line"), line + "\n");
  const std::string out = beside("said");
  const int status = std::system(fmt::format("PATH='{}':$PATH timeout -k 5 {} sh '{}' >'{}' 2>&1 </dev/null",
                                             program_folder(), kPatienceSeconds, beside("line"), out)
                                     .c_str());
  ran.ended = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), "", read_text(out)};
  ran.hung = ran.ended.code == 124 || ran.ended.code == 137;
  note_changes(ran, before);
  return ran;
}

Seen Lab::look(const Seen& before) const {
  Seen seen;
  const auto stamped = stamps();
  seen.json = run_program(on_array("status", {"--json"}));
  read_json(seen.json.out, seen);
  if (seen.told && seen.same_as(before)) {
    seen.text = before.text;
    seen.test = before.test;
  } else {
    seen.text = run_program(on_array("status"));
    seen.test = run_program(on_array("status", {"--test"}));
  }
  seen.changed = stamps() != stamped;
  return seen;
}

// ---- images ----------------------------------------------------------------------------------------------------------

std::vector<std::string> Lab::images() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder())) {
    if (entry.path().extension() == ".img") names.push_back(entry.path().filename());
  }
  std::ranges::sort(names);
  return names;
}

bool Lab::exists(const std::string& name) const { return fs::exists(file(name)); }

Lab::Stamps Lab::stamps() const {
  Stamps all;
  for (const auto& entry : fs::directory_iterator(folder())) {
    struct stat status{};
    if (stat(entry.path().c_str(), &status) != 0) continue;
    all[entry.path().filename()] = {status.st_ino, status.st_size,
                                    status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec};
  }
  return all;
}

void Lab::note_changes(Ran& ran, const Stamps& before) const {
  const Stamps after = stamps();
  ran.changed = after != before;
  ran.changed_old = !std::ranges::includes(after, before);
}

std::string Lab::digest() const {
  std::string text;
  for (const auto& [name, stamp] : stamps()) {
    text += fmt::format("{} {} {} {} {:x}\n", name, std::get<0>(stamp), std::get<1>(stamp), std::get<2>(stamp),
                        std::hash<std::string>{}(read_text(file(name))));
  }
  return text;
}

std::string Lab::free_name(const std::string& stem) const {
  for (int i = 0;; ++i) {
    const std::string name = fmt::format("{}{}.img", stem, i);
    if (!exists(name)) return name;
  }
}

std::optional<std::pair<std::uint64_t, std::uint64_t>> Lab::data_of(const std::string& name) const {
  const Json json = Json::parse(run_program({"examine", file(name), "--json"}).out, nullptr, false);
  if (!json.is_object() || json["disks"].empty() || json["disks"][0].contains("error")) return std::nullopt;
  const Json& disk = json["disks"][0];
  const auto sectors = [&disk](const char* key) { return field<std::uint64_t>(disk, key, 0) * 512; };
  const std::uint64_t used = sectors("used_dev_size_sectors");
  return std::pair(sectors("data_offset_sectors"), used != 0 ? used : sectors("avail_dev_size_sectors"));
}

void Lab::overwrite(const std::string& name, std::uint64_t at, const std::string& bytes) const {
  const int fd = open(file(name).c_str(), O_WRONLY | O_CLOEXEC);
  [[maybe_unused]] const ssize_t put = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
  fsync(fd);
  close(fd);
}

std::string Lab::foreign_member() const {
  const std::string other = beside("other");
  if (!fs::exists(other)) run_program({"create", other, "--level", "1", "--disks", "2", "--size", "8M"});
  return other + "/disk1.img";
}

}  // namespace resilver::test::array_walk
