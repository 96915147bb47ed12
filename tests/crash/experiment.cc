#include "tests/crash/experiment.h"

#include <cstdlib>

#include <fmt/format.h>

namespace resilver::raid {
namespace {

constexpr std::uint64_t kChunk = 16 * kKiB;
constexpr std::uint64_t kJournalBytes = 6 * kMiB;

ArrayTuning quick_tuning() {
  ArrayTuning tuning;
  tuning.idle_clean_ms = 5;
  tuning.bitmap_sleep_ms = 10;
  tuning.speed_min = 0;
  tuning.checkpoint_ms = 20;
  return tuning;
}

ArrayConfig config_of(const Case& which) {
  ArrayConfig config;
  config.level = which.level;
  config.chunk_bytes = kChunk;
  config.consistency = which.consistency;
  config.bitmap_chunk_bytes = which.consistency == Consistency::bitmap ? 16384 : 0;
  config.name = "crash";
  config.tuning = quick_tuning();
  if (which.added > 0 || which.initial_sync) config.tuning.speed_max = 4 * kMiB;  // lasts as long as the client's work
  return config;
}

bool sector_is(const std::byte* sector, std::uint64_t address, std::uint64_t version) {
  for (std::uint64_t i = 0; i < kSectorBytes; i += 8) {
    const std::uint64_t word = version == 0 ? 0 : ((address + i) * 0x9e3779b97f4a7c15ull ^ (version << 32) ^ version);
    if (std::memcmp(sector + i, &word, 8) != 0) return false;
  }
  return true;
}

}  // namespace

bool full_matrix() { return std::getenv("RESILVER_CRASH_FULL") != nullptr; }

std::string Case::text() const {
  return fmt::format("{} of {} disks, {}{}{}{}{}{}, seed {}", name(level), members, name(consistency),
                     lost > 0 ? fmt::format(", {} lost", lost) : "", added > 0 ? fmt::format(", {} added", added) : "",
                     initial_sync ? ", first resync" : "", power ? "" : ", only the process dies",
                     dies_after > 0 ? fmt::format(", d1 dies after {} us", dies_after / kMicrosecond) : "", seed);
}

std::string Verdict::text() const {
  return fmt::format(
      "{} cuts: lost {}, torn {}, changed {}, unread {}, unassembled {}, mismatches {}, not whole {}; refused {}, "
      "holes {} "
      "({} sectors){}{}",
      cuts, lost, torn, changed, unread, unassembled, mismatches, not_whole, refused, holes, hole_sectors,
      first.empty() ? "" : "; first: ", first);
}

struct Experiment::Machine {
  // The run is the same for every `fate`; what becomes of unflushed writes is not.
  Machine(const Case& which, std::uint64_t fate)
      : world(which.seed), node(world.add_node("A", {.memory_bytes = 64 * kMiB})) {
    for (std::uint32_t i = 0; i < which.members + which.added; ++i) {
      add(fmt::format("d{}", i), kMiB + which.stripes * kChunk, fate);
    }
    if (which.journal()) add("journal", kJournalBytes, fate);
  }
  void add(const std::string& name, std::uint64_t bytes, std::uint64_t fate) {
    names.push_back(name);
    sim::DiskOptions options{.model = quick_disk(20 * kMicrosecond)};
    disks.push_back(&world.add_disk(fmt::format("{}.{}", name, fate), bytes, options));
    node.attach_disk(name, *disks.back());
  }
  // Runs what was started until `cut` writes were taken in (0: to its end). Returns how many were.
  std::uint64_t run(std::uint64_t cut, bool power) {
    const std::uint64_t before = world.disk_writes_started();
    if (cut > 0) {
      world.stop_at_write(before + cut, [&, power] {
        power ? node.power_loss() : node.crash();
        killed = true;
      });
    }
    world.run_while([&] { return node.running(); }, world.now() + kHour);
    world.stop_at_write(0, {});
    EXPECT_FALSE(node.running()) << "it never ends";
    if (node.running()) node.crash();
    return world.disk_writes_started() - before;
  }

