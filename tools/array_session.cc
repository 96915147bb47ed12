#include "tools/array_session.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>

#include "base/units.h"
#include "tools/array_progress.h"
#include "tools/array_show.h"
#include "tools/command.h"

namespace resilver::tools {
namespace {

using raid::DiskVerdict;
using raid::MemberState;
using raid::RecoveryKind;

constexpr Nanos kDrawEvery = 200 * kMillisecond;

Task<void> keep_outcome(Task<Status> work, Status& outcome, bool& ended, Event& stirred) {
  outcome = co_await std::move(work);
  ended = true;
  stirred.wake_all();
}

Task<Status> wait_recovered(raid::Array& array) {
  co_await array.recovered();
  co_return Status{};
}

std::string how_far(const raid::RecoveryStatus& recovery) {
  const double percent = recovery.total_bytes == 0 ? 0.0
                                                   : 100.0 * static_cast<double>(recovery.done_bytes) /
                                                         static_cast<double>(recovery.total_bytes);
  return fmt::format("{} at {:.1f} % ({} of {} of each member)", name(recovery.kind), percent,
                     format_size(recovery.done_bytes), format_size(recovery.total_bytes));
}

std::string duplicate_of(const std::vector<Disk>& disks, const Disk& disk) {
  for (const Disk& other : disks) {
    if (&other == &disk || !other.super || !disk.super) continue;
    if (other.super->device_uuid == disk.super->device_uuid) {
      return fmt::format("device_uuid {} is that of {} too: one is a copy of the other",
                         raid::format_uuid(disk.super->device_uuid), other.name);
    }
  }
  return fmt::format("dev_roles: another disk is in its slot, {}", disk.super ? disk.super->role() : 0);
}

// Of several copies of one member: is this the only newest? Of equal ones nobody knows which is right.
bool is_freshest_copy(const std::vector<Disk>& disks, const Disk& disk) {
  return std::ranges::none_of(disks, [&disk](const Disk& other) {
    return &other != &disk && other.super && other.super->device_uuid == disk.super->device_uuid &&
           other.super->events >= disk.super->events;
  });
}

// A member that the freshest superblock counts on, and that is not here: an image that lost its superblock may be it.
bool lacks_member(const std::vector<Disk>& disks, const raid::AssemblyReport& report) {
  const auto of_array = [](const raid::DiskFound& found) {
    return found.verdict != DiskVerdict::unusable && found.verdict != DiskVerdict::other_array;
  };
  const auto one = std::ranges::find_if(report, of_array);
  if (one == report.end()) return true;
  const auto disk = std::ranges::find(disks, one->name, &Disk::name);
  const raid::Superblock& fresh = *freshest(disks, disk->super->set_uuid);
  for (std::uint32_t number = 0; number < fresh.roles.size(); ++number) {
    const std::uint16_t role = fresh.roles[number];
    if (role >= fresh.raid_disks && role != raid::kRoleJournal) continue;
    const bool here = std::ranges::any_of(disks, [&](const Disk& other) {
      return other.super && other.super->set_uuid == fresh.set_uuid && other.super->dev_number == number;
    });
    if (!here) return true;
  }
  return false;
}

// Why this disk must not be used together with the others; empty: it may.
std::string why_not(const std::vector<Disk>& disks, const Disk& disk, const raid::DiskFound& found, bool read_only) {
  if (found.verdict == DiskVerdict::duplicate) return duplicate_of(disks, disk);
  if (found.verdict == DiskVerdict::unusable) return found.why + disk.holds;
  if (!disk.super) return {};
  const raid::Superblock& super = *disk.super;
  if (std::string why = raid::read_only_reason(super); !read_only && !why.empty()) return why;
  if (found.verdict == DiskVerdict::other_array) {
    return fmt::format("set_uuid {}: a member of another array", raid::format_uuid(super.set_uuid));
  }
  if (found.verdict == DiskVerdict::stale) {
    // What was failed or removed before is behind, too, and that is as it should be.
    const raid::Superblock* fresh = freshest(disks, super.set_uuid);
    const bool expected = super.dev_number < fresh->roles.size() && fresh->roles[super.dev_number] < fresh->raid_disks;
    if (expected) {
      return fmt::format("events {} is behind the {} of the others: it missed writes", super.events, fresh->events);
    }
  }
  return {};
}

// An error of the array as a whole gets the array's name; one of a disk has that disk's.
Error named(const Error& error, const std::string& label, const std::vector<Disk>& disks) {
  const bool has_name =
      std::ranges::any_of(disks, [&error](const Disk& disk) { return error.what.contains(disk.name); });
  return has_name
             ? error
             : Error{error.code, fmt::format("{}: {}", label, error.what.empty() ? errc_name(error.code) : error.what)};
}

// Of an array that cannot start: what there is that is no member, and what force would do about it.
std::string what_there_is(const Error& error, const raid::AssemblyReport& report, const std::vector<Disk>& disks,
                          const Place& place, bool forced) {
  std::uint64_t events = 0;
  for (const raid::DiskFound& found : report) {
    if (found.verdict != DiskVerdict::other_array) events = std::max(events, found.events);
  }
  const auto by_hand = [&disks](const raid::DiskFound& found) {
    const auto disk = std::ranges::find(disks, found.name, &Disk::name);
    return disk != disks.end() && disk->super && disk->super->failed_by_hand;
  };
  std::string text;
  bool stale = false;
  for (const raid::DiskFound& found : report) {
    std::string what;
    switch (found.verdict) {
      case DiskVerdict::stale: what = fmt::format("is {} events behind", events - found.events); break;
      case DiskVerdict::faulty:
        what = by_hand(found) ? "was failed by hand, it comes back by re-add or add only"
                              : fmt::format("failed or was removed, {} events ago", events - found.events);
        break;
      case DiskVerdict::rebuilding: what = "is not rebuilt yet"; break;
      case DiskVerdict::spare: what = "is a spare"; break;
      case DiskVerdict::unusable: what = fmt::format("cannot be told to be a member ({})", found.why); break;
      default: continue;
    }
    stale = stale || found.verdict == DiskVerdict::stale || (found.verdict == DiskVerdict::faulty && !by_hand(found));
    text += fmt::format("; {} {}", found.name, what);
  }
  if (!forced && error.what.contains("force starts")) {
    text += fmt::format("; this does: resilver assemble {} --force", place_words(place));
  } else if (stale && !forced) {
    text += fmt::format("; this takes back what is behind, and loses what it missed: resilver assemble {} --force",
                        place_words(place));
  }
  return text;
}

// Why nothing could be written to this image.
std::string why_no_room(const std::string& path) {
  constexpr std::uint64_t kFull = 1 << 20;
  std::error_code error;
  const std::string folder = std::filesystem::absolute(path, error).parent_path().string();
  struct statvfs there;
  const bool known = statvfs(folder.c_str(), &there) == 0;
  const std::uint64_t free = known ? std::uint64_t{there.f_bavail} * there.f_frsize : 0;
  if (!known || free < kFull) return fmt::format("the file system of {} is full", folder);
  return fmt::format("it cannot grow, though {} has {} free: a quota, or a limit (ulimit -f)", folder,
                     format_size(free));
}

std::uint64_t real_seed() {
  std::uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) seed = static_cast<std::uint64_t>(time(nullptr));
  return seed;
}

}  // namespace

