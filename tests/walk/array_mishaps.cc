// What happens to images between commands, by the hands of operators and disks: the second half of Walker.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/random.h"
#include "tests/walk/array_walker.h"

namespace resilver::test::array_walk {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kSuperAt = 4096;
constexpr std::uint64_t kBitmapAt = 8192;

std::string noise(std::size_t bytes, std::uint64_t state) {
  std::string text(bytes, '\0');
  for (char& byte : text) byte = static_cast<char>(splitmix64(state));
  return text;
}

}  // namespace

// Redundancy covers it, as far as the walk and status know.
bool Walker::may_lose_one() const {
  return seen_.runs() && seen_.redundancy_left > 0 && trouble_.empty() && std::ranges::none_of(attic_, &Away::needed);
}

void Walker::lost_one() {
  if (dirty_ && plan_.has_write_hole()) hole_ = true;
}

void Walker::now_in_trouble(const std::string& name) {
  trouble_.insert(name);
  lost_one();
  observe();
}

void Walker::to_attic(const std::string& name, bool needed) {
  const std::string path = lab_.beside(fmt::format("away{}", new_images_++));
  fs::rename(lab_.file(name), path);
  trouble_.erase(name);
  attic_.push_back({path, name, changes_, needed});
  judge_.note(fmt::format("{} goes away", name));
}

// Nobody else is there that knows what was failed or removed: an image of before is the newest without it, and starts.
bool Walker::is_last_of_its_side(const std::string& name) const {
  return std::ranges::none_of(
             seen_.members,
             [&name](const Member& one) { return one.state == "in_sync" && !one.name.empty() && one.name != name; }) &&
         lab_.images().size() > 1;
}

// Beyond what redundancy covers only for a while: then nothing may change.
bool Walker::move_away(const Step& step) {
  const bool journal = step.b == 0 && plan_.consistency == "journal" && lab_.exists("journal.img");
  const std::string name = journal ? "journal.img" : member(step.a, true);
  if (name.empty() || !trouble_.empty() || std::ranges::any_of(attic_, &Away::needed)) return false;
  if (!journal && is_last_of_its_side(name)) return false;
  const bool covered = !journal && may_lose_one();
  if (!covered && step.b > 2) return false;
  to_attic(name, !covered);
  lost_one();
  observe();
  return true;
}

bool Walker::put_back() {
  if (attic_.empty()) return false;
  const auto needed = std::ranges::find_if(attic_, &Away::needed);
  const auto which = needed != attic_.end() ? needed : attic_.begin();
  const Away away = *which;
  attic_.erase(which);
  const std::string name = lab_.exists(away.name) ? lab_.free_name("back") : away.name;
  fs::rename(away.path, lab_.file(name));
  judge_.note(fmt::format("{} is there again, as {}", away.name, name));
  if (away.changes != changes_) trouble_.insert(name);
  observe();
  return true;
}

// What is in it goes too; with all members there that is no more than what was under way.
bool Walker::lose_journal(const Step& step) {
  const auto journal = std::ranges::find(seen_.members, std::string("journal"), &Member::state);
  if (journal == seen_.members.end() || !seen_.runs() || seen_.lacks() || !trouble_.empty() || !attic_.empty())
    return false;
  to_attic(journal->name, false);
  observe();
  if (!seen_.lacks_journal) judge_.complain("status does not miss the journal");
  if (run(lab_.on_array("assemble")).good())
    judge_.complain("it goes on without its journal, and nobody asked for that");
  export_all();
  if (!follow_advice() || !seen_.whole()) judge_.complain("not whole without its journal");
  import({.verb = Verb::import, .a = step.a, .b = 400});
  const std::string name = fmt::format("journal{}.img", new_images_++);
  const Words add = lab_.on_array("add", {plan_.by_name ? lab_.file(name) : name, "--journal", "--size", "8M"});
  const Ran added = run(add, step);
  const auto is_there = [this] {
    return std::ranges::find(seen_.members, std::string("journal"), &Member::state) != seen_.members.end();
  };
  if (added.cut && !is_there()) run(add);
  if (!is_there() || !seen_.whole()) judge_.complain("it was given no other journal: " + seen_.text.all());
  return true;
}