  sim::World world;
  sim::Node& node;
  std::vector<std::string> names;
  std::vector<sim::Disk*> disks;
  bool killed = false;
};

// An assembly and what was read.
struct Experiment::Seen {
  Status assembled;
  std::vector<std::byte> at_once;  // empty: unreadable
  std::vector<std::byte> recovered;
  bool whole = false;
  std::uint64_t mismatches = 0;
  std::uint32_t redundancy_left = 0;
  std::vector<std::size_t> in_sync;  // disks
};

// ---- the runs ------------------------------------------------------------------------------------------------------------

namespace {

// The disks of a machine in the hands of one process.
struct Opened {
  std::vector<std::unique_ptr<BlockDevice>> devices;
  std::vector<MemberDisk> disks;
};

Task<Opened> open_all(Env& env, const std::vector<std::string>& names) {
  Opened opened;
  for (const std::string& name : names) {
    auto device = co_await env.open_disk(name, kNever);
    CHECK(device.has_value());
    opened.disks.push_back({name, device->get()});
    opened.devices.push_back(std::move(*device));
  }
  co_return opened;
}

Task<void> fail_after(Env& env, fault::FaultyDisk& disk, Nanos after) {
  co_await sleep_for(env.scheduler(), after);
  disk.fail();
}

bool wants_recovery(const Case& which) { return which.added > 0 || which.initial_sync; }

}  // namespace

Task<void> Experiment::client_main(Env& env, Machine& machine, bool& started) {
  Opened opened = co_await open_all(env, machine.names);
  auto faulty = std::make_unique<fault::FaultyDisk>(env.scheduler(), std::move(opened.devices[1]));
  fault::FaultyDisk& dying = *faulty;
  opened.disks[1].device = faulty.get();
  opened.devices[1] = std::move(faulty);
  const std::vector<MemberDisk>& disks = opened.disks;
  ArrayDisks parts;
  parts.members.assign(disks.begin(), disks.begin() + case_.members);
  if (case_.journal()) parts.journal = disks.back();
  auto made = co_await Array::create(env.scheduler(), env.buffers(), env.random(), config_of(case_), std::move(parts),
                                     !case_.initial_sync);
  CHECK(made.has_value());
  Array& array = **made;
  ledger_.resize(array.size_bytes());
  Client client(env, array, ledger_);
  for (std::uint32_t i = 0; i < case_.fills; ++i) co_await client.fill();
  for (std::uint32_t i = 0; i < case_.lost; ++i) EXPECT_TRUE(co_await array.fail_member(machine.names[i]));
  for (std::uint32_t i = 0; i < case_.added; ++i) EXPECT_TRUE(co_await array.add_disk(disks[case_.members + i]));
  for (std::uint32_t i = 0; case_.replaces() && i < case_.added; ++i) {
    EXPECT_TRUE(co_await array.replace_member(machine.names[i]));
  }
  started = true;
  TaskGroup death(env.scheduler());
  if (case_.dies_after > 0) death.spawn(fail_after(env, dying, case_.dies_after));
  const std::uint64_t chunk = kChunk / kBlockBytes;
  const std::uint64_t stripe = case_.level == Level::raid1 ? chunk : array.geometry().stripe_data_bytes() / kBlockBytes;
  co_await client.run(make_script(case_.seed, ledger_.size(), stripe, chunk, case_.rounds));
  if (wants_recovery(case_)) co_await array.recovered();
  co_await sleep_for(env.scheduler(), 100 * kMillisecond);
  co_await death.join();
  co_await array.stop();
  made->reset();
}

std::unique_ptr<Experiment::Machine> Experiment::work(std::uint64_t cut, std::uint64_t fate) {
  auto machine = std::make_unique<Machine>(case_, fate);
  ledger_ = {};
  bool started = false;
  machine->node.start([&](Env& env) -> Task<void> { co_await client_main(env, *machine, started); });
  machine->world.run_while([&] { return !started && machine->node.running(); }, kHour);
  EXPECT_TRUE(started);
  const std::uint64_t writes = machine->run(cut, case_.power);
  if (cut == 0) writes_ = writes;
  EXPECT_EQ(machine->killed, cut != 0) << "the runs are not the same";
  return machine;
}

Task<void> Experiment::recovery_main(Env& env, Machine& machine) {
  Opened opened = co_await open_all(env, machine.names);
  auto made = co_await Array::assemble(env.scheduler(), env.buffers(), env.random(), {.tuning = quick_tuning()},
                                       std::move(opened.disks));
  if (!made) co_return;  // judge() will see why
  co_await (*made)->recovered();
  co_await sleep_for(env.scheduler(), 100 * kMillisecond);
  co_await (*made)->stop();
  made->reset();
}

bool Experiment::recover(Machine& machine, std::uint64_t cut) {
  machine.killed = false;
  machine.node.start([&](Env& env) -> Task<void> { co_await recovery_main(env, machine); });
  machine.run(cut, case_.power);
  return machine.killed;
}

Verdict Experiment::cut_everywhere() {
  work(0, 0);
  for (std::uint64_t n = 1; n <= writes_; ++n) {
    cut_ = fmt::format("{}, cut at write {} of {}", case_.text(), n, writes_);
    const auto machine = work(n, n);
    ++verdict_.cuts;
    judge(*machine);
  }
  return verdict_;
}

Verdict Experiment::cut_recovery(std::uint64_t first_step, std::uint64_t second_step) {
  work(0, 0);
  for (std::uint64_t n = 1; n <= writes_; n += first_step) {
    for (std::uint64_t second = 1;; second += second_step) {
      const auto machine = work(n, n * 10'000 + second);
      if (!recover(*machine, second)) break;
      cut_ = fmt::format("{}, cut at write {} of {} and at write {} of the recovery", case_.text(), n, writes_, second);
      ++verdict_.cuts;
      judge(*machine);
    }
  }
  return verdict_;
}

// ---- judging -------------------------------------------------------------------------------------------------------------

void Experiment::complain(std::uint64_t& count, std::uint64_t by, const std::string& when, const char* what) {
  count += by;
  if (by > 0 && verdict_.first.empty()) verdict_.first = fmt::format("{}: {}: {} {}", cut_, when, by, what);
}

// Sectors that were durable and not being written and are something else; in `torn` those that were being written and are
// neither old nor new.
std::uint64_t Experiment::lost_sectors(const Content& content, std::uint64_t* torn) const {
  std::uint64_t lost = 0;
  for (std::uint64_t i = 0; i < ledger_.size(); ++i) {
    const Ledger::Block& block = ledger_.block(i);
    for (std::uint64_t at = i * kBlockBytes; at < (i + 1) * kBlockBytes; at += kSectorBytes) {
      const std::byte* sector = content.data() + at;
      if (sector_is(sector, at, block.durable)) continue;
      const bool newer = std::any_of(block.possible.begin(), block.possible.end(),
                                     [&](std::uint64_t version) { return sector_is(sector, at, version); });
      if (!newer && block.possible.empty()) ++lost;
      if (!newer && !block.possible.empty()) ++*torn;
    }
  }
  return lost;
}

void Experiment::check_content(const Content& content, const std::string& when) {
  if (content.empty()) return complain(verdict_.unread, 1, when, "array that cannot be read");
  std::uint64_t torn = 0;
  complain(verdict_.lost, lost_sectors(content, &torn), when, "durable sectors lost");
  complain(verdict_.torn, torn, when, "sectors neither old nor new");
}

void Experiment::check_same(const Content& before, const Content& now, const std::string& when) {
  if (before.empty() || now.empty()) return;
  std::uint64_t changed = 0;
  for (std::size_t at = 0; at < before.size(); at += kSectorBytes) {
    changed += std::memcmp(&before[at], &now[at], kSectorBytes) == 0 ? 0 : 1;
  }
  complain(verdict_.changed, changed, when, "sectors changed since they were read");
}

bool Experiment::refused(const Seen& seen) const {
  return !seen.assembled && seen.assembled.error().code == Errc::unavailable &&
         seen.assembled.error().what.find("dirty and degraded") != std::string::npos;
}

static Task<std::vector<std::byte>> read_all(Env& env, Array& array) {
  LongIo io(env, array, IoOp::read, 0, array.size_bytes());
  std::vector<std::byte> content;
  if (co_await io != Errc::ok) co_return content;
  for (const Buffer& buffer : io.buffers) content.insert(content.end(), buffer.data(), buffer.data() + buffer.size());
  co_return content;
}

// Assembles what the images hold (and changes them), reads everything, waits for the recovery, reads everything again.
Task<Experiment::Seen> Experiment::look(Env& env, const Machine& machine, Images& images, const Disks& left_out,
                                        bool force) {
  Seen seen;
  std::vector<std::unique_ptr<MemoryDisk>> devices;
  std::vector<MemberDisk> disks;
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (std::find(left_out.begin(), left_out.end(), i) != left_out.end()) continue;
    devices.push_back(std::make_unique<MemoryDisk>(env.scheduler(), images[i]));
    disks.push_back({machine.names[i], devices.back().get()});
  }
  AssembleOptions options;
  options.tuning = quick_tuning();
  options.force = force;
  auto made = co_await Array::assemble(env.scheduler(), env.buffers(), env.random(), options, std::move(disks));
  if (!made) {
    seen.assembled = std::unexpected(made.error());
    co_return seen;
  }
  Array& array = **made;
  seen.at_once = co_await read_all(env, array);
  co_await array.recovered();
  seen.whole = array.redundancy_full();
  if (seen.whole && array.geometry().redundancy() > 0) {
    const Status scrubbed = co_await array.scrub({});
    seen.mismatches = scrubbed ? array.status().mismatch_sectors : 1;
  }
  seen.recovered = co_await read_all(env, array);
  const ArrayStatus status = array.status();
  seen.redundancy_left = status.redundancy_left;
  for (std::size_t i = 0; i < images.size(); ++i) {
    for (const MemberStatus& member : status.members) {
      if (member.state == MemberState::in_sync && member.name == machine.names[i]) seen.in_sync.push_back(i);
    }
  }
  co_await array.stop();
  made->reset();
  co_return seen;
}

// All disks: what everybody does after a crash. Then each member is left out of what that made of the array.
Task<void> Experiment::judge_whole(Env& env, const Machine& machine, const Images& images) {
  Images after = images;
  const Seen seen = co_await look(env, machine, after, {}, false);
  const bool degraded = case_.lost > 0 || case_.dies_after > 0;
  if (refused(seen) && case_.parity() && !case_.journal() && degraded) {
    ++verdict_.refused;
    co_await judge_forced(env, machine, images, {});
    co_return;
  }
  if (!seen.assembled) {
    complain(verdict_.unassembled, 1, "all disks", seen.assembled.error().what.c_str());
    co_return;
  }
  check_content(seen.at_once, "all disks, at once");
  check_content(seen.recovered, "all disks, recovered");
  check_same(seen.at_once, seen.recovered, "all disks, recovered");
  complain(verdict_.mismatches, seen.mismatches, "all disks, recovered", "sectors of redundancy that do not match");
  const bool can_be_whole = case_.level != Level::raid0 && case_.lost <= case_.added && case_.dies_after == 0;
  complain(verdict_.not_whole, can_be_whole && !seen.whole ? 1 : 0, "all disks, recovered", "array that is not whole");
  if (seen.redundancy_left == 0) co_return;
  for (const std::size_t disk : seen.in_sync) co_await judge_without(env, machine, after, {disk}, &seen.recovered);
}

// Some are missing. `before`: what was read from the recovered array; else this is the moment after the cut.
Task<void> Experiment::judge_without(Env& env, const Machine& machine, Images images, Disks left_out,
                                     const Content* before) {
  std::string when = before != nullptr ? "recovered, then without" : "at once without";
  for (const std::size_t disk : left_out) when += " " + machine.names[disk];
  const Images kept = images;
  const Seen seen = co_await look(env, machine, images, left_out, false);
  if (before == nullptr && refused(seen) && case_.parity() && !case_.journal()) {
    ++verdict_.refused;
    co_await judge_forced(env, machine, kept, left_out);
    co_return;
  }
  if (!seen.assembled) {
    complain(verdict_.unassembled, 1, when, seen.assembled.error().what.c_str());
    co_return;
  }
  check_content(seen.at_once, when);
  check_content(seen.recovered, when);
  check_same(before != nullptr ? *before : seen.at_once, seen.recovered, when);
}

// Parity may not match data: what was durable and lies beside what was being written can be lost.
Task<void> Experiment::judge_forced(Env& env, const Machine& machine, Images images, Disks left_out) {
  const Seen seen = co_await look(env, machine, images, left_out, true);
  if (!seen.assembled) {
    complain(verdict_.unassembled, 1, "forced", seen.assembled.error().what.c_str());
    co_return;
  }
  if (seen.at_once.empty()) {
    complain(verdict_.unread, 1, "forced", "array that cannot be read");
    co_return;
  }
  std::uint64_t torn = 0;
  const std::uint64_t lost = lost_sectors(seen.at_once, &torn);
  verdict_.holes += lost > 0 ? 1 : 0;
  verdict_.hole_sectors += lost;
}

Task<void> Experiment::judge_main(Env& env, const Machine& machine, const Images& images) {
  co_await judge_whole(env, machine, images);
  if (case_.level == Level::raid0 || wants_recovery(case_) || case_.dies_after > 0) co_return;
  const std::uint32_t spare = (case_.level == Level::raid6 ? 2 : 1) - std::min(case_.lost, 2u);
  if (case_.lost > 0 && case_.level != Level::raid6) co_return;
  if (spare == 0) co_return;
  if (case_.parity() && !case_.journal()) {  // one of them, by turns
    co_await judge_without(env, machine, images, {case_.lost + turn_++ % (case_.members - case_.lost)}, nullptr);
    co_return;
  }
  for (std::size_t disk = case_.lost; disk < case_.members; ++disk) {
    co_await judge_without(env, machine, images, {disk}, nullptr);
    for (std::size_t other = disk + 1; spare > 1 && other < case_.members; ++other) {
      co_await judge_without(env, machine, images, {disk, other}, nullptr);
    }
  }
}

void Experiment::judge(Machine& machine) {
  Images images;
  images.reserve(machine.disks.size());
  for (const sim::Disk* disk : machine.disks) images.emplace_back(*disk);
  machine.node.start([&](Env& env) -> Task<void> { co_await judge_main(env, machine, images); });
  machine.run(0, case_.power);
}

}  // namespace resilver::raid