ArraySession::ArraySession(uring::RealEnv& environment, uring::StopSignal& signal, std::string name)
    : env_(environment), signal_(signal), command_(std::move(name)), stirred_(environment.scheduler()) {}

ArraySession::~ArraySession() = default;

std::uint64_t unix_time_at_zero(Scheduler& scheduler) {
  return static_cast<std::uint64_t>(std::time(nullptr) - scheduler.now() / kSecond);
}

const Disk* ArraySession::find_disk(const std::string& name) const {
  const auto found = std::ranges::find(disks_, name, &Disk::name);
  return found == disks_.end() ? nullptr : &*found;
}

Task<Status> ArraySession::open(Place found, uring::Access access) {
  place_ = std::move(found);
  auto opened = co_await open_disks(env_, place_.paths, access);
  if (!opened) co_return std::unexpected(opened.error());
  const bool has_journal = std::ranges::any_of(
      *opened, [](const Disk& disk) { return disk.super && (disk.super->feature_map & raid::kFeatureJournal) != 0; });
  if (access == uring::Access::maintain && has_journal) {
    opened->clear();
    opened = co_await open_disks(env_, place_.paths, uring::Access::read_write);
    if (!opened) co_return std::unexpected(opened.error());
  }
  disks_ = std::move(*opened);
  for (const std::string& name : place_.ignored) {
    fmt::print(stderr, "resilver {}: {}: no image of an array: ignored\n", command_, name);
  }
  co_return Status{};
}

Task<Status> ArraySession::open_to_write(Place found, bool dry_run) {
  Status opened = co_await open(std::move(found), dry_run ? uring::Access::read_only : uring::Access::read_write);
  if (opened && dry_run) lay_over(env_.scheduler(), disks_);
  co_return opened;
}

