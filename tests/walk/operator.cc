#include "tests/walk/operator.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>

#include "tests/walk/interrupt.h"

namespace resilver::test {
namespace {

constexpr double kPatience = 120;  // held back copies wait for up to 64 graces
// Seconds without a change, until something is done; after crashes alone nothing should have to be.
constexpr double kStandsStill = 3, kComesBackAlone = 25;
constexpr double kTakesEffect = 20;  // what was advised, and followed
constexpr int kMostActs = 10;
constexpr int kMostHelpless = 5;  // looks at a standstill for which there is no advice
constexpr int kMostTries = 2;     // of one command in one picture
constexpr double kCommandSeconds = 60;

// Nothing is to be done but to wait.
const std::set<std::string> kPasses = {"starting", "handing_over", "no_lease", "being_copied", "held_back"};

Words words_of(const std::string& command) {
  std::istringstream stream(command);
  Words words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

// The word behind `option`; empty: there is none.
std::string option_of(const Words& words, const std::string& option) {
  const auto at = std::ranges::find(words, option);
  return at == words.end() || std::next(at) == words.end() ? "" : *std::next(at);
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// "resilver volume create --config F --node B" out of a longer text; empty: no such.
std::string command_in(const std::string& text, const std::string& verb) {
  const auto at = text.rfind("resilver " + verb);
  if (at == std::string::npos) return {};
  return text.substr(at, text.find_first_of(";\n)", at) - at);
}

bool passes(const VolumeStatus& status) {
  return std::ranges::any_of(status.reasons, [](const ToldReason& reason) { return kPasses.contains(reason.code); });
}

}  // namespace

Operator::Advice Operator::advice_of(const ToldReason& reason) {
  Advice advice{reason.code, reason.node, reason.command};
  advice.gives_up = says(advice.command, "--discard") || says(advice.command, "volume create");
  advice.waits = kPasses.contains(advice.code) || advice.command.empty() || says(advice.command, "volume status");
  return advice;
}

// What a look sees, without what changes all the time.
std::string Operator::picture(const VolumeStatus& status) {
  std::string text{status.primary, ' '};
  for (const char who : status.in_sync) text += who;
  for (const ToldReason& reason : status.reasons) text += " " + reason.code + reason.node;
  return text + status.copying;
}

// The first that has not been tried in vain; what gives something up only where nothing else is said.
std::optional<Operator::Advice> Operator::pick(const VolumeStatus& status, bool may_give_up) {
  std::vector<Advice> all;
  for (const ToldReason& reason : status.reasons) all.push_back(advice_of(reason));
  if (!unproven_.empty()) all.push_back({"recover", "", unproven_, true, false});
  for (const bool giving_up : {false, true}) {
    if (giving_up && !may_give_up) break;
    for (const Advice& advice : all) {
      if (advice.waits || Judge::bearable(advice.code) || advice.gives_up != giving_up) continue;
      if (tried_[picture(status) + advice.command] >= kMostTries) continue;
      ++tried_[picture(status) + advice.command];
      return advice;
    }
  }
  return std::nullopt;
}

void Operator::bring_back() {
  const double until = lab_.now() + kPatience;
  std::string last;
  std::optional<std::string> followed;  // and nothing has changed since
  double changed = lab_.now();
  int acts = 0, helpless = 0;
  while (lab_.now() < until && journal_.good() && !interrupted()) {
    judge_.deaths();
    const VolumeStatus status = lab_.status();
    judge_.status(status);
    if (judge_.whole(status)) return;
    if (picture(status) != last) {
      last = picture(status);
      changed = lab_.now();
      followed.reset();
    }
    const bool waits_for_effect = followed && unproven_.empty();
    const double patience = plan_.ordinary ? kComesBackAlone : waits_for_effect ? kTakesEffect : kStandsStill;
    if (lab_.now() < changed + patience) {
      usleep(200'000);
      continue;
    }
    judge_.stuck(status);
    if (plan_.ordinary) break;
    if (waits_for_effect) journal_.complain("following this changed nothing: " + *followed);
    const auto advice = pick(status, true);
    changed = lab_.now();
    if (!advice && ++helpless > kMostHelpless && !passes(status)) break;
    if (!advice) continue;
    if (++acts > kMostActs) break;
    follow(*advice);
    followed = fmt::format("{} {}: {}", advice->code, advice->node, advice->command);
    judge_.images();
  }
  if (journal_.good() && !interrupted())
    journal_.complain(fmt::format("the volume does not become whole: {}", lab_.volume({"status"}).ended.out));
}

void Operator::follow_once() {
  const VolumeStatus status = lab_.status();
  judge_.status(status);
  if (judge_.whole(status)) return;
  if (const auto advice = pick(status, false)) follow(*advice);
}

// ---- carrying it out -------------------------------------------------------------------------------------------------

void Operator::follow(const Advice& advice) {
  journal_.note(fmt::format("advice ({} {}): {}", advice.code, advice.node, advice.command));
  const Words words = words_of(advice.command);
  if (says(advice.command, "resilver node")) return start_again(option_of(words, "--name")[0]);
  if (says(advice.command, "resilver arbiter")) return right_arbiter(advice.code);
  if (says(advice.command, "volume recover")) return recover(advice.command);
  if (says(advice.command, "volume resolve")) return resolve(option_of(words, "--discard"));
  if (says(advice.command, "volume create")) return new_copy(option_of(words, "--node")[0]);
  if (says(advice.command, "resilver add")) return add_disk(advice.node[0]);
  if (says(advice.command, "volume reid")) return lab_.kill(kClone);
  run(advice.command);
}

void Operator::run(const std::string& command) {
  Words words = words_of(command);
  words.erase(words.begin());  // "resilver"
  if (says(command, "--force")) judge_.may_be_outdated();
  const Ran ran = lab_.run(words, kCommandSeconds);
  judge_.command(ran);
  journal_.note(fmt::format("{}: {}", ran.line, ran.ended.all()));
}

void Operator::start_again(char who) {
  if (!lab_.is_node(who)) return journal_.complain(fmt::format("advice names {}, which is no node", who));
  if (!lab_.stop(who)) journal_.complain(fmt::format("{} does not stop", who));
  judge_.failed(who);
  lab_.give_same_file(who);
  lab_.start(who);
  lab_.await_start(who, 10);
  judge_.deaths();
  if (!lab_.refusal(who).empty()) after_refusal(who);
}

// What a node says that does not start is an advice, too.
void Operator::after_refusal(char who) {
  const std::string why = lab_.refusal(who);
  for (const char* verb : {"volume adopt", "volume grow", "volume create"}) {
    const std::string command = command_in(why, verb);
    if (command.empty()) continue;
    journal_.note(fmt::format("advice (refusal of {}): {}", who, command));
    if (says(command, "volume create")) return new_copy(who);
    run(command);
    lab_.start(who);
    return lab_.await_start(who, 10);
  }
}

// Its file is put back if somebody has it; a damaged one is put aside, as it says itself.
void Operator::right_arbiter(const std::string& code) {
  if (code == "other_record" || code == "two_arbiters") static_cast<void>(lab_.stop(kArbiter));
  if (code == "other_record") {
    exists(lab_.path("own")) ? copy_bytes(lab_.path("own"), lab_.state())
                             : static_cast<void>(std::filesystem::remove(lab_.state()));
  }
  lab_.start(kArbiter);
  lab_.await_start(kArbiter, 10);
  judge_.deaths();
  if (!says(lab_.refusal(kArbiter), "mv ")) return;
  journal_.note("advice (refusal of the arbiter): put its state aside");
  std::filesystem::rename(lab_.state(), lab_.state() + fmt::format(".old{}", ++put_aside_));
  lab_.start(kArbiter);
}

void Operator::recover(const std::string& command) {
  const std::string from = option_of(words_of(command), "--from");
  std::vector<char> asked;
  for (const char who : lab_.nodes()) {
    if (lab_.running(who) && !lab_.frozen(who)) asked.push_back(who);
  }
  Words words = words_of(command);
  words.erase(words.begin());
  const Ran ran = lab_.run(words, kCommandSeconds);
  judge_.command(ran);
  journal_.note(fmt::format("{}: {}", ran.line, ran.ended.all()));
  const auto told = ran.ended.err.find("--from ");
  unproven_ = told == std::string::npos ? "" : fmt::format("{} --from {}", command, ran.ended.err[told + 7]);
  if (from.empty() || !ran.good()) return;
  std::erase(asked, from[0]);
  journal_.note("given up: what only others than " + from + " had");
  judge_.may_be_outdated();
  judge_.give_up(asked);
}

void Operator::resolve(const std::string& sides) {
  const char side = plan_.seed % 2 == 0 ? sides.front() : sides.back();
  const VolumeStatus before = lab_.status();
  const Ran ran = lab_.volume({"resolve", "--discard", std::string(1, side)}, kCommandSeconds);
  judge_.command(ran);
  journal_.note(fmt::format("{}: {}", ran.line, ran.ended.all()));
  if (!ran.good()) return;
  std::vector<char> given_up = {side};
  if (before.primary == side) given_up.insert(given_up.end(), before.in_sync.begin(), before.in_sync.end());
  journal_.note(fmt::format("given up: the side of {}", side));
  judge_.may_be_outdated();
  judge_.give_up(given_up);
}

void Operator::new_copy(char who) {
  if (!lab_.is_node(who)) return journal_.complain(fmt::format("advice names {}, which is no node", who));
  if (!lab_.stop(who)) journal_.complain(fmt::format("{} does not stop", who));
  judge_.not_innocent();
  judge_.give_up({who});
  journal_.note(fmt::format("given up: the copy of {}", who));
  const std::string image = lab_.image(who);
  if (!image.empty() && exists(image)) std::filesystem::rename(image, image + fmt::format(".old{}", ++put_aside_));
  run(fmt::format("resilver volume create --config {} --node {}{}", lab_.config(), who, image.empty() ? " --force" : ""));
  lab_.start(who);
  lab_.await_start(who, 10);
}

void Operator::add_disk(char who) {
  if (!lab_.stop(who)) journal_.complain(fmt::format("{} does not stop", who));
  const std::string folder = lab_.path(fmt::format("array{}", who));
  const std::string disk = fmt::format("{}/new{}.img", folder, ++put_aside_);
  write_text(disk, "");
  std::filesystem::resize_file(disk, kArrayDiskBytes);
  run(fmt::format("resilver add {} {}", folder, disk));
  lab_.start(who);
  lab_.await_start(who, 10);
}

}  // namespace resilver::test