bool Walker::keep(const Step& step) {
  const std::string name = member(step.a, true);
  if (name.empty() || !seen_.clean || dirty_) return false;
  const std::string path = lab_.beside(fmt::format("kept{}", new_images_++));
  fs::copy_file(lab_.file(name), path);
  kept_.push_back({path, name, changes_});
  judge_.note("a copy of " + name);
  return true;
}

bool Walker::restore() {
  if (kept_.empty() || !may_lose_one()) return false;
  const Away kept = kept_.back();
  if (!lab_.exists(kept.name)) return false;
  kept_.pop_back();
  fs::remove(lab_.file(kept.name));
  fs::rename(kept.path, lab_.file(kept.name));
  judge_.note(fmt::format("{} is the one of before", kept.name));
  if (kept.changes == changes_) return observe(), true;
  now_in_trouble(kept.name);
  return true;
}

bool Walker::swap_names(const Step& step) {
  const std::vector<std::string> all = lab_.images();
  if (all.size() < 2 || !trouble_.empty()) return false;
  const std::string one = all[step.a % all.size()], other = all[(step.a % all.size() + 1) % all.size()];
  fs::rename(lab_.file(one), lab_.beside("swap"));
  fs::rename(lab_.file(other), lab_.file(one));
  fs::rename(lab_.beside("swap"), lab_.file(other));
  for (Away& kept : kept_) kept.name = kept.name == one ? other : kept.name == other ? one : kept.name;
  judge_.note(fmt::format("{} and {} have changed names", one, other));
  observe();
  return true;
}