// Why an array may be read while another process rebuilds, resyncs or scrubs it (Access::maintain): no data changes, since
// whoever writes data, or changes who is a member, has the images alone. So
//  * what was in sync when this reader assembled stays right, whatever the superblocks say meanwhile: a member that is
//    replaced is written no more, one that is healed gets what it held;
//  * a member that is being rebuilt is read below its checkpoint only, and the rebuild writes above it only;
//  * a resync, or a repair, writes parity, or copies of the first copy, which is the one that is read until it has passed (rule
//    8); what a repair rewrites is wrong until then: the reader has the one or the other;
//  * a journal is replayed only by who has the images alone: see open().
// Only the superblocks, read one after the other while they are written, may not fit together (events two behind, a torn
// checksum): that passes, and is tried again.
Task<Status> ArraySession::open_to_read(Place found, StartOptions options) {
  constexpr int kAttempts = 20;
  options.read_only = true;
  for (int attempt = 1;; ++attempt) {
    if (Status opened = co_await open(found, uring::Access::read_only); !opened) co_return opened;
    const bool maintained = is_maintained(place_.paths);
    const Status started = co_await start(options);
    if (started || !maintained || attempt == kAttempts || interrupted_) co_return started;
    disks_.clear();
    co_await sleep_for(env_.scheduler(), 100 * kMillisecond);
  }
}

// The engine was not given those that could not be opened.
void ArraySession::report_unopened() {
  for (const Disk& disk : disks_) {
    if (!disk.image) report_.push_back({.name = disk.name, .slot = {}, .why = disk.super.error().what});
  }
}

// Assembles without writing anything, for the report; drops what is to be left out.
Task<Status> ArraySession::probe(const StartOptions& options) {
  raid::AssembleOptions look{options.tuning, options.force, options.take_stale, true, options.rescue};
  report_.clear();
  auto probed = co_await raid::Array::assemble(env_.scheduler(), env_.buffers(), env_.random(), look,
                                               member_disks(disks_), &report_);
  report_unopened();
  if (std::ranges::none_of(disks_, [](const Disk& disk) { return disk.image != nullptr; })) {
    co_return check_opened(disks_);
  }
  Status checked;
  if (probed) {
    if (options.check) checked = options.check(**probed);
    co_await (*probed)->stop();
  }
  const auto split = [](const raid::DiskFound& found) { return found.verdict == DiskVerdict::diverged; };
  if (std::ranges::any_of(report_, split)) co_return std::unexpected(co_await name_sides());
  std::vector<std::pair<std::string, std::string>> refused, passed_over;
  // An image without a superblock is in nobody's way, unless it may be the member that is missing and there is to be writing.
  const bool may_be_missing = !options.read_only && lacks_member(disks_, report_);
  for (const raid::DiskFound& found : report_) {
    const Disk* disk = find_disk(found.name);
    if (disk == nullptr) continue;
    if (found.verdict == DiskVerdict::duplicate && options.leave_out && is_freshest_copy(disks_, *disk)) continue;
    std::string why = why_not(disks_, *disk, found, options.read_only);
    if (why.empty()) continue;
    const bool harmless = !disk->super && (disk->stray || !may_be_missing);
    (harmless ? passed_over : refused).emplace_back(found.name, std::move(why));
  }
  if (!probed && (refused.empty() || (probed.error().code == Errc::unavailable && !options.leave_out))) {
    co_return std::unexpected(cannot_start(probed.error(), options));
  }
  if (!refused.empty() && !options.leave_out) {
    std::string line =
        fmt::format("{}: {}; nothing was written (--force leaves it out)", refused[0].first, refused[0].second);
    if (refused.size() > 1) line += fmt::format("; {} more disks do not fit either", refused.size() - 1);
    co_return fail(Errc::bad_input, line);
  }
  if (!checked) co_return checked;
  const bool all_refused = std::ranges::none_of(disks_, [&refused](const Disk& disk) {
    const auto of_disk = [&disk](const auto& one) { return one.first == disk.name; };
    return disk.super && std::ranges::none_of(refused, of_disk);
  });
  if (!refused.empty() && all_refused) {
    co_return fail(Errc::bad_input,
                   fmt::format("{}: {}; without it nothing is left of the array", refused[0].first, refused[0].second));
  }
  refused.insert(refused.end(), passed_over.begin(), passed_over.end());
  for (const auto& [name, why] : refused) {
    fmt::print(stderr, "resilver {}: {}: {}: left out\n", command_, name, why);
    std::erase_if(disks_, [&name](const Disk& disk) { return disk.name == name; });
  }
  co_return Status{};
}

