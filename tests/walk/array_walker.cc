#include "tests/walk/array_walker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <utility>

#include "tests/walk/interrupt.h"

namespace resilver::test::array_walk {
namespace {

namespace fs = std::filesystem;

constexpr int kCureSteps = 20;

bool is_writer(const std::string& command) {
  return command != "status" && command != "examine" && command != "export" && command != "stop";
}
bool changes_members(const std::string& command) {
  return command == "fail" || command == "remove" || command == "add" || command == "re-add" || command == "replace";
}
// Starts the array for good, so that it is resynced.
bool is_starter(const std::string& command) {
  return command == "assemble" || command == "rebuild" || command == "scrub";
}
bool says(const Ran& ran, const std::string& text) { return ran.ended.err.find(text) != std::string::npos; }

}  // namespace

Walker::Walker(const Plan& plan) : plan_(plan), lab_(plan_), judge_(lab_), model_(plan_, 0) {}

// ---- commands --------------------------------------------------------------------------------------------------------

Ran Walker::run(const Words& words, const Step& step) {
  const bool tried = step.tried && (changes_members(words[0]) || words[0] == "assemble");
  const bool expected = tried && would_work(words);
  const Ran ran = lab_.run(words, step);
  ended(ran);
  if (tried && !ran.cut && !ran.hung && expected != ran.good())
    judge_.complain(fmt::format("--dry-run says another thing: {}: {}", ran.line, ran.ended.all()));
  return ran;
}

bool Walker::would_work(const Words& words) {
  Words tried = words;
  tried.push_back("--dry-run");
  const std::string before = lab_.digest();
  const Ran ran = lab_.run(tried);
  judge_.note(fmt::format("{}\n          {}", ran.line, ran.ended.all()));
  judge_.command(ran);
  if (lab_.digest() != before) judge_.complain("a dry run changed an image: " + ran.line);
  return ran.good();
}

void Walker::ended(const Ran& ran) {
  std::string said = ran.ended.all();
  if (!said.empty() && said.back() == '\n') said.pop_back();
  judge_.note(fmt::format("{}{}\n          {}", ran.line, ran.cut ? " (cut short)" : "", said));
  judge_.command(ran);
  if (ran.changed_old) {
    ++changes_;
    for (Away& away : attic_) away.needed = false;
  }
  if (ran.cut && is_writer(ran.command)) dirty_ = true;
  const Seen before = seen_;
  observe();
  if (changes_members(ran.command) && ran.ended.code == 1 && !ran.cut && before.told && seen_.told &&
      !seen_.same_as(before))
    judge_.complain(fmt::format("refused, but the array is another one now: {}: {}", ran.line, ran.ended.all()));
  if (ran.cramped) judge_room(ran, before);
  if (ran.good() && is_writer(ran.command) && seen_.clean &&
      (is_starter(ran.command) || plan_.consistency != "journal")) {
    dirty_ = hole_ = false;
    under_way_.clear();
  }
  if (dirty_ && plan_.has_write_hole() && seen_.lacks()) hole_ = true;
}

void Walker::observe() {
  Seen seen = lab_.look(seen_);
  if (!seen.told && (note_other_side(seen.json.err) || is_of_copies(seen.json.err))) return;
  judge_.status(seen, made_ && !lab_.images().empty());
  seen_ = std::move(seen);
}

void Walker::judge_room(const Ran& ran, const Seen& before) {
  const auto given_up = [&](const Member& one) {  // or replaced by one that is whole
    return one.slot >= 0 && !one.name.empty() && std::ranges::none_of(seen_.members, [&](const Member& now) {
             return now.slot == one.slot && (now.name == one.name || now.state == "in_sync");
           });
  };
  for (const Member& one : before.members) {
    if (given_up(one))
      judge_.complain(fmt::format("{} was given up for lack of room: {}: {}", one.name, ran.line, ran.ended.all()));
  }
  if (before.clean && !dirty_ && plan_.has_write_hole() && seen_.lacks() && !seen_.clean)
    judge_.complain(fmt::format("degraded, and dirty for lack of room: {}: {}", ran.line, ran.ended.all()));
}

// When nobody is left who was with a former member, nothing tells it from one that went on by itself. Then it is in the way,
// and is named.
bool Walker::note_other_side(const std::string& said) {
  if (said.find("went on without the other") == std::string::npos) return false;
  const auto before = trouble_.size();
  for (const std::string& name : lab_.images()) {
    const bool current =
        std::ranges::any_of(seen_.members, [&name](const Member& one) { return one.name == name && one.slot >= 0; });
    if (!current && said.find(name) != std::string::npos) trouble_.insert(name);
  }
  return before != trouble_.size() || !trouble_.empty();
}

// Of two copies of the only member nobody knows which is right; both are named.
bool Walker::is_of_copies(const std::string& said) const {
  return !copied_.empty() && seen_.redundancy_left == 0 && said.find(copied_) != std::string::npos &&
         std::ranges::any_of(
             trouble_, [&](const std::string& name) { return name != copied_ && said.find(name) != std::string::npos; });
}

// Refused for something that is there and was named, or that the walk has brought about.
bool Walker::may_be_refused(const Ran& ran) const {
  if (hole_) return true;
  if (ran.cramped && (says(ran, "room") || says(ran, "it cannot grow"))) return true;
  // What is in a journal yet is not read without being replayed, which writes.
  if (ran.command == "export" && dirty_ && plan_.has_parity() && seen_.lacks()) return true;
  if (std::ranges::any_of(attic_, &Away::needed)) return true;
  return std::ranges::any_of(trouble_, [&ran](const std::string& name) { return says(ran, name); });
}

void Walker::must_work(const Ran& ran) {
  if (ran.cut || ran.good() || may_be_refused(ran)) return;
  judge_.complain(fmt::format("refused without a reason that the walk gave: {}: {}", ran.line, ran.ended.all()));
}

Words Walker::slow(Words words, const Step& step) const {
  if (step.b != 0) words.insert(words.end(), {"--speed-max", "30M"});
  return words;
}

// ---- the client ------------------------------------------------------------------------------------------------------

void Walker::import(const Step& step) {
  if (model_.sectors() == 0) return;
  const std::uint64_t count = std::min(step.b, model_.sectors());
  import_version(model_.new_version(), {step.a % (model_.sectors() - count + 1), count}, step);
}

void Walker::import_version(std::uint32_t version, Range range, const Step& step) {
  const std::string file = lab_.beside("in");
  write_text(file, model_.content(version, range));
  const auto before = changes_;
  const Ran ran = lab_.run(lab_.on_array("import", {file, "--offset", std::to_string(range.first * kSector)}), step);
  // Before anything else: what may be there now.
  if (ran.good()) {
    model_.acknowledge(version, range);
  } else if (ran.changed) {
    model_.cut_short(version, range);
    under_way_.push_back(range);
  }
  ended(ran);
  if (!ran.good() && changes_ != before && !ran.cut && !(ran.cramped && seen_.clean)) dirty_ = true;
  must_work(ran);
}

bool Walker::export_part(Range range, bool settle) {
  export_of(lab_.on_array("export"), range, settle);
  return true;
}

void Walker::export_of(Words words, Range range, bool settle) {
  const std::string out = lab_.beside("out");
  fs::remove(out);
  words.insert(words.end(), {out, "--offset", std::to_string(range.first * kSector), "--length",
                             std::to_string(range.count * kSector)});
  const Ran ran = run(words);
  must_work(ran);
  if (!ran.good()) return;
  const std::string bytes = read_text(out);
  if (bytes.size() != range.count * kSector) return judge_.complain("an export of another length: " + ran.line);
  if (const std::string wrong = model_.judge(bytes, range.first); !wrong.empty()) {
    judge_.complain(fmt::format("{}: {}", ran.line, wrong));
  } else if (settle || (seen_.clean && !dirty_)) {
    model_.settle(bytes, range.first);
  }
}

// What the map says is copied is right, and all is if nothing was lost.
bool Walker::rescue() {
  const std::string out = lab_.beside("rescued"), map = lab_.beside("map");
  fs::remove(out);
  fs::remove(map);
  const Ran ran = run(lab_.on_array("export", {out, "--rescue", map}));
  if (!fs::exists(map)) return must_work(ran), true;
  std::istringstream lines(read_text(map));
  const std::string bytes = read_text(out);
  if (bytes.size() != model_.sectors() * kSector) judge_.complain("not of full length: " + ran.line);
  // Degraded and dirty it may be anything, which is said.
  const bool sure = !dirty_ || !plan_.has_parity();
  std::uint64_t copied = 0;
  bool state_read = false;  // the first line that is no comment tells how far it was
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("#") || !std::exchange(state_read, true)) continue;
    std::uint64_t at = 0, size = 0;
    char status = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 " %" SCNx64 " %c", &at, &size, &status) != 3)
      judge_.complain("a line of the map: " + line);
    if (status != '+' || at + size > bytes.size()) continue;
    copied += size;
    const std::string wrong = sure ? model_.judge(std::string_view(bytes).substr(at, size), at / kSector) : "";
    if (!wrong.empty()) judge_.complain(fmt::format("{}: {}", ran.line, wrong));
  }
  if (ran.good() != (copied == bytes.size()))
    judge_.complain(fmt::format("{} of {} bytes are copied: {}: {}", copied, bytes.size(), ran.line, ran.ended.all()));
  if (!ran.good() && std::ranges::none_of(attic_, &Away::needed)) must_work(ran);
  return true;
}

