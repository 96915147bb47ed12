#include "tests/walk/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace resilver::test {
namespace {

constexpr std::array kVerbNames = {
    "write",          "begin_write", "begin_load",    "end_client",   "read",          "kill",         "stop",
    "freeze",         "thaw",        "start",         "flap",         "wait",          "settle",       "status",
    "promote",        "force",       "demote",        "ack",          "verify",        "repair",       "resync",
    "resync_full",    "resolve",     "recover",       "recover_from", "abort",         "advice",       "grow_volume",
    "swap_disks",     "reid",        "keep_state",    "lose_state",   "restore_state", "damage_state", "foreign_state",
    "second_arbiter", "keep_image",  "restore_image", "start_clone",  "stop_clone",    "damage_tail",  "grow_image",
    "cut_image",      "zero_image",  "lose_disk",     "fill_disk",    "free_disk",     "other_file",   "same_file",
    "meddle"};
static_assert(kVerbNames.size() == static_cast<std::size_t>(Verb::meddle) + 1);

// Draws one thing after another into the plan.
class Drawer {
 public:
  explicit Drawer(std::uint64_t seed) : random_(seed) { plan_.seed = seed; }

  Plan draw() {
    draw_volume();
    add(Verb::settle, '-', 5000);
    write();
    const std::uint64_t count = random_.between(3, 5);
    for (std::uint64_t i = 0; i < count; ++i) {
      plan_.ordinary ? crash_episode() : episode();
    }
    return std::move(plan_);
  }

 private:
  using Episode = void (Drawer::*)();

  void add(Verb verb, char who = '-', std::uint64_t a = 0, std::uint64_t b = 0) {
    plan_.steps.push_back({verb, who, a, b});
  }
  char node() { return static_cast<char>('A' + random_.below(static_cast<std::uint64_t>(plan_.nodes))); }
  char other_than(char one) {
    const auto step = 1 + random_.below(static_cast<std::uint64_t>(plan_.nodes) - 1);
    return static_cast<char>('A' +
                             (static_cast<std::uint64_t>(one - 'A') + step) % static_cast<std::uint64_t>(plan_.nodes));
  }
  void pause(std::uint64_t low, std::uint64_t high) { add(Verb::wait, '-', random_.between(low, high)); }
  void settle() { add(Verb::settle, '-', random_.percent(70) ? 2500 : 800); }

  void draw_volume() {
    plan_.nodes = random_.percent(60) ? 3 : 2;
    plan_.ack = kAckNames[std::array<int, 8>{0, 0, 0, 0, 1, 1, 2, 3}[random_.below(8)]];
    plan_.detect_ms = static_cast<int>(random_.between(5, 9)) * 100;
    if (plan_.nodes == 3 && random_.percent(10)) plan_.min_in_sync = 2;
    plan_.ordinary = random_.percent(35);
    if (random_.percent(15)) plan_.array = node();
    const char small = node();
    if (random_.percent(15) && small != plan_.array) plan_.small_disk = small;
  }

  // ---- the client ----------------------------------------------------------------------------------------------------

  void add_write(Verb verb) {
    const std::uint64_t blocks = random_.percent(15) ? random_.between(200, kWalkBlocks) : random_.between(1, 48);
    add(verb, '-', random_.below(kWalkBlocks - blocks + 1), blocks);
  }
  void write() {
    for (std::uint64_t i = random_.between(1, 3); i > 0; --i) add_write(Verb::write);
  }
  void read() { add(Verb::read); }

  // ---- crashes -------------------------------------------------------------------------------------------------------

  void fault(char who) {
    constexpr std::array kFaults = {Verb::kill, Verb::kill, Verb::stop, Verb::freeze};
    add(kFaults[random_.below(kFaults.size())], who);
  }
  // Whatever it was that happened to it.
  void back(char who) {
    add(Verb::thaw, who);
    add(Verb::start, who);
  }

  void one_goes() {
    const char who = node();
    fault(who);
    pause(0, 800);
    settle();
    if (random_.percent(70)) write();
    if (random_.percent(30)) read();
    back(who);
  }

  void write_under_way() {
    add_write(Verb::begin_write);
    pause(0, 60);
    const char who = node();
    fault(who);
    if (random_.percent(30)) fault(other_than(who));
    if (random_.percent(30)) fault('R');
    pause(0, 1500);
    for (char one : {'A', 'B', 'C', 'R'}) back(one);
    add(Verb::end_client);
  }

  void load_under_way() {
    add(Verb::begin_load, '-', random_.between(6, 15) * 100);
    for (std::uint64_t i = random_.between(1, 3); i > 0; --i) {
      pause(50, 500);
      const char who = node();
      fault(who);
      pause(50, 900);
      back(who);
    }
    add(Verb::end_client);
  }

