#include "tools/bench_options.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "tools/command.h"
#include "tools/commands.h"

namespace resilver::tools {

namespace {

constexpr std::size_t kMostPoints = 64;

// ---- the plan --------------------------------------------------------------------------------------------------------

std::unexpected<Error> refuse(const std::string& why) { return fail(Errc::invalid_argument, why); }

Result<std::uint64_t> between(const std::string& key, Result<std::uint64_t> value, std::uint64_t least,
                              std::uint64_t most, const std::string& range) {
  if (!value) return refuse("--" + key + ": " + value.error().what);
  if (*value < least || *value > most) return refuse("--" + key + ": expected " + range);
  return value;
}

// Where a key's number goes, what it may be, and how it is swept.
struct Key {
  const char* name;
  bool is_size;  // else a count
  std::uint64_t least, most;
  const char* range;
  bool doubles;  // when swept; else one more each time
  std::function<void(BenchPlan&, std::uint64_t)> set;
};

const std::vector<Key>& keys() {
  static const std::vector<Key> all = {
      {"disks", false, 1, 32, "1 to 32", false,
       [](BenchPlan& p, std::uint64_t v) { p.disks = static_cast<std::uint32_t>(v); }},
      {"lost", false, 0, 3, "0 to 3", false,
       [](BenchPlan& p, std::uint64_t v) { p.lost = static_cast<std::uint32_t>(v); }},
      {"chunk", true, 4 * kKiB, 16 * kMiB, "4K to 16M", true, [](BenchPlan& p, std::uint64_t v) { p.chunk = v; }},
      {"size", true, 8 * kMiB, 16 * kTiB, "8M to 16T", true, [](BenchPlan& p, std::uint64_t v) { p.size = v; }},
      {"bs", true, 4 * kKiB, kMiB, "4K to 1M", true, [](BenchPlan& p, std::uint64_t v) { p.bs = v; }},
      {"iodepth", false, 1, 256, "1 to 256", true,
       [](BenchPlan& p, std::uint64_t v) { p.iodepth = static_cast<std::uint32_t>(v); }},
      {"speed-min", true, 1, kTiB, "a size", true, [](BenchPlan& p, std::uint64_t v) { p.speed_min = v; }},
      {"speed-max", true, 1, kTiB, "a size", true, [](BenchPlan& p, std::uint64_t v) { p.speed_max = v; }},
      {"rate-iops", false, 1, 10'000'000, "1 to 10000000", true, [](BenchPlan& p, std::uint64_t v) { p.rate_iops = v; }},
      {"rounds", false, 1, 1000, "1 to 1000", false,
       [](BenchPlan& p, std::uint64_t v) { p.rounds = static_cast<std::uint32_t>(v); }},
  };
  return all;
}

const Key* find_key(const std::string& name) {
  for (const Key& key : keys())
    if (name == key.name) return &key;
  return nullptr;
}

Result<std::uint64_t> read_value(const Key& key, const std::string& text) {
  return between(key.name, key.is_size ? parse_size(text) : parse_count(text), key.least, key.most, key.range);
}

// "512", or "64K" where that is exact.
std::string write_value(const Key& key, std::uint64_t value) {
  if (!key.is_size) return std::to_string(value);
  std::size_t unit = 0;
  while (unit < 4 && value != 0 && value % 1024 == 0) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", value, std::string_view("\0KMGT", 5).substr(unit, unit == 0 ? 0 : 1));
}

// "chunk=4K..1M"
Status read_sweep(const std::string& text, BenchCommand& command) {
  const std::size_t equals = text.find('='), dots = text.find("..");
  const Key* key = equals == std::string::npos ? nullptr : find_key(text.substr(0, equals));
  if (key == nullptr || dots == std::string::npos || dots < equals || text.starts_with("rounds"))
    return refuse("--sweep " + text + ": expected KEY=A..B with a KEY that --help lists");
  const auto from = read_value(*key, text.substr(equals + 1, dots - equals - 1));
  const auto to = read_value(*key, text.substr(dots + 2));
  if (!from) return std::unexpected(from.error());
  if (!to) return std::unexpected(to.error());
  if (*from > *to) return refuse("--sweep " + text + ": A is above B");
  if (key->doubles && *from == 0) return refuse("--sweep " + text + ": A must not be 0");
  command.sweep_key = key->name;
  for (std::uint64_t at = *from; at < *to && command.sweep_values.size() < kMostPoints;
       at = key->doubles ? at * 2 : at + 1)
    command.sweep_values.push_back(write_value(*key, at));
  command.sweep_values.push_back(write_value(*key, *to));
  return {};
}

BenchKind kind_of_work(const CommandLine& line) {
  for (const BenchKind kind : {BenchKind::rebuild, BenchKind::scrub}) {
    if (line.command.ends_with(name(kind))) return kind;
  }
  return BenchKind::io;
}

class Reader {
 public:
  explicit Reader(const CommandLine& line) : line_(line) {}