// ---- members ---------------------------------------------------------------------------------------------------------

std::string Walker::member(std::uint64_t which, bool in_sync) const {
  std::vector<std::string> names;
  for (const Member& one : seen_.members) {
    if (one.name.empty() || one.slot < 0) continue;
    if (!in_sync || one.state == "in_sync") names.push_back(one.name);
  }
  return names.empty() ? "" : names[which % names.size()];
}

std::string Walker::lying_about(std::uint64_t which) const {
  std::vector<std::string> names(trouble_.begin(), trouble_.end());
  for (const Member& one : seen_.members) {
    if (!one.name.empty() && one.state == "faulty") names.push_back(one.name);
  }
  return names.empty() ? "" : names[which % names.size()];
}

bool Walker::change_member(const char* command, const Step& step) {
  std::string name = command == std::string("remove") && step.a % 4 != 0 ? lying_about(step.a) : member(step.a);
  if (name.empty()) return false;
  run(lab_.on_array(command, {name}), step);
  return true;
}

bool Walker::add(const Step& step) {
  if (step.b == 1) {
    const std::string name = lying_about(step.a);
    if (name.empty()) return false;
    if (run(lab_.on_array("add", {name}), step).good()) trouble_.erase(name);
    return true;
  }
  const bool too_small = step.b == 2;
  const std::string name = fmt::format("new{}.img", new_images_++);
  const std::string size = too_small ? "3M" : fmt::format("{}M", plan_.member_mib);
  const Ran ran = run(lab_.on_array("add", {plan_.by_name ? lab_.file(name) : name, "--size", size}), step);
  if (ran.good() && too_small) judge_.complain("a disk that is too small was added: " + ran.line);
  if (!lab_.exists(name)) return true;
  if (ran.cut) {
    trouble_.insert(name);
  } else if (!ran.good()) {
    judge_.complain("refused, but the image that it made is there: " + ran.line);
  }
  return true;
}