  void all_go() {
    const Verb how = random_.percent(70) ? Verb::kill : Verb::stop;
    std::vector<char> all = {'A', 'B', 'C', 'R'};
    shuffle(all);
    const bool arbiter_stays = random_.percent(30);
    for (const char who : all) {
      if (who == 'R' && arbiter_stays) continue;
      add(how, who);
      if (random_.percent(25)) {
        pause(0, 1200);
        add_write(Verb::write);
      }
    }
    shuffle(all);
    for (const char who : all) {
      if (random_.percent(40)) pause(0, 1500);
      add(Verb::start, who);
    }
    settle();
  }

  void arbiter_away() {
    add(random_.percent(50) ? Verb::kill : Verb::freeze, 'R');
    const char who = node();
    fault(who);
    pause(0, 1500);
    back(who);
    if (random_.percent(50)) write();
    pause(0, 500);
    back('R');
    settle();
  }

  void flap() {
    add(Verb::flap, node(), random_.between(10, 30) * 100, random_.between(100, 300));
    write();
  }

  void order() {
    const char who = node();
    switch (random_.below(8)) {
      case 0: add(Verb::promote, who); break;
      case 1: add(Verb::demote); break;
      case 2: add(Verb::ack, '-', random_.below(plan_.ordinary ? 2 : 4)); break;
      case 3: add(Verb::verify); break;
      case 4: add(Verb::resync, who); break;
      case 5: add(Verb::resync_full, who); break;
      case 6: add(Verb::status); break;
      case 7: add(Verb::recover); break;
    }
    write();
  }

  void crash_episode() {
    constexpr std::array<Episode, 10> kCrashes = {
        &Drawer::one_goes, &Drawer::one_goes,     &Drawer::write_under_way, &Drawer::write_under_way,
        &Drawer::all_go,   &Drawer::arbiter_away, &Drawer::load_under_way,  &Drawer::order,
        &Drawer::order,    &Drawer::flap};
    (this->*kCrashes[random_.below(kCrashes.size())])();
    if (random_.percent(50)) write();
    if (random_.percent(30)) read();
    if (random_.percent(30)) settle();
  }

  // ---- operators and environment -------------------------------------------------------------------------------------

  void damage(Verb verb, char who) {
    switch (random_.below(6)) {
      case 0: add(Verb::lose_state, 'R'); break;
      case 1: add(Verb::damage_state, 'R', random_.below(5), random_.next()); break;
      case 2: add(Verb::foreign_state, 'R'); break;
      default: add(verb, who); break;
    }
  }

  // The others go on without it, and are gone when it comes back; the arbiter's file is not what it was.
  void old_record() {
    const char alone = node();
    if (random_.percent(70)) add(Verb::keep_state, 'R');
    for (const char who : {'A', 'B', 'C'}) {
      if (who != alone) fault(who);
    }
    settle();
    write();
    const bool running = random_.percent(25);
    add(random_.percent(50) ? Verb::stop : Verb::kill, 'R');
    if (!running) fault(alone);
    damage(Verb::restore_state, 'R');
    add(Verb::start, 'R');
    for (const char who : {'A', 'B', 'C'}) {
      if (who != alone) back(who);
    }
    settle();
    if (random_.percent(60)) write();
    back(alone);
    settle();
  }

  // The arbiter's file changes under nodes that run, or all restart.
  void state_changes() {
    if (random_.percent(50)) add(Verb::keep_state, 'R');
    if (random_.percent(60)) one_goes();
    if (random_.percent(30)) {
      add(Verb::second_arbiter, 'R');
      settle();
      write();
      if (random_.percent(60)) add(Verb::second_arbiter, 'R');
      return;
    }
    add(Verb::kill, 'R');
    damage(Verb::restore_state, 'R');
    const char who = node();
    if (random_.percent(50)) fault(who);
    add(Verb::start, 'R');
    pause(0, 1500);
    back(who);
    settle();
    write();
  }

  void image_changes() {
    const char who = node();
    if (random_.percent(60)) {
      add(Verb::keep_image, who);
      write();
      random_.percent(50) ? pause(0, 1500) : pause(5200, 6000);  // within a mark, and well behind it
    }
    const bool others_go = random_.percent(35);
    add(random_.percent(50) ? Verb::stop : Verb::kill, who);
    if (random_.percent(50)) {
      settle();
      write();
    }
    if (others_go) {
      for (const char other : {'A', 'B', 'C'}) {
        if (other != who) fault(other);
      }
    }
    change_image(who);
    back(who);
    pause(0, 1500);
    if (random_.percent(50)) write();
    for (const char other : {'A', 'B', 'C'}) {
      if (others_go && other != who) back(other);
    }
    settle();
  }