Error ArraySession::cannot_start(const Error& why, const StartOptions& options) const {
  Error error = named(why, place_.label, disks_);
  if (error.code == Errc::unavailable) error.what += what_there_is(error, report_, disks_, place_, options.take_stale);
  return error;
}

// Which sides there are, what each has, and how one is chosen.
Task<Error> ArraySession::name_sides() {
  std::vector<std::string> sides;
  std::vector<const Disk*> others;
  const raid::Superblock* fresh = freshest_superblock(*this);
  for (const raid::DiskFound& found : report_) {
    const Disk* disk = find_disk(found.name);
    const bool leads = disk != nullptr && disk->super && &*disk->super == fresh;
    if (disk == nullptr || !disk->super || (found.verdict != DiskVerdict::diverged && !leads)) continue;
    std::string side =
        fmt::format("{} (events {}, last written {}", disk->name, disk->super->events, time_text(disk->super->utime));
    if (const auto bitmap = co_await read_bitmap(env_, *disk)) {
      side += fmt::format(", its bitmap marks {} regions of {}", bitmap->set_bits, format_size(bitmap->chunk_bytes));
    }
    sides.push_back(side + ")");
    if (!leads) others.push_back(disk);
  }
  std::string what = fmt::format(
      "{} each went on without the other, neither is newer; nothing was written. Look at one side by naming its images "
      "alone; resilver add gives the disks of the side that is not to stay to the other one",
      fmt::join(sides, " and "));
  if (others.size() == 1) {
    what += fmt::format("; this gives up {}: resilver add {} {}", others[0]->name, place_words(place_),
                        shell_word(others[0]->path));
  }
  co_return Error{Errc::bad_input, std::move(what)};
}

Task<Status> ArraySession::start(StartOptions options) {
  if (Status probed = co_await probe(options); !probed) co_return probed;
  raid::AssembleOptions assemble{options.tuning, options.force, options.take_stale, options.read_only, options.rescue};
  assemble.tuning.unix_time_at_zero = unix_time_at_zero(env_.scheduler());
  report_.clear();
  auto assembled = co_await raid::Array::assemble(env_.scheduler(), env_.buffers(), env_.random(), assemble,
                                                  member_disks(disks_), &report_);
  report_unopened();
  if (!assembled) co_return std::unexpected(cannot_start(assembled.error(), options));
  array_ = std::move(*assembled);
  for (const std::string& note : array_->status().notes)
    fmt::print(stderr, "resilver {}: {}: {}\n", command_, place_.label, note);
  co_return Status{};
}

Task<Status> ArraySession::with_progress(Task<Status> work) {
  TaskGroup group(env_.scheduler());
  ProgressLine line(place_.label, "");
  Status outcome;
  bool ended = false;
  group.spawn(keep_outcome(std::move(work), outcome, ended, stirred_));
  raid::RecoveryStatus seen;
  while (!ended && !interrupted_) {
    co_await stirred_.wait_until(env_.scheduler().now() + kDrawEvery);
    const raid::RecoveryStatus now = array_->status().recovery;
    if (now.kind == RecoveryKind::none) continue;
    seen = now;
    line.set_phase(name(now.kind));
    line.show(now.done_bytes, now.total_bytes, now.rate,
              now.limited_by == raid::LimitedBy::nothing ? "" : name(now.limited_by));
  }
  const bool cut_short = !ended;
  if (cut_short) co_await stop();
  co_await group.join();
  line.end();
  if (!cut_short) co_return outcome;
  if (seen.kind == RecoveryKind::none) co_return fail(Errc::cancelled, "interrupted");
  const bool goes_on = seen.kind == RecoveryKind::rebuild || seen.kind == RecoveryKind::replace;
  const std::string next = fmt::format("; this goes on from there: resilver rebuild {}", place_words(place_));
  co_return fail(Errc::cancelled, fmt::format("interrupted: {}{}", how_far(seen), goes_on ? next : ""));
}

Task<Status> ArraySession::finish_recovery() {
  if (Status waited = co_await with_progress(wait_recovered(*array_)); !waited) co_return waited;
  if (Status room = check_room(); !room) co_return room;
  if (array_->status().state == raid::ArrayState::failed) co_return fail(Errc::unavailable, "the array failed");
  co_return Status{};
}