bool Walker::readd(const Step& step) {
  const std::string name = lying_about(step.a);
  if (name.empty()) return false;
  if (run(lab_.on_array("re-add", {name}), step).good()) trouble_.erase(name);
  return true;
}

// ---- work ------------------------------------------------------------------------------------------------------------

bool Walker::take_work(const Step& step) {
  switch (step.verb) {
    case Verb::rebuild: {
      const Ran ran = run(slow(lab_.on_array("rebuild"), step), step);
      if (!seen_.lacks()) must_work(ran);
      return true;
    }
    case Verb::assemble: must_work(run(slow(lab_.on_array("assemble"), step), step)); return true;
    case Verb::scrub:
    case Verb::repair: {
      Words words = slow(lab_.on_array("scrub"), step);
      if (step.verb == Verb::repair) words.push_back("--repair");
      const bool not_now = seen_.lacks() || !seen_.next.empty();  // it compares, and leaves all other work to others
      const Ran ran = run(words, step);
      if (not_now || plan_.level == 0) return true;
      if (!model_.damaged()) must_work(ran);
      if (ran.good() && step.verb == Verb::repair && !seen_.lacks()) model_.repaired();
      return true;
    }
    default: return false;
  }
}

bool Walker::force(const Step& step) {
  if (std::ranges::any_of(attic_, &Away::needed)) return false;
  const bool harm = hole_ || !trouble_.empty();
  const auto changes = changes_;
  const std::vector<Range> under_way = under_way_;  // until it has started
  const Ran ran = run(lab_.on_array("assemble", {"--force"}), step);
  if (!harm || changes == changes_) return true;
  for (const Range& range : under_way) model_.may_be_wrong(range);
  if (!trouble_.empty()) model_.all_may_be_wrong();
  if (ran.good()) hole_ = dirty_ = false;
  return true;
}

