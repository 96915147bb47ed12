#include "tests/walk/array_plan.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "base/random.h"

namespace resilver::test::array_walk {
namespace {

constexpr std::array kVerbNames = {
    "import",      "export_all", "export_part", "rescue",      "fail",      "remove",       "add",
    "readd",       "replace",    "rebuild",     "scrub",       "repair",    "assemble",     "force",
    "examine",     "stop",       "advice",      "beside",      "move_away", "put_back",     "lose_journal",
    "keep",        "restore",    "swap_names",  "copy_beside", "cut_image", "damage_super", "damage_bitmap",
    "damage_data", "stray",      "split",       "foreign",     "tidy",      "meddle"};
static_assert(kVerbNames.size() == static_cast<std::size_t>(Verb::meddle) + 1);

class Drawer {
 public:
  explicit Drawer(std::uint64_t seed) : random_(seed ^ 0xa7a7) { plan_.seed = seed; }

  Plan draw() {
    draw_array();
    add(Verb::import, 4000);
    const std::uint64_t count = random_.between(4, 7);
    for (std::uint64_t i = 0; i < count; ++i) episode();
    return std::move(plan_);
  }

 private:
  using Episode = void (Drawer::*)();

  void draw_array() {
    plan_.level = std::array<int, 12>{0, 1, 1, 4, 5, 5, 5, 5, 6, 6, 10, 10}[random_.below(12)];
    const std::array<std::pair<int, int>, 11> range = {
        {{2, 3}, {2, 4}, {}, {}, {3, 4}, {3, 5}, {4, 6}, {}, {}, {}, {2, 5}}};
    const auto [low, high] = range[static_cast<std::size_t>(plan_.level)];
    plan_.disks = static_cast<int>(random_.between(static_cast<std::uint64_t>(low), static_cast<std::uint64_t>(high)));
    plan_.spares = plan_.level > 0 && random_.percent(35) ? static_cast<int>(random_.between(1, 2)) : 0;
    plan_.member_mib = static_cast<int>(random_.between(5, 9));
    plan_.chunk_kib = plan_.level == 1 ? 0 : 4 << random_.below(6);
    constexpr std::array kLayouts = {"left-asymmetric", "right-asymmetric", "left-symmetric", "right-symmetric"};
    if (plan_.level >= 5 && plan_.level <= 6 && random_.percent(50)) plan_.layout = kLayouts[random_.below(4)];
    if (plan_.level > 0 && random_.percent(40)) plan_.consistency = "bitmap";
    if (plan_.has_parity() && random_.percent(20)) plan_.consistency = "journal";
    if (random_.percent(25)) plan_.folder = random_.percent(50) ? "my vm" : "vm's";
    plan_.by_name = random_.percent(25);
    plan_.on_files = random_.percent(25) && plan_.consistency != "journal";
    if (!plan_.on_files) maybe_cut(plan_.creation, 20, 30'000);
  }

  // ---- steps ---------------------------------------------------------------------------------------------------------

  Step& add(Verb verb, std::uint64_t b = 0) {
    plan_.steps.push_back({verb, random_.next(), b});
    return plan_.steps.back();
  }
  void maybe_cut(Step& step, unsigned percent, std::uint64_t longest_us = 60'000) {
    if (!random_.percent(percent)) return;
    step.cut = random_.percent(65) ? Cut::kill : Cut::interrupt;
    step.writing = random_.percent(65);
    step.after_us = static_cast<std::uint32_t>(step.writing ? random_.below(longest_us / 5) : random_.below(longest_us));
  }

  void import(unsigned cut_percent = 25) {
    maybe_cut(add(Verb::import, random_.percent(30) ? random_.between(2000, 30'000) : random_.between(1, 500)),
              cut_percent, 40'000);
  }
  void look() {
    if (random_.percent(70)) add(random_.percent(70) ? Verb::export_all : Verb::export_part);
    if (random_.percent(15)) add(Verb::examine);
    if (random_.percent(10)) add(Verb::rescue);
  }
  // Work that takes time: sometimes slowly, sometimes cut short.
  void work(Verb verb, unsigned cut_percent = 35) {
    const bool slow = random_.percent(30);
    Step& step = add(verb, slow ? 1 : 0);
    step.tried = random_.percent(10);
    maybe_cut(step, cut_percent, slow ? 500'000 : 50'000);
  }
  void membership(Verb verb, std::uint64_t b = 0) {
    Step& step = add(verb, b);
    step.tried = random_.percent(15);
    maybe_cut(step, 15, 25'000);
  }
  std::uint64_t some_room() { return random_.between(2048, static_cast<std::uint64_t>(plan_.member_mib) * 1024 - 1); }
  void restore_redundancy() {
    if (random_.percent(25)) return add(Verb::advice), void();
    if (random_.percent(60)) membership(Verb::add, random_.below(3));
    if (random_.percent(70)) work(random_.percent(60) ? Verb::rebuild : Verb::assemble);
  }

  // ---- episodes ------------------------------------------------------------------------------------------------------

  void write_under_way() {
    import(80);
    if (random_.percent(40)) look();
    work(Verb::assemble);
    look();
  }
  void disk_fails() {
    membership(Verb::fail);
    if (random_.percent(60)) import();
    if (random_.percent(40)) membership(Verb::remove);
    look();
    random_.percent(40) ? membership(Verb::readd) : membership(Verb::add, random_.below(3));
    work(Verb::rebuild);
    look();
  }
  void disk_away() {
    add(Verb::move_away, random_.below(10));
    if (random_.percent(75)) import();
    look();
    add(Verb::put_back);
    if (random_.percent(50)) add(Verb::assemble);
    if (random_.percent(70)) membership(random_.percent(60) ? Verb::readd : Verb::add, 1);
    restore_redundancy();
    look();
  }
  void disk_aged() {
    add(Verb::keep);
    if (random_.percent(80)) import();
    if (random_.percent(30)) membership(Verb::fail);
    add(Verb::restore);
    if (random_.percent(60)) look();
    if (random_.percent(50)) import();
    if (random_.percent(50)) membership(Verb::readd);
    if (random_.percent(50)) add(Verb::tidy);
    restore_redundancy();
  }
  void disk_replaced() {
    membership(Verb::add, 0);
    membership(Verb::replace);
    if (random_.percent(40)) import();
    work(Verb::rebuild, 60);
    if (random_.percent(40)) import();
    work(Verb::rebuild, 20);
    look();
  }
  void disk_damaged() {
    constexpr std::array kHow = {Verb::cut_image, Verb::damage_super, Verb::damage_super, Verb::damage_bitmap};
    add(kHow[random_.below(kHow.size())], random_.below(8));
    look();
    if (random_.percent(50)) import();
    if (random_.percent(50)) add(Verb::tidy);
    restore_redundancy();
  }
  void data_damaged() {
    add(Verb::damage_data, random_.between(1, 64) * 512);
    if (random_.percent(50)) import();
    look();
    work(Verb::scrub);
    if (random_.percent(70)) work(Verb::repair);
    look();
  }
  void folder_untidy() {
    constexpr std::array kHow = {Verb::swap_names, Verb::swap_names, Verb::copy_beside,
                                 Verb::stray,      Verb::foreign,    Verb::split};
    add(kHow[random_.below(kHow.size())], random_.below(6));
    look();
    import();
    add(Verb::tidy);
  }
  void work_and_others() {
    if (random_.percent(50)) membership(Verb::fail);
    add(Verb::beside, random_.below(4));
    work(Verb::rebuild);
  }
  void file_system_full() {
    if (random_.percent(40)) membership(Verb::fail);
    import(0);
    plan_.steps.back().room_kib = some_room();
    look();
    if (random_.percent(50)) membership(Verb::add, 0);
    add(random_.percent(60) ? Verb::rebuild : Verb::assemble).room_kib = some_room();
    if (random_.percent(50)) import();
    work(random_.percent(50) ? Verb::rebuild : Verb::assemble);
    look();
  }
  void forced() {
    if (random_.percent(40)) return membership(Verb::lose_journal);
    import(90);
    add(Verb::move_away, random_.below(10));
    look();
    add(Verb::assemble);
    add(Verb::force);
    look();
    restore_redundancy();
  }
  void at_rest() {
    work(random_.percent(60) ? Verb::scrub : Verb::repair);
    add(Verb::stop);
    look();
  }

  void episode() {
    constexpr std::array<Episode, 16> kAll = {
        &Drawer::write_under_way, &Drawer::write_under_way, &Drawer::disk_fails,   &Drawer::disk_fails,
        &Drawer::disk_away,       &Drawer::disk_away,       &Drawer::disk_aged,    &Drawer::disk_aged,
        &Drawer::disk_replaced,   &Drawer::disk_damaged,    &Drawer::data_damaged, &Drawer::folder_untidy,
        &Drawer::work_and_others, &Drawer::forced,          &Drawer::at_rest,      &Drawer::file_system_full};
    (this->*kAll[random_.below(kAll.size())])();
  }

  Random random_;
  Plan plan_;
};

}  // namespace

std::string text_of(const Step& step) {
  std::string text = kVerbNames[static_cast<std::size_t>(step.verb)];
  if (step.b != 0) text += fmt::format(" b={}", step.b);
  if (step.tried) text += ", tried before";
  if (step.room_kib != 0) text += fmt::format(", with room for {} KiB", step.room_kib);
  if (step.cut != Cut::none) {
    text += fmt::format(", {} {} us after its {}", step.cut == Cut::kill ? "killed" : "interrupted", step.after_us,
                        step.writing ? "first write" : "start");
  }
  return text;
}

std::string text_of(const Plan& plan) {
  std::string text = fmt::format(
      "seed {}: level {}, {} disks and {} spares of {} MiB, chunk {}K, layout {}, consistency {}, folder '{}'{}; {} "
      "steps",
      plan.seed, plan.level, plan.disks, plan.spares, plan.member_mib, plan.chunk_kib,
      plan.layout.empty() ? "default" : plan.layout, plan.consistency, plan.folder, plan.on_files ? ", on files" : "",
      plan.by_name ? ", by name" : "", plan.steps.size());
  return text;
}

Plan draw_plan(std::uint64_t seed) { return Drawer(seed).draw(); }

}  // namespace resilver::test::array_walk