bool Walker::cut_image(const Step& step) {
  const std::string name = member(step.a);
  if (name.empty() || !may_lose_one()) return false;
  constexpr std::array<std::uint64_t, 6> kSizes = {0, 512, 12'345, 1 << 20, 2 << 20, 0};
  const std::uint64_t random = step.a % (static_cast<std::uint64_t>(plan_.member_mib - 2) << 20);
  const std::uint64_t size = step.b < 5 ? kSizes[step.b] : random;
  fs::resize_file(lab_.file(name), size);
  judge_.note(fmt::format("{} is cut to {} bytes", name, size));
  now_in_trouble(name);
  return true;
}

bool Walker::damage_super(const Step& step) {
  const std::string name = member(step.a);
  if (name.empty() || !may_lose_one()) return false;
  switch (step.b) {
    case 0: lab_.overwrite(name, 0, std::string(1 << 20, '\0')); break;
    case 1: lab_.overwrite(name, kSuperAt, noise(256, step.a)); break;
    default: lab_.overwrite(name, kSuperAt + 8 + step.a % 200, noise(4, step.a)); break;
  }
  judge_.note(fmt::format("{}: its superblock is damaged", name));
  now_in_trouble(name);
  return true;
}

bool Walker::damage_bitmap(const Step& step) {
  const std::string name = member(step.a);
  if (name.empty() || plan_.consistency != "bitmap" || !may_lose_one() || !seen_.clean || dirty_) return false;
  const bool all = step.b % 2 == 0;
  for (const Member& one : seen_.members) {
    if (one.name.empty() || (!all && one.name != name)) continue;
    lab_.overwrite(one.name, kBitmapAt, step.b % 4 < 2 ? std::string(256, '\0') : noise(256, step.a));
    judge_.note(fmt::format("{}: the header of its bitmap is damaged", one.name));
  }
  observe();
  return true;
}

bool Walker::damage_data(const Step& step) {
  const std::string name = member(step.a, true);
  const auto data = name.empty() ? std::nullopt : lab_.data_of(name);
  if (!data || data->second <= step.b || !seen_.clean || seen_.lacks()) return false;
  const std::uint64_t at = (step.a >> 8) % (data->second - step.b) / kSector * kSector;
  lab_.overwrite(name, data->first + at, noise(step.b, step.a));
  model_.damage_member(at, step.b);
  judge_.note(fmt::format("{}: {} bytes at {} of its data are wrong", name, step.b, at));
  return true;
}

// Things that do not belong to the array.
bool Walker::stray(const Step& step) {
  if (!trouble_.empty()) return false;
  std::string name = lab_.free_name("stray");
  switch (step.verb) {
    case Verb::copy_beside: {
      const std::string of = member(step.a);
      if (of.empty()) return false;
      fs::copy_file(lab_.file(of), lab_.file(name));
      trouble_.insert(of);
      copied_ = of;
      break;
    }
    case Verb::foreign: fs::copy_file(lab_.foreign_member(), lab_.file(name)); break;
    default:
      if (step.b == 3) name = "notes.txt";
      write_text(lab_.file(name), step.b == 0 ? "" : step.b == 1 ? "short" : noise(5000, step.a));
      if (step.b >= 4) fs::resize_file(lab_.file(name), (plan_.member_mib << 20) + (step.b == 5 ? 512 : 0));
      if (step.b == 4) write_text(lab_.file(name), ""), fs::resize_file(lab_.file(name), plan_.member_mib << 20);
      break;
  }
  judge_.note(name + " lies in the folder now");
  if (name.ends_with(".img")) trouble_.insert(name);
  observe();
  return true;
}

bool Walker::tidy() {
  if (trouble_.empty()) return false;
  const auto troubled = trouble_;
  for (const std::string& name : troubled) {
    if (lab_.exists(name) && name != copied_) fs::remove(lab_.file(name));
  }
  judge_.note(fmt::format("{} have gone, but {}", fmt::join(troubled, ", "), copied_.empty() ? "none" : copied_));
  copied_.clear();
  trouble_.clear();
  observe();
  return true;
}

// One member is away while the others are written; then they are away while it is. Neither is newer: both must not be used
// together, and the disk is given to the side that is to stay.
bool Walker::split(const Step& step) {
  const std::string alone = member(step.a, true);
  if (plan_.level != 1 || alone.empty() || !seen_.whole() || dirty_ || !trouble_.empty() || !attic_.empty())
    return false;
  to_attic(alone, false);
  import({.verb = Verb::import, .a = step.a, .b = 300});
  const Seen going_on = seen_;
  const std::vector<std::string> others = lab_.images();
  for (const std::string& name : others) fs::rename(lab_.file(name), lab_.beside(name));
  fs::rename(attic_.back().path, lab_.file(alone));
  attic_.pop_back();
  write_text(lab_.beside("in"), noise(100'000, step.a));
  if (!run(lab_.on_array("import", {lab_.beside("in")})).good()) judge_.complain("half a mirror cannot be used");
  for (const std::string& name : others) fs::rename(lab_.beside(name), lab_.file(name));
  judge_.note("all are there again");
  trouble_.insert(alone);
  seen_ = going_on;
  observe();
  export_all();
  if (step.a % 2 == 0 && run(lab_.on_array("add", {alone})).good()) trouble_.erase(alone);
  return true;
}

// In the middle of all members' data, with other bytes in each.
bool Walker::meddle(const Step& step) {
  std::uint64_t seed = 0;
  for (const std::string& name : lab_.images()) {
    if (const auto data = lab_.data_of(name)) lab_.overwrite(name, data->first + step.a, noise(step.b, ++seed));
  }
  judge_.note("all members are wrong behind the program's back");
  return true;
}

bool Walker::take_mishap(const Step& step) {
  switch (step.verb) {
    case Verb::move_away: return move_away(step);
    case Verb::put_back: return put_back();
    case Verb::lose_journal: return lose_journal(step);
    case Verb::keep: return keep(step);
    case Verb::restore: return restore();
    case Verb::swap_names: return swap_names(step);
    case Verb::cut_image: return cut_image(step);
    case Verb::damage_super: return damage_super(step);
    case Verb::damage_bitmap: return damage_bitmap(step);
    case Verb::damage_data: return damage_data(step);
    case Verb::copy_beside:
    case Verb::foreign:
    case Verb::stray: return stray(step);
    case Verb::split: return split(step);
    case Verb::tidy: return tidy();
    case Verb::meddle: return meddle(step);
    default: return false;
  }
}

}  // namespace resilver::test::array_walk
