#include "tests/walk/judge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace resilver::test {
namespace {

constexpr double kMarkSeconds = 5;  // what a copy got so short before its end may not be told to the others
constexpr std::size_t kShownBlocks = 5;

// Said of copies and records that were restored, copied or damaged, and never after crashes alone.
const std::set<std::string> kGuilty = {"went_back",     "lost_writes",     "fork",         "horizon",
                                       "forked_record", "older_record",    "no_record",    "second_life",
                                       "two_arbiters",  "other_record",    "other_volume", "damaged_metadata",
                                       "suspect",       "newer_elsewhere", "frozen"};
const std::set<std::string> kBearable = {"few_intent_bits", "damaged_metadata"};

bool is_mistake_of_ours(const std::string& text) {
  for (const char* word : {"CHECK", "Sanitizer", "runtime error:", "terminate called"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

// ---- the journal -----------------------------------------------------------------------------------------------------

void Journal::note(const std::string& what) { lines_.push_back(fmt::format("{:8.3f}  {}", lab_.now(), what)); }

void Journal::complain(const std::string& what) {
  complaints_.push_back(what);
  note("WRONG: " + what);
}

std::string Journal::text() const { return fmt::format("{}\n", fmt::join(lines_, "\n")); }

// ---- what was done ---------------------------------------------------------------------------------------------------

Judge::Judge(const Plan& plan, Lab& lab, Journal& journal)
    : lab_(lab), journal_(journal), soft_(plan.ack == "received" || plan.ack == "async") {}

void Judge::failed(char who) {
  ended_at_[who] = lab_.now();
  contents_.note_failure(lab_.now());
  if (who == clone_of_ && exists(lab_.path("clone.img")))
    contents_.soften(image_of(bytes_of(lab_.path("clone.img"), 0, kWalkBlocks * kWalkBlock)), lab_.now() - kMarkSeconds);
}

void Judge::destroyed() {
  not_innocent();
  contents_.give_up_all_but(lab_.copies());
}

// What it had got last cannot be known to the others: a restored copy that goes first looks as if it had never been.
void Judge::put_back(char who) {
  may_be_outdated();
  put_back_ = put_back_ || ended_at_[who] < kept_at_[who] + kMarkSeconds;
  contents_.soften(lab_.copy_of(who), ended_at_[who] - kMarkSeconds);
  contents_.give_up_all_but(lab_.copies());
}

void Judge::give_up(const std::vector<char>& whose) {
  std::vector<CopyImage> others;
  for (const char who : lab_.nodes()) {
    if (std::ranges::find(whose, who) == whose.end()) others.push_back(lab_.copy_of(who));
  }
  contents_.give_up_all_but(others);
}

// ---- clients ---------------------------------------------------------------------------------------------------------

Writing Judge::about_to_write(std::size_t first, std::vector<BlockHash> blocks) const {
  Writing writing{first, std::move(blocks), {}, lab_.promotions(), {}};
  for (const char who : lab_.nodes()) {
    writing.before[who] = lab_.copy_of(who);
    if (lab_.says_primary(who)) writing.primaries.push_back(who);
  }
  return writing;
}

// On those who were the primary meanwhile; nothing: nobody knows who was.
std::vector<BlockHash> Judge::held_before(const Writing& writing, std::size_t block) const {
  const auto now = lab_.promotions();
  std::vector<BlockHash> held;
  for (const auto& [who, image] : writing.before) {
    const bool was = std::ranges::find(writing.primaries, who) != writing.primaries.end();
    const bool became = now.at(who) != writing.promotions.at(who);
    if ((was || became) && block < image.size()) held.push_back(image[block]);
  }
  return held;
}

// Rule: an acknowledged write is made over what was acknowledged before.
void Judge::wrote(const Writing& writing, bool acknowledged) {
  const Promise promise = !acknowledged ? Promise::none : soft_ ? Promise::soft : Promise::firm;
  std::vector<std::size_t> stray;
  for (std::size_t i = 0; i < writing.blocks.size(); ++i) {
    const std::size_t block = writing.first + i;
    const bool fits = contents_.write(block, writing.blocks[i], promise, held_before(writing, block), lab_.now());
    if (!fits) stray.push_back(block);
  }
  if (stray.empty()) return;
  const std::string what =
      fmt::format("{} blocks were written over an outdated copy, from block {} on", stray.size(), stray.front());
  outdated_ ? journal_.note(what) : journal_.complain(what);
}

void Judge::forget_all() {
  for (std::size_t block = 0; block < contents_.blocks(); ++block) contents_.forget(block);
}

// Rule: its own judgement holds. What it wrote is known only if it came to its end.
void Judge::loaded(const Ran& ran) {
  command(ran);
  const std::string& json = ran.ended.out;
  for (const char* key : {"lost_writes", "stale_reads", "corrupt_reads", "unreadable_bytes"}) {
    const std::uint64_t count = number_in(json, key).value_or(0);
    if (count != 0 && !outdated_) journal_.complain(fmt::format("load: {} {}", key, count));
  }
  const bool certain = ran.good() && number_in(json, "failed") == 0 && number_in(json, "unknown_writes") == 0;
  const std::string primary = text_in(json, "primary");
  if (!certain || primary.size() != 1 || !lab_.is_node(primary[0])) return;
  const CopyImage now = lab_.copy_of(primary[0]);
  for (std::size_t block = 0; block < std::min(now.size(), contents_.blocks()); ++block)
    contents_.write(block, now[block], Promise::firm, {}, lab_.now());
}

// Rule: what is read was written there, and is the newest that was acknowledged, or a later one.
void Judge::exported(const std::string& bytes) {
  const CopyImage read = image_of(bytes);
  std::vector<std::string> wrong;
  for (std::size_t block = 0; block < std::min(read.size(), contents_.blocks()); ++block) {
    if (!contents_.may_be_read(block, read[block], outdated_)) {
      wrong.push_back(fmt::format("{} but {:08x} was read", contents_.describe(block), read[block] & 0xffffffff));
    } else if (!soft_ && !outdated_) {
      contents_.was_read(block, read[block]);
    }
  }
  if (wrong.empty()) return;
  const std::size_t count = wrong.size();
  wrong.resize(std::min(count, kShownBlocks));
  journal_.complain(fmt::format("{} blocks were read wrong: {}", count, fmt::join(wrong, "; ")));
}

// ---- commands and processes ------------------------------------------------------------------------------------------

// Rule: a command ends in time, by itself, with one of its exit codes.
void Judge::command(const Ran& ran) {
  const std::string said = ran.ended.err + ran.ended.out;
  if (ran.hung) journal_.complain(fmt::format("hangs: {} ({:.1f} s)", ran.line, ran.seconds));
  const bool code = ran.ended.code <= 2 || ran.ended.code == 130;
  if (!code || is_mistake_of_ours(said)) journal_.complain(fmt::format("{}: {}", ran.line, ran.ended.all()));
  if (ran.ended.code == 2) journal_.complain(fmt::format("bad usage: {}: {}", ran.line, ran.ended.err));
}

// Rule: copies in sync are equal.
void Judge::verified(const Ran& ran) {
  command(ran);
  if (number_in(ran.ended.out, "different_bytes").value_or(0) == 0) return;
  const std::string what = "verify: copies in sync differ: " + ran.ended.out;
  put_back_ ? journal_.note(what) : journal_.complain(what);
}

// Rule: no process ends by itself, but one that refuses what was restored, damaged or taken away; and that one says why.
void Judge::deaths() {
  for (const Lab::Death& death : lab_.deaths()) {
    const bool refused = !death.had_served && death.ended.code == 1 && !death.ended.err.empty();
    const std::string what = fmt::format("{} ended: {}", death.who, death.ended.all());
    const bool array_failed = lab_.is_node(death.who) && lab_.on_array(death.who) && death.ended.code == 1;
    if (is_mistake_of_ours(death.ended.err) || (!array_failed && (!refused || innocent_))) {
      journal_.complain(what);
    } else {
      journal_.note(what);
    }
    failed(death.who);
  }
}

// Rule: no crash is taken for something worse. Never told twice of one status.
void Judge::status(const VolumeStatus& status) {
  if (!innocent_) return;
  for (const ToldReason& reason : status.reasons) {
    if (kGuilty.contains(reason.code))
      journal_.complain(fmt::format("after crashes alone, status says {}: {}", reason.code, reason.text));
  }
}

bool Judge::bearable(const std::string& code) { return kBearable.contains(code); }

bool Judge::whole(const VolumeStatus& status) const {
  const bool all = status.serving && status.all_reachable && status.in_sync.size() == lab_.nodes().size();
  return all && status.copying.empty() &&
         std::ranges::all_of(status.reasons, [](const ToldReason& reason) { return bearable(reason.code); });
}

// Rule: no silence.
void Judge::stuck(const VolumeStatus& status) {
  if (status.reasons.empty()) journal_.complain("the volume is not whole, and status gives no reason: " + status.json);
  const std::string shown = lab_.volume({"status"}).ended.out;
  const VolumeStatus again = lab_.status();
  const auto answers = [&](char who) { return lab_.running(who) && !lab_.frozen(who); };
  const auto copies = static_cast<std::uint64_t>(std::ranges::count_if(again.in_sync, answers));
  if (again.redundancy > 0 && again.redundancy >= copies)
    journal_.complain(fmt::format("survives {} more failures, says status, of {} copies", again.redundancy, copies));
  for (const ToldReason& reason : status.reasons) {
    if (reason.help.empty() || reason.text.empty()) journal_.complain("a reason without words: " + reason.code);
    if (again.tells(reason.code) && shown.find(reason.code + ": ") == std::string::npos)
      journal_.complain(fmt::format("status has {} as JSON only:\n{}", reason.code, shown));
  }
}

// ---- images ----------------------------------------------------------------------------------------------------------

// Rule: nothing acknowledged is overwritten unasked.
void Judge::images() {
  const std::vector<std::size_t> missing = contents_.missing(lab_.copies());
  if (missing.empty()) return;
  std::string text = fmt::format("{} blocks are on no copy any more:", missing.size());
  for (std::size_t i = 0; i < std::min(missing.size(), kShownBlocks); ++i) {
    text += " " + contents_.describe(missing[i]);
    for (const char who : lab_.nodes())
      text += fmt::format(" {} {:08x}", who, lab_.copy_of(who)[missing[i]] & 0xffffffff);
  }
  journal_.complain(text);
  for (const std::size_t block : missing) contents_.forget(block);  // told once
}

void Judge::all_equal() {
  const CopyImage first = lab_.copy_of(lab_.nodes().front());
  for (const char who : lab_.nodes()) {
    const CopyImage other = lab_.copy_of(who);
    for (std::size_t block = 0; block < std::max(first.size(), other.size()); ++block) {
      if (block < first.size() && block < other.size() && first[block] == other[block]) continue;
      journal_.complain(fmt::format("{} and {} were in sync and differ at block {}", lab_.nodes().front(), who, block));
      break;
    }
  }
}

// Rule: what ends leaves nothing behind.
void Judge::nothing_left() {
  const std::vector<pid_t> left = processes_naming(lab_.folder());
  if (!left.empty()) journal_.complain(fmt::format("{} processes are left", left.size()));
  for (const auto& entry : std::filesystem::directory_iterator(lab_.folder())) {
    if (entry.path().extension() == ".new") journal_.complain("left behind: " + entry.path().string());
  }
}

}  // namespace resilver::test