Status ArraySession::check_room() const {
  const std::string full = array_ ? array_->status().full : std::string();
  if (full.empty()) return {};
  const Disk* disk = find_disk(full);
  return fail(Errc::no_space, fmt::format("{}: {}: {}; no disk was given up, it goes on when there is room",
                                          place_.label, full, why_no_room(disk != nullptr ? disk->path : full)));
}

Task<Status> ArraySession::scrub(raid::ScrubOptions options) {
  co_return co_await with_progress(array_->scrub(options));
}

Task<Status> ArraySession::stop() {
  if (!array_) co_return Status{};
  if (stopped_) co_return check_room();
  stopped_ = true;
  co_await array_->stop();
  if (Status room = check_room(); !room) co_return room;
  if (array_->status().state == raid::ArrayState::failed) co_return fail(Errc::unavailable, "the array failed");
  co_return Status{};
}

Task<Status> ArraySession::write_block(const Disk& disk, std::uint64_t sector, std::span<const std::byte> bytes) {
  const Buffer block = env_.buffers().allocate(kBlockBytes);
  if (!block) co_return fail(Errc::limit, "no memory for a buffer");
  std::memset(block.data(), 0, block.size());
  std::ranges::copy(bytes, block.data());
  const Errc status = co_await Io::write(disk.device(), sector * kSectorBytes, block, true);
  if (status == Errc::ok) co_return Status{};
  co_return fail(status, fmt::format("{}: cannot be written: {}", disk.name, errc_name(status)));
}

Task<void> ArraySession::watch_signal() {
  if (co_await signal_.wait() == 0) co_return;
  interrupted_ = true;
  stirred_.wake_all();
}

Task<void> ArraySession::run(const std::function<Task<Status>(ArraySession&)>& work, Status& outcome) {
  TaskGroup group(env_.scheduler());
  group.spawn(watch_signal());
  outcome = co_await work(*this);
  const Status stopped = co_await stop();
  const bool full = !stopped && stopped.error().code == Errc::no_space;  // whatever else came of it
  if (!stopped && (outcome || full)) outcome = stopped;
  array_.reset();
  disks_.clear();
  signal_.close();
  co_await group.join();
}

int run_session(const std::string& command, const std::function<Task<Status>(ArraySession&)>& work) {
  uring::RealOptions options;
  options.seed = real_seed();  // UUIDs come of it
  options.ring.tell_slower = false;
  auto env = uring::RealEnv::create(options);
  if (!env) return refuse(command, env.error());
  auto signal = uring::StopSignal::create((*env)->ring());
  if (!signal) return refuse(command, signal.error());
  ArraySession session(**env, **signal, command);
  Status outcome;
  (*env)->ring().run(session.run(work, outcome));
  if (outcome) return kDone;
  const int code = refuse(command, outcome.error());
  return outcome.error().code == Errc::cancelled ? kInterrupted : code;
}

std::string slot_letters(const raid::ArrayStatus& status, std::uint32_t slots) {
  std::string letters(slots, '_');
  for (const raid::MemberStatus& member : status.members) {
    if (member.slot && *member.slot < slots && member.state == MemberState::in_sync) letters[*member.slot] = 'U';
  }
  return letters;
}

std::string state_text(const raid::Array& array) {
  const raid::ArrayStatus status = array.status();
  const std::uint32_t slots = array.geometry().disks();
  const std::string letters = slot_letters(status, slots);
  return fmt::format("{} [{}/{}] [{}] {}", name(status.level), slots, std::ranges::count(letters, 'U'), letters,
                     name(status.state));
}

std::string next_step(const raid::Array& array, const std::string& place) {
  const raid::ArrayStatus status = array.status();
  const auto any = [&status](MemberState state) {
    return std::ranges::any_of(status.members, [state](const auto& member) { return member.state == state; });
  };
  if (status.state == raid::ArrayState::failed) return {};
  if (status.journal_missing) {
    return fmt::format("to do: bring the journal back, or go on without it: resilver assemble {} --force", place);
  }
  const std::string letters = slot_letters(status, array.geometry().disks());
  const bool lacks = letters.contains('_');
  if (any(MemberState::rebuilding) || any(MemberState::replacement) || (lacks && any(MemberState::spare))) {
    return fmt::format("to do: resilver rebuild {}", place);
  }
  if (lacks) return fmt::format("to do: give it a disk: resilver add {} DISK", place);
  if (array.redundancy_full()) return {};
  return fmt::format("to do: resilver assemble {}", place);
}

}  // namespace resilver::tools