  void change_image(char who) {
    switch (random_.below(10)) {
      case 0: add(Verb::grow_image, who, random_.between(1, 64) * 4096 + random_.below(2) * 512); break;
      case 1: add(Verb::cut_image, who, random_.between(1, 12ull << 20)); break;
      case 2: add(Verb::zero_image, who); break;
      case 3: add(Verb::lose_disk, who); break;
      case 4:
      case 5:
      case 6: add(Verb::damage_tail, who, random_.below(5), random_.next()); break;
      default: add(Verb::restore_image, who); break;
    }
  }

  void clone() {
    const char who = node();
    if (random_.percent(50)) add(Verb::stop, who);
    add(Verb::start_clone, who);
    pause(0, 1000);
    if (random_.percent(40)) fault(other_than(who));
    write();
    if (random_.percent(60)) add(Verb::start, who);
    pause(0, 1500);
    if (random_.percent(50)) add(Verb::stop_clone);
    for (const char one : {'A', 'B', 'C'}) back(one);
    settle();
  }

  void full_disk() {
    if (plan_.small_disk == '-') return one_goes();
    add(Verb::fill_disk, plan_.small_disk);
    write();
    if (random_.percent(40)) fault(node());
    if (random_.percent(60)) write();
    if (random_.percent(70)) add(Verb::free_disk);
    for (const char one : {'A', 'B', 'C'}) back(one);
    settle();
  }

  void files_differ() {
    const char who = node();
    add(Verb::other_file, who, random_.below(4));
    settle();
    write();
    if (random_.percent(50)) one_goes();
    if (random_.percent(50)) add(Verb::same_file, who);
  }

  void offline() {
    switch (random_.below(3)) {
      case 0: add(Verb::grow_volume, '-', random_.between(6, 12)); break;
      case 1: add(Verb::swap_disks, node()); break;
      case 2: add(Verb::reid); break;
    }
    settle();
    write();
  }

  // The one that is chosen may be the wrong one, and may not be the one that has to be.
  void choice() {
    const char who = node();
    if (random_.percent(70)) {
      fault(other_than(who));
      if (random_.percent(50)) write();
      fault(other_than(who));
    }
    switch (random_.below(7)) {
      case 0:
      case 1: add(Verb::force, who); break;
      case 2: add(Verb::recover_from, who); break;
      case 3: add(Verb::recover); break;
      case 4: add(Verb::resolve, who); break;
      case 5: add(Verb::repair); break;
      case 6: add(Verb::abort); break;
    }
    settle();
    write();
    for (const char one : {'A', 'B', 'C'}) back(one);
    if (random_.percent(50)) settle();
    if (random_.percent(40)) add(Verb::advice);
  }

  void episode() {
    constexpr std::array<Episode, 12> kEpisodes = {
        &Drawer::crash_episode, &Drawer::crash_episode, &Drawer::old_record,    &Drawer::old_record,
        &Drawer::state_changes, &Drawer::image_changes, &Drawer::image_changes, &Drawer::clone,
        &Drawer::full_disk,     &Drawer::files_differ,  &Drawer::offline,       &Drawer::choice};
    (this->*kEpisodes[random_.below(kEpisodes.size())])();
    if (random_.percent(50)) write();
    if (random_.percent(30)) read();
    if (random_.percent(25)) add(Verb::advice);
  }

  void shuffle(std::vector<char>& list) {
    for (std::size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[random_.below(i)]);
  }

  Random random_;
  Plan plan_;
};

}  // namespace

std::string text_of(const Step& step) {
  std::string text = kVerbNames[static_cast<std::size_t>(step.verb)];
  if (step.who != '-') text += fmt::format(" {}", step.who);
  if (step.a != 0 || step.b != 0) text += fmt::format(" {}", step.a);
  if (step.b != 0) text += fmt::format(" {}", step.b);
  return text;
}

std::string text_of(const Plan& plan) {
  std::string text = fmt::format("seed {}: {} nodes, ack {}, detect {} ms, min_in_sync {}, {}", plan.seed, plan.nodes,
                                 plan.ack, plan.detect_ms, plan.min_in_sync, plan.ordinary ? "crashes" : "operators");
  if (plan.array != '-') text += fmt::format(", {} over RAID 1", plan.array);
  if (plan.small_disk != '-') text += fmt::format(", {} on a small file system", plan.small_disk);
  return text;
}

Plan draw_plan(std::uint64_t seed) { return Drawer(seed).draw(); }

}  // namespace resilver::test