// The line of status, typed as it stands; DISK is for the reader to choose.
bool Walker::follow_advice() {
  if (!seen_.told || seen_.next.empty() || std::ranges::any_of(attic_, &Away::needed)) return false;
  const std::size_t command = seen_.next.find("resilver ");
  if (command == std::string::npos) {
    judge_.complain("what is to be done names no command: " + seen_.next);
    return true;
  }
  std::string line = seen_.next.substr(command);
  if (const std::size_t disk = line.find(" DISK"); disk != std::string::npos) {
    const std::string name = fmt::format("new{}.img", new_images_++);
    line.replace(disk, 5, fmt::format(" \"{}\" --size {}M", plan_.by_name ? lab_.file(name) : name, plan_.member_mib));
  }
  const Ran ran = lab_.type(line);
  const std::string advice = seen_.next;
  ended(ran);
  if (ran.good() && seen_.clean) dirty_ = hole_ = false, under_way_.clear();
  // What it could do is done, and the next line says what else.
  const bool in_part = says(ran, "redundancy is not full") && ran.changed;
  if (!ran.good() && !in_part && !may_be_refused(ran))
    judge_.complain(fmt::format("'{}' does not work: {}", advice, ran.ended.all()));
  return true;
}

// Long work and what other commands make of it: they look, or are refused; `stop` ends it.
bool Walker::work_beside(const Step& step) {
  const auto before = lab_.stamps();
  const Words long_work = lab_.on_array(step.b < 2 ? "rebuild" : "scrub", {"--speed-max", "20M"});
  Program program(long_work);
  usleep(static_cast<useconds_t>(30'000 + step.a % 60'000));
  const bool stops = step.b % 2 == 0;
  for (const Words& words :
       {lab_.on_array("examine"), lab_.on_array("status", {"--json"}), lab_.on_array(stops ? "stop" : "examine")}) {
    Ran ran = lab_.run(words);
    ran.changed = false;  // by the other one
    judge_.note(fmt::format("beside {}: {}\n          {}", long_work[0], ran.line, ran.ended.all()));
    judge_.command(ran);
  }
  Ran ran;
  ran.command = long_work[0];
  ran.line = fmt::format("resilver {} (others beside it)", long_work[0]);
  ran.ended = program.wait(kPatienceSeconds);
  ran.cut = stops;
  lab_.note_changes(ran, before);
  ended(ran);
  return true;
}

bool Walker::take_command(const Step& step) {
  switch (step.verb) {
    case Verb::import: import(step); return true;
    case Verb::export_all: return export_all();
    case Verb::export_part: {
      const std::uint64_t count = 1 + step.a % 3000;
      if (count > model_.sectors()) return false;
      return export_part({(step.a >> 20) % (model_.sectors() - count + 1), count});
    }
    case Verb::rescue: return rescue();
    case Verb::fail: return change_member("fail", step);
    case Verb::remove: return change_member("remove", step);
    case Verb::replace: return change_member("replace", step);
    case Verb::add: return add(step);
    case Verb::readd: return readd(step);
    case Verb::force: return force(step);
    case Verb::examine: run(lab_.on_array("examine")); return true;
    case Verb::stop: must_work(run(lab_.on_array("stop"))); return true;
    case Verb::advice: return follow_advice();
    case Verb::beside: return work_beside(step);
    default: return take_work(step);
  }
}