  Result<BenchCommand> read();

 private:
  Status read_shape(BenchPlan& plan) const;
  Status read_load(BenchPlan& plan) const;
  Status read_place(BenchCommand& command) const;
  static Status check(const BenchCommand& command);

  bool has(const char* key) const { return line_.has(key); }
  std::string text(const char* key) const { return line_.text(key); }

  const CommandLine& line_;
};

Status Reader::read_shape(BenchPlan& plan) const {
  if (has("level")) {
    const auto number = between("level", parse_count(text("level")), 0, 10, "0, 1, 4, 5, 6 or 10");
    if (!number) return std::unexpected(number.error());
    const auto level = raid::level_from_number(static_cast<int>(*number));
    if (!level) return refuse("--level " + text("level") + ": expected 0, 1, 4, 5, 6 or 10");
    plan.level = *level;
  }
  plan.disks = plan.level == raid::Level::raid6 ? 6 : plan.level == raid::Level::raid1 ? 2 : 4;
  plan.lost = plan.kind == BenchKind::rebuild ? 1 : 0;
  if (plan.level == raid::Level::raid0) plan.consistency = raid::Consistency::none;
  if (has("consistency")) {
    const auto policy = raid::consistency_from_name(text("consistency"));
    if (!policy) return refuse("--consistency " + text("consistency") + ": expected none, resync, bitmap or journal");
    plan.consistency = *policy;
  }
  for (const Key& key : keys()) {
    if (!has(key.name)) continue;
    const auto value = read_value(key, text(key.name));
    if (!value) return std::unexpected(value.error());
    key.set(plan, *value);
  }
  return {};
}

Status Reader::read_load(BenchPlan& plan) const {
  if (has("rw")) plan.rw = text("rw");
  bool known = false;
  for (const char* mode : {"randread", "randwrite", "randrw", "read", "write"}) known = known || plan.rw == mode;
  if (!known) return refuse("--rw " + plan.rw + ": expected randread, randwrite, randrw, read or write");
  if (plan.bs % kBlockBytes != 0) return refuse("--bs: expected a multiple of 4K");
  if (has("runtime")) {
    const auto time = parse_duration(text("runtime"));
    if (!time || *time < kMillisecond) return refuse("--runtime " + text("runtime") + ": expected a time, such as 2s");
    plan.runtime = *time;
  }
  if (has("disk")) plan.disk = text("disk");
  return {};
}

Status Reader::read_place(BenchCommand& command) const {
  BenchPlan& plan = command.plan;
  if (has("devices")) {
    plan.devices = line_.all("devices");
    if (!has("force")) return refuse("--devices: all that they hold will be lost; say --force if that is meant");
    if (has("dir")) return refuse("--devices and --dir exclude each other");
  }
  const char* set = std::getenv("TMPDIR");
  plan.dir = has("dir") ? text("dir") : set != nullptr && *set != '\0' ? set : "/var/tmp";
  if (has("against")) {
    if (text("against") != "btrfs") return refuse("--against " + text("against") + ": expected btrfs");
    command.against_btrfs = true;
  }
  command.json = text("json");
  return {};
}

Status Reader::check(const BenchCommand& command) {
  const BenchPlan& plan = command.plan;
  if (command.virtual_time && plan.kind != BenchKind::rebuild) return refuse("--virtual goes with rebuild");
  if (command.virtual_time && (command.against_btrfs || !plan.devices.empty()))
    return refuse("in virtual time there are no devices and no btrfs");
  if (command.against_btrfs && plan.kind == BenchKind::io) return refuse("--against goes with rebuild and scrub");
  if (plan.kind == BenchKind::rebuild && plan.lost == 0 && command.sweep_key != "lost")
    return refuse("--lost: a rebuild needs at least 1");
  if (plan.kind == BenchKind::scrub && plan.lost != 0) return refuse("--lost: a scrub needs a whole array");
  if (plan.kind != BenchKind::io && plan.level == raid::Level::raid0)
    return refuse("level 0 has nothing to rebuild or to compare");
  if (!plan.devices.empty() && (command.sweep_key == "size" || command.sweep_key == "disks"))
    return refuse("--sweep: not with --devices");
  return {};
}

Result<BenchCommand> Reader::read() {
  BenchCommand command;
  BenchPlan& plan = command.plan;
  plan.kind = kind_of_work(line_);
  if (has("sweep"))
    if (auto swept = read_sweep(text("sweep"), command); !swept) return std::unexpected(swept.error());
  command.virtual_time = has("virtual") || (command.sweep_key == "speed-max" && plan.kind == BenchKind::rebuild);
  if (command.virtual_time) {
    plan.rw = "randrw";
    plan.runtime = 5 * kSecond;
  }
  if (auto shape = read_shape(plan); !shape) return std::unexpected(shape.error());
  if (auto load = read_load(plan); !load) return std::unexpected(load.error());
  if (auto place = read_place(command); !place) return std::unexpected(place.error());
  if (auto sound = check(command); !sound) return std::unexpected(sound.error());
  return command;
}

}  // namespace

void set_swept(const BenchCommand& command, const std::string& value, BenchPlan& plan) {
  const Key* key = find_key(command.sweep_key);
  CHECK(key != nullptr);
  key->set(plan, read_value(*key, value).value());
}

Result<BenchCommand> read_bench_command(const CommandLine& line) { return Reader(line).read(); }

namespace {

// All three understand all; what makes no sense with one of them is told in words.
constexpr std::initializer_list<OptionSpec> kOptions = {
    {.name = "level",
     .value = "N",
     .meaning = "the RAID level",
     .otherwise = "5",
     .choices = "0|1|4|5|6|10",
     .heading = "The array"},
    {"disks", "N", "members, without spares (default 4; level 6: 6, level 1: 2)"},
    {"chunk", "SIZE", "chunk size", "64K"},
    {"size", "SIZE", "of each image", "256M"},
    {"consistency", "POLICY", "what a crash costs", "resync", "none|resync|bitmap|journal"},
    {"lost", "N", "members that fail first (default: rebuild 1, else 0)"},
    {"speed-min", "SIZE", "a second and member, while there is other I/O"},
    {"speed-max", "SIZE", "a second and member (default: no limit)"},
    {.name = "rw",
     .value = "MODE",
     .meaning = "of io, and of what goes on in virtual time",
     .otherwise = "randread",
     .choices = "randread|randwrite|randrw|read|write",
     .heading = "The load"},
    {"bs", "SIZE", "size of a request, at most 1M", "4K"},
    {"iodepth", "N", "requests under way", "32"},
    {"runtime", "TIME", "of a round of io (default 1s); virtual: before the loss (5s)"},
    {"rounds", "N", "that count; one more warms up, unless N is 1", "5"},
    {.name = "dir", .value = "DIR", .meaning = "where images are made; default TMPDIR or /var/tmp", .heading = "Where"},
    {"devices", "PATH...", "instead: members, spares, journal; WHAT THEY HOLD IS LOST"},
    {"force", nullptr, "goes with --devices: yes, overwrite them"},
    {.name = "virtual",
     .value = nullptr,
     .meaning = "rebuild in virtual time: p99 of requests meanwhile, and the exposure",
     .heading = "Virtual time"},
    {"disk", "MODEL", "of each member", "sata-ssd", "hdd|sata-ssd|nvme|ostep"},
    {"rate-iops", "N", "requests a second (default 1000), half of them writes unless --rw"},
    {.name = "against",
     .value = "btrfs",
     .meaning = "rebuild, scrub: btrfs does the same, in turns",
     .heading = "What comes out"},
    {"sweep", "KEY=A..B", "one row each: disks, lost (+1), chunk, size, bs, iodepth, speed-max, rate-iops (x2)"},
    {"json", "FILE", "results as JSON there; - for standard output, without the table"},
};

constexpr std::initializer_list<cli::ExitCode> kExits = {
    {0, "measured"}, {1, "it could not be measured"}, cli::kBadUsageExit};

constexpr CommandSpec kIo = {
    .name = "bench io",
    .meaning = "requests a second of an array, and how long they take",
    .description =
        "Makes an array on images of its own, reads and writes it, leaves nothing behind. What is printed are "
        "medians over rounds; the machine's noise is in brackets.",
    .options = kOptions,
    .examples = {"resilver bench io --level 5 --rw randwrite --bs 4K --iodepth 32 --sweep chunk=4K..1M",
                 "resilver bench io --level 1 --devices /dev/sdb /dev/sdc --force"},
    .exits = kExits,
    .run = run_bench,
};

constexpr CommandSpec kRebuild = {
    .name = "bench rebuild",
    .meaning = "how fast lost members are rebuilt, and what limits that",
    .description =
        "Makes an array on images of its own, lets members fail, rebuilds them on new ones, leaves nothing "
        "behind. What is printed are medians over rounds; the machine's noise is in brackets.",
    .options = kOptions,
    .examples = {"resilver bench rebuild --level 6 --disks 6 --lost 2 --size 1G --dir /srv --json before.json",
                 "resilver bench rebuild --level 5 --dir /srv --against btrfs           (needs root)",
                 "resilver bench rebuild --sweep speed-max=10M..200M --json curve.json  (virtual time)"},
    .exits = kExits,
    .run = run_bench,
};

constexpr CommandSpec kScrub = {
    .name = "bench scrub",
    .meaning = "how fast all redundancy is compared with the data",
    .description =
        "Makes an array on images of its own, scrubs it, leaves nothing behind. What is printed are medians "
        "over rounds; the machine's noise is in brackets.",
    .options = kOptions,
    .examples = {"resilver bench scrub --level 5 --dir /srv --against btrfs           (needs root)"},
    .exits = kExits,
    .run = run_bench,
};

}  // namespace

constexpr CommandSpec kBenchCommand = {
    .name = "bench",
    .meaning = "how fast arrays are here, and what limits them",
    .usage = "io|rebuild|scrub [OPTIONS]",
    .description =
        "Makes an array on images of its own, measures it, leaves nothing behind. What is printed are medians "
        "over rounds; the machine's noise is in brackets. Compare two of them: resilver compare.",
    .examples = {"resilver bench io --level 5 --rw randwrite --bs 4K --iodepth 32 --sweep chunk=4K..1M",
                 "resilver bench rebuild --level 6 --disks 6 --lost 2 --size 1G --dir /srv --json before.json"},
    .exits = kExits,
    .verbs = {&kIo, &kRebuild, &kScrub},
};

}  // namespace resilver::tools
