#include "scenario/verbs.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/units.h"
#include "scenario/toml_reader.h"

namespace resilver::scenario {
namespace {

using Keys = TableReader;
using Arguments = VerbArguments;
using Key = std::string_view;

constexpr const char* kBlockChoices[] = {"any", "data", "parity", "rebuild_path"};

std::string yes_or_no(bool value) { return value ? "true" : "false"; }
std::string if_not_zero(std::uint64_t value, std::string text) { return value == 0 ? std::string() : std::move(text); }

// ---- arguments -------------------------------------------------------------------------------------------------------

void read_count(Keys& keys, Key key, Arguments& into) { keys.read(key, into.count, 1, 100'000); }

void read_size(Keys& keys, Key key, Arguments& into) {
  const bool good = !keys.read_size(key, into.size_bytes) ||
                    (into.size_bytes != 0 && into.size_bytes % kBlockBytes == 0 && into.size_bytes <= (64u << 20));
  if (!good) keys.complain(key, "a multiple of 4K up to 64M expected");
}

void read_where(Keys& keys, Key key, Arguments& into) {
  const std::vector<std::string> words(std::begin(kBlockChoices), std::end(kBlockChoices));
  if (auto index = keys.read_word(key, words)) into.where = static_cast<BlockChoice>(*index);
}

void read_period(Keys& keys, Key key, Arguments& into) {
  if (keys.read_duration(key, into.period) && into.period < kMillisecond) keys.complain(key, "1ms at least expected");
}

void read_rate(Keys& keys, Key key, Arguments& into) {
  std::uint32_t percent = 100;
  keys.read(key, percent, 90, 110);
  into.rate_ppm = (static_cast<std::int32_t>(percent) - 100) * 10'000;
}

void read_discard(Keys& keys, Key key, Arguments& into) {
  if (auto index = keys.read_word(key, {"local", "remote"})) into.discard_local = *index == 0;
}

void read_range(Keys& keys, Key key, Arguments& into) {
  const auto list = keys.read_list(key);
  std::uint64_t values[2] = {0, 0};
  bool good = list.size() == 2;
  for (std::size_t i = 0; good && i < 2; ++i) {
    const auto* text = list[i]->as_string();
    auto value = text ? parse_size(text->get()) : Result<std::uint64_t>(fail(Errc::bad_input, {}));
    good = value.has_value() && *value % kBlockBytes == 0 && *value <= kMaxVolumeBytes;
    if (good) values[i] = *value;
  }
  if (!good || values[1] == 0)
    return keys.complain(key, "offset and length, multiples of 4K, such as [\"0K\", \"16MiB\"] expected");
  into.range_offset = values[0];
  into.range_bytes = values[1];
}

void read_add(Keys& keys, Key key, Arguments& into) { keys.read_duration(key, into.add); }
void read_bandwidth(Keys& keys, Key key, Arguments& into) { keys.read_rate(key, into.bandwidth); }
std::string add_text(const Arguments& a) {
  return if_not_zero(static_cast<std::uint64_t>(a.add), format_duration(a.add));
}
std::string disk_rate_text(const Arguments& a) { return if_not_zero(a.bandwidth, format_rate(a.bandwidth)); }
std::string line_rate_text(const Arguments& a) { return if_not_zero(a.bandwidth, format_bit_rate(a.bandwidth)); }

constexpr VerbArgument kPlaces[] = {
    {"count", "1 to 100000", "1", "in how many places", read_count,
     [](const Arguments& a) { return fmt::to_string(a.count); }},
    {"size", "a multiple of 4K up to 64M", "4K", "of each place", read_size,
     [](const Arguments& a) { return format_size(a.size_bytes); }},
    {"where", "any, data, parity, rebuild_path", "any",
     "blocks of client data, of P or Q, or any that the rebuild of another member must read", read_where,
     [](const Arguments& a) { return std::string(kBlockChoices[static_cast<std::size_t>(a.where)]); }},
};
constexpr VerbArgument kSlow[] = {
    {"factor", "1 to 100000, also 2.5", "1", "times the time that the disk takes",
     [](Keys& keys, Key key, Arguments& into) { keys.read_percent_factor(key, into.factor_percent); },
     [](const Arguments& a) {
       return if_not_zero(a.factor_percent - 100, fmt::format("{:g}", a.factor_percent / 100.0));
     }},
    {"add", "a duration", "0ms", "to each request", read_add, add_text},
    {"bandwidth", "a rate", "the model's", "of all reads and writes together, at most", read_bandwidth, disk_rate_text},
};
constexpr VerbArgument kLatency[] = {{"add", "a duration", "", "to each message, each way", read_add, add_text}};
constexpr VerbArgument kBandwidth[] = {{"bandwidth", "a rate", "", "each way", read_bandwidth, line_rate_text}};
constexpr VerbArgument kFlap[] = {{"period", "a duration from 1ms on", "",
                                   "so long down, then so long up, while `for` lasts", read_period,
                                   [](const Arguments& a) { return format_duration(a.period); }}};
constexpr VerbArgument kPercent[] = {{"percent", "1 to 100", "", "of the messages",
                                      [](Keys& keys, Key key, Arguments& into) { keys.read(key, into.percent, 1, 100); },
                                      [](const Arguments& a) { return fmt::format("{} %", a.percent); }}};
constexpr VerbArgument kClock[] = {{"rate", "90 to 110", "", "percent of true time", read_rate,
                                    [](const Arguments& a) { return fmt::format("{} %", 100 + a.rate_ppm / 10'000); }}};
constexpr VerbArgument kScrub[] = {{"repair", "true, false", "false", "what does not fit is made to fit",
                                    [](Keys& keys, Key key, Arguments& into) { keys.read(key, into.repair); },
                                    [](const Arguments& a) { return yes_or_no(a.repair); }}};
constexpr VerbArgument kRange[] = {
    {"range", "[offset, length], multiples of 4K", "", "of the volume", read_range, [](const Arguments& a) {
       return fmt::format("{} from {} on", format_size(a.range_bytes), format_size(a.range_offset));
     }}};
constexpr VerbArgument kPromote[] = {{"force", "true, false", "false",
                                      "without asking the others: what only they hold is lost",
                                      [](Keys& keys, Key key, Arguments& into) { keys.read(key, into.force); },
                                      [](const Arguments& a) { return yes_or_no(a.force); }}};
constexpr VerbArgument kResolve[] = {
    {"discard", "local, remote", "", "whose side is given up: the node's own, or the other one", read_discard,
     [](const Arguments& a) { return std::string(a.discard_local ? "local" : "remote"); }},
    {"peer", "the name of a node", "the only one there is", "whose side is the other one",
     [](Keys& keys, Key key, Arguments& into) { keys.read(key, into.peer); }, [](const Arguments& a) { return a.peer; }},
};

// ---- verbs -----------------------------------------------------------------------------------------------------------

const VerbInfo kVerbs[] = {
    {.verb = Verb::disk_fail,
     .name = "disk.fail",
     .target = TargetKind::disk,
     .lasts = false,
     .arguments = {},
     .meaning = "every further I/O of the disk fails; the array takes a spare",
     .in_virtual = "the simulated disk answers 'device gone'",
     .in_real = "the wrapper over the image answers 'device gone'; the image stays",
     .takes_or_gives_back = true,
     .at_journals = true},
    {.verb = Verb::disk_latent,
     .name = "disk.latent",
     .target = TargetKind::disk,
     .lasts = false,
     .arguments = kPlaces,
     .meaning = "blocks become unreadable until they are written again",
     .in_virtual = "medium error on reads",
     .in_real = "medium error from the wrapper; the bytes in the image stay"},
    {.verb = Verb::disk_corrupt,
     .name = "disk.corrupt",
     .target = TargetKind::disk,
     .lasts = false,
     .arguments = kPlaces,
     .meaning = "blocks change silently: reads succeed and return other bytes",
     .in_virtual = "bytes are changed on the simulated disk",
     .in_real = "bytes are changed in the image"},
    {.verb = Verb::disk_slow,
     .name = "disk.slow",
     .target = TargetKind::disk,
     .lasts = true,
     .arguments = kSlow,
     .meaning = "requests take longer",
     .in_virtual = "completions are delayed",
     .in_real = "completions are delayed; the image itself is as fast as ever",
     .at_journals = true,
     .needs_one_of = "factor, add or bandwidth"},
    {.verb = Verb::disk_hang,
     .name = "disk.hang",
     .target = TargetKind::disk,
     .lasts = true,
     .arguments = {},
     .meaning = "requests are taken and not answered",
     .in_virtual = "requests are held back; passed on when it ends",
     .in_real = "requests are held back; passed on when it ends",
     .takes_or_gives_back = true,
     .at_journals = true},
    {.verb = Verb::disk_lost_flush,
     .name = "disk.lost_flush",
     .target = TargetKind::disk,
     .lasts = true,
     .arguments = {},
     .meaning = "the disk says that a flush is done, and keeps nothing of it: a power loss takes its cache",
     .in_virtual = "flushes end well and are not carried out; FUA is ignored",
     .in_real = "the same; writes are withheld in the process if an event takes power away",
     .at_journals = true},
    {.verb = Verb::disk_replace,
     .name = "disk.replace",
     .target = TargetKind::disk,
     .lasts = false,
     .arguments = {},
     .meaning = "a new, empty disk takes the slot",
     .in_virtual = "a fresh simulated disk",
     .in_real = "a fresh image; the old one is put aside",
     .takes_or_gives_back = true},
    {.verb = Verb::node_crash,
     .name = "node.crash",
     .target = TargetKind::node,
     .lasts = true,
     .arguments = {},
     .meaning = "the process dies; what the disks took survives",
     .in_virtual = "memory is lost; disks finish what they had",
     .in_real = "SIGKILL",
     .takes_or_gives_back = true},
    {.verb = Verb::node_power_loss,
     .name = "node.power_loss",
     .target = TargetKind::node,
     .lasts = true,
     .arguments = {},
     .meaning = "the node dies and its disks lose their caches",
     .in_virtual = "writes not flushed are kept, lost or torn by the seed",
     .in_real = "SIGKILL; every write that the image wrapper withheld since the last flush is lost",
     .takes_or_gives_back = true,
     .loses_caches = true},
    {.verb = Verb::node_freeze,
     .name = "node.freeze",
     .target = TargetKind::node,
     .lasts = true,
     .arguments = {},
     .meaning = "the process stops and later goes on as if nothing was",
     .in_virtual = "the node's events wait; its clock goes on",
     .in_real = "SIGSTOP, SIGCONT"},
    {.verb = Verb::node_restart,
     .name = "node.restart",
     .target = TargetKind::node,
     .lasts = false,
     .arguments = {},
     .meaning = "the node starts (again), after its reboot time",
     .in_virtual = "a new node on the same disks",
     .in_real = "SIGKILL if it runs, then a new process on the same images",
     .takes_or_gives_back = true},
    {.verb = Verb::node_clock,
     .name = "node.clock",
     .target = TargetKind::node,
     .lasts = true,
     .arguments = kClock,
     .meaning = "the node's clock runs at `rate` percent of true time",
     .in_virtual = "the node's clock and timers",
     .in_real = "n/a: a process cannot be given a clock of its own"},
    {.verb = Verb::link_drop,
     .name = "link.drop",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = {},
     .meaning = "nothing passes and nobody is told, like an unplugged cable",
     .in_virtual = "messages wait; connections stay open",
     .in_real = "the runner's proxy stops reading; connections stay open"},
    {.verb = Verb::link_latency,
     .name = "link.latency",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kLatency,
     .meaning = "every message takes longer",
     .in_virtual = "added to each direction",
     .in_real = "the runner's proxy delays each direction"},
    {.verb = Verb::link_bandwidth,
     .name = "link.bandwidth",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kBandwidth,
     .meaning = "less passes per second",
     .in_virtual = "the link's rate changes",
     .in_real = "the runner's proxy passes less"},
    {.verb = Verb::link_reset,
     .name = "link.reset",
     .target = TargetKind::link,
     .lasts = false,
     .arguments = {},
     .meaning = "every connection between the two ends at once",
     .in_virtual = "both ends see it at once; what was under way is lost",
     .in_real = "the runner's proxies reset them; new ones are let in"},
    {.verb = Verb::link_flap,
     .name = "link.flap",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kFlap,
     .meaning = "dropped for `period`, then not for `period`, and so on",
     .in_virtual = "as link.drop",
     .in_real = "as link.drop",
     .must_end = true},
    {.verb = Verb::link_loss,
     .name = "link.loss",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kPercent,
     .meaning = "of the messages so many never arrive, though what follows them does",
     .in_virtual = "drawn for each message",
     .in_real = "n/a: a proxy forwards bytes and knows no messages"},
    {.verb = Verb::link_duplicate,
     .name = "link.duplicate",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kPercent,
     .meaning = "so many messages arrive twice",
     .in_virtual = "drawn for each message",
     .in_real = "n/a: a proxy forwards bytes and knows no messages"},
    {.verb = Verb::link_corrupt,
     .name = "link.corrupt",
     .target = TargetKind::link,
     .lasts = true,
     .arguments = kPercent,
     .meaning = "so many frames do not match their checksums, and each ends its connection",
     .in_virtual = "drawn for each message",
     .in_real = "n/a: a proxy forwards bytes and knows no messages"},
    {.verb = Verb::array_scrub,
     .name = "array.scrub",
     .target = TargetKind::node,
     .lasts = false,
     .arguments = kScrub,
     .meaning = "the node's array reads everything and counts what does not fit",
     .in_virtual = "the engine's own scrub",
     .in_real = "the engine's own scrub"},
    {.verb = Verb::volume_overwrite,
     .name = "volume.overwrite",
     .target = TargetKind::volume,
     .lasts = false,
     .arguments = kRange,
     .meaning = "the client overwrites a range: an accident, and a perfectly valid write",
     .in_virtual = "ordinary writes",
     .in_real = "ordinary writes"},
    {.verb = Verb::volume_promote,
     .name = "volume.promote",
     .target = TargetKind::node,
     .lasts = false,
     .arguments = kPromote,
     .meaning = "the node becomes the primary: planned, after the old one has drained its writes; by force whatever "
                "the others hold",
     .in_virtual = "the engine's own promotion",
     .in_real = "the engine's own promotion",
     .takes_or_gives_back = true},
    {.verb = Verb::volume_resolve,
     .name = "volume.resolve",
     .target = TargetKind::node,
     .lasts = false,
     .arguments = kResolve,
     .meaning = "after a split brain: the node's own side (local) or the other one (remote) is given up",
     .in_virtual = "the engine's own choice",
     .in_real = "the engine's own choice",
     .takes_or_gives_back = true},
    {.verb = Verb::site_lose,
     .name = "site.lose",
     .target = TargetKind::site,
     .lasts = true,
     .arguments = {},
     .meaning = "all nodes of a site lose power at once",
     .in_virtual = "as node.power_loss of each",
     .in_real = "as node.power_loss of each",
     .takes_or_gives_back = true,
     .loses_caches = true},
    {.verb = Verb::site_return,
     .name = "site.return",
     .target = TargetKind::site,
     .lasts = false,
     .arguments = {},
     .meaning = "the nodes of a site that do not run are started",
     .in_virtual = "as node.restart of each, all at once",
     .in_real = "as node.restart of each, all at once",
     .takes_or_gives_back = true},
    {.verb = Verb::arbiter_stop,
     .name = "arbiter.stop",
     .target = TargetKind::arbiter,
     .lasts = true,
     .arguments = {},
     .meaning = "the arbiter dies; its record survives",
     .in_virtual = "the node's process ends",
     .in_real = "SIGKILL"},
    {.verb = Verb::arbiter_freeze,
     .name = "arbiter.freeze",
     .target = TargetKind::arbiter,
     .lasts = true,
     .arguments = {},
     .meaning = "the arbiter stops and goes on later",
     .in_virtual = "the node's events wait",
     .in_real = "SIGSTOP, SIGCONT"},
    {.verb = Verb::arbiter_start,
     .name = "arbiter.start",
     .target = TargetKind::arbiter,
     .lasts = false,
     .arguments = {},
     .meaning = "the arbiter starts again, on its record",
     .in_virtual = "a new process on the same disk",
     .in_real = "a new process on the same file",
     .takes_or_gives_back = true},
};

}  // namespace

const VerbArgument* VerbInfo::find(std::string_view key) const {
  const auto at = std::ranges::find(arguments, key, &VerbArgument::key);
  return at == arguments.end() ? nullptr : &*at;
}

const std::vector<VerbInfo>& verb_table() {
  static const std::vector<VerbInfo> table(std::begin(kVerbs), std::end(kVerbs));
  return table;
}

const VerbInfo& verb_info(Verb verb) {
  const auto at = std::ranges::find(kVerbs, verb, &VerbInfo::verb);
  CHECK(at != std::end(kVerbs), "every verb has a row");
  return *at;
}

}  // namespace resilver::scenario