void Walker::begin() {
  Words words = {"create"};
  if (plan_.on_files) {
    words.push_back("--devices");
    for (int i = 0; i < plan_.disks + plan_.spares; ++i) {
      words.push_back(lab_.file(fmt::format("disk{}.img", i)));
      write_text(words.back(), "");
      fs::resize_file(words.back(), static_cast<std::uintmax_t>(plan_.member_mib) << 20);
    }
  } else {
    words.insert(words.end(), {lab_.folder(), "--disks", std::to_string(plan_.disks), "--size",
                               fmt::format("{}M", plan_.member_mib)});
    if (plan_.consistency == "journal") words.insert(words.end(), {"--journal-size", "8M"});
  }
  words.insert(words.end(), {"--level", std::to_string(plan_.level)});
  if (plan_.spares > 0) words.insert(words.end(), {"--spares", std::to_string(plan_.spares)});
  if (plan_.chunk_kib > 0) words.insert(words.end(), {"--chunk", fmt::format("{}K", plan_.chunk_kib)});
  if (!plan_.layout.empty()) words.insert(words.end(), {"--layout", plan_.layout});
  if (plan_.level > 0) words.insert(words.end(), {"--consistency", plan_.consistency});
  if (plan_.creation.cut != Cut::none) run(words, plan_.creation);
  made_ = true;
  // What a killed one leaves behind is taken anew; or it was killed when all was done.
  if (!seen_.told) must_work(run(words));
  if (!seen_.whole()) judge_.complain("no whole array was made: " + seen_.text.all());
  model_ = Model(plan_, seen_.size);
}

void Walker::take(const Step& step) {
  if (!judge_.good() || interrupted()) return;
  judge_.note("-- " + text_of(step));
  if (!take_command(step) && !take_mishap(step)) judge_.note("skipped");
}

// ---- the end ---------------------------------------------------------------------------------------------------------

// Somebody who knows nothing but what the program says: the image that a refusal names goes away; a dirty and degraded
// array is forced only where the walk has made it so; else what status says is done.
bool Walker::cure(const Ran& refused) {
  const std::string& line = refused.ended.err;
  for (const std::string& name : lab_.images()) {
    if (!trouble_.contains(name) || line.find(name) == std::string::npos) continue;
    to_attic(name, false);
    observe();
    return true;
  }
  if (hole_ && line.find("--force") != std::string::npos) return force({});
  if (hole_ && line.find("force") != std::string::npos) return force({});
  judge_.complain(fmt::format("nothing helps: {}: {}", refused.line, refused.ended.all()));
  return false;
}

bool Walker::bring_back() {
  std::erase_if(attic_, [](const Away& away) { return !away.needed; });
  while (!attic_.empty()) put_back();
  for (int i = 0; i < kCureSteps && judge_.good() && !interrupted(); ++i) {
    const Ran ran = run(lab_.on_array("assemble"));
    if (!ran.good()) {
      if (!cure(ran)) return false;
    } else if (seen_.whole()) {
      return true;
    } else if (!follow_advice()) {
      judge_.complain("not whole, and nothing is said to be done: " + seen_.text.all());
    }
  }
  if (judge_.good() && !interrupted()) judge_.complain("does not become whole by what is said");
  return false;
}

void Walker::judge_rest() {
  if (model_.damaged()) {
    take_work({.verb = Verb::repair});
    model_.repaired();
  }
  if (plan_.level > 0) {
    const Ran scrubbed = run(lab_.on_array("scrub"));
    if (!scrubbed.good() || scrubbed.ended.out.find("mismatch_cnt 0") == std::string::npos)
      judge_.complain("a whole array's redundancy does not match: " + scrubbed.ended.all());
  }
  export_part({0, model_.sectors()}, true);
  if (plan_.level == 0 || plan_.consistency == "journal") return;
  // Without any member the same.
  const std::string left_out = member(plan_.seed, true);
  Words images = {"export"};
  for (const Member& one : seen_.members) {
    if (one.slot >= 0 && one.name != left_out) images.push_back(lab_.file(one.name));
  }
  export_of(images, {0, model_.sectors()}, false);
}

void Walker::end() {
  if (!judge_.good() || interrupted()) return;
  judge_.note("-- the end: all is to become whole");
  if (bring_back()) judge_rest();
}

Outcome Walker::outcome() const {
  Outcome outcome;
  outcome.good = judge_.good();
  outcome.complaints = judge_.complaints();
  outcome.report = text_of(plan_) + "\n" + judge_.story();
  if (outcome.good) return outcome;
  outcome.report += fmt::format("last status:\n{}{}again: make walk N=1 KIND=arrays SEED={}\n", seen_.text.all(),
                                seen_.json.all(), plan_.seed);
  return outcome;
}

Outcome walk(const Plan& plan) {
  Walker walker(plan);
  walker.begin();
  for (const Step& step : plan.steps) walker.take(step);
  walker.end();
  return walker.outcome();
}

}  // namespace resilver::test::array_walk
