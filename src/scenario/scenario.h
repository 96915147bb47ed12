// src/scenario: what a scenario file says, how it is run, and how what came out is held against what was expected.
//
// This room may know the workload and the rooms below it; it may assume that a Scenario which parse.h returned is sound
// (topology possible, triggers can fire, names known). It never prints, never chooses a colour or a unit for a table
// (src/report does), and the parsed structs below never carry a type of the TOML library: the files that read
// TOML alone include it (toml_only.h).
//
// A scenario is read in two stages. parse.h turns text into the structs of this header (positions kept for messages), all
// units resolved: times in Nanos, sizes in bytes, rates in bytes per second. What depends on the course of the run (who is
// @serving, how far a rebuild is) stays symbolic, and the runner resolves it.
//
// The language is specified in docs/scenarios.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "workload/generator.h"

namespace resilver::scenario {

enum class MeasureId : std::uint8_t;  // measures.h

// Where something stands in the scenario file, counted from 1. Line 0: not from the file (a default or --set).
struct Position {
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

// Limits on what a file may ask for, so that memory and time stay bounded.
inline constexpr std::uint32_t kMaxContenders = 16;
inline constexpr std::uint32_t kMaxNodes = 8;
inline constexpr std::uint32_t kMaxDisksPerNode = 32;
inline constexpr std::uint32_t kMaxEvents = 64;
inline constexpr std::uint32_t kMaxTargets = 16;
inline constexpr std::uint32_t kMaxExpectations = 128;
inline constexpr std::uint64_t kBlockBytes = 4096;  // the unit of the seam; volumes and chunks are multiples of it
inline constexpr std::uint64_t kMaxVolumeBytes = (1ull << 44) - kBlockBytes;  // the oracle numbers its blocks in 32 bits
inline constexpr std::uint64_t kMaxDiskBytes = 1ull << 44;

// same_disk: every disk of every contender has [disk] size. same_usable: each contender gets disks just large enough for
// the volume (disk_size_bytes() in shape.h computes it).
enum class Fairness : std::uint8_t { same_disk, same_usable };

struct DiskSpec {
  std::string model = "sata-ssd";            // hdd | sata-ssd | nvme | ostep
  std::uint64_t size_bytes = 0;              // 0 with Fairness::same_usable
  std::optional<std::uint64_t> cache_bytes;  // volatile write cache; overrides the model's
  std::optional<Nanos> latency;              // per request; overrides the model's
  std::optional<std::uint64_t> bandwidth;    // bytes per second; overrides the model's
};

struct LinkSpec {
  std::string name;
  Nanos rtt = 200 * kMicrosecond;           // there and back; each direction delays by half
  std::uint64_t bandwidth = 1'250'000'000;  // bytes per second and direction (10 Gbit/s)
  std::uint64_t queue_bytes = 1 << 20;      // beyond it the sender waits
};

// How an array finds what a crash left inconsistent: not at all, by a full resync, by the write-intent bitmap; or it repeats
// what a journal disk holds, so that nothing is left inconsistent.
enum class Consistency : std::uint8_t { none, resync, bitmap, journal };

struct NodeSpec {
  std::string name;          // an identifier: letters, digits, _
  std::uint32_t raid = 0;    // 0, 1, 4, 5, 6, 10
  std::uint32_t disks = 1;   // members; disk0 .. disk(disks-1) are md's slots
  std::uint32_t spares = 0;  // disk(disks) .. follow them
  std::uint64_t chunk_bytes = 64 << 10;
  std::string layout;                             // as mdadm names it; empty: the default of the level
  Consistency consistency = Consistency::bitmap;  // journal: RAID 4, 5, 6; one more disk, `journal`, behind the spares
  bool force = false;  // start even if dirty and degraded (mdadm --assemble --force): data may be wrong then
  Nanos member_timeout = 2 * kSecond;  // a member silent for so long is given up
  Position where;
};

// When a replicated write is acknowledged: durable on all in sync; on a majority; received by all in sync; durable on the
// primary.
enum class Ack : std::uint8_t { durable, quorum, received, async };

struct ReplicateSpec {
  Ack ack = Ack::durable;
  std::string primary;             // name of the node that serves first
  Nanos detect = kSecond;          // time in which the loss of a peer is noticed
  Nanos lease = 0;                 // derived: 4/5 of detect
  Nanos grace = 0;                 // derived: detect, so that grace >= 1.25 x lease
  Nanos congestion = 5 * kSecond;  // a peer with a write unanswered for so long leaves the set
  Nanos clear_bits = 5 * kSecond;  // an intent bit is cleared when its granule was not written for so long
  std::uint32_t min_in_sync = 1;   // fewer members in sync than this: no writes
  std::string link;                // name of the link between replicas
};

// Nodes that share their power and their fate.
struct SiteSpec {
  std::string name;
  std::vector<std::uint32_t> nodes;  // indices
};
struct SitePair {
  std::string one, other;  // names of sites
  std::string link;
};

struct ContenderSpec {
  std::string name;  // an identifier, as expectations need it
  std::vector<NodeSpec> nodes;
  std::optional<ReplicateSpec> replicate;  // absent: exactly one node
  std::vector<SiteSpec> sites;             // each node is in one at most
  std::vector<SitePair> between;           // links between nodes of two sites; others: replicate->link
  Nanos reboot = 0;                        // from power on to a started node process
  Position where;
};

// fio's words.
using workload::Rw;

struct WorkloadSpec {
  Rw rw = Rw::randrw;
  std::uint32_t rwmixread = 50;      // percent of reads where rw mixes
  std::uint64_t bs = 4096;           // bytes per request
  std::uint64_t rate_iops = 1000;    // open loop: intended starts per second, all requests together
  std::uint32_t max_inflight = 256;  // what comes on top waits at the client, its latency counts from the intended start
  std::uint32_t flush_every = 0;     // a flush after so many writes; 0: none
  std::uint32_t overlap = 0;         // percent of requests that are drawn to conflict with one in flight
  Nanos retry = 30 * kSecond;        // a request unanswered for so long becomes an error for the client
  Nanos warmup = 0;                  // measured from here on
  std::uint64_t offset = 0;          // range used: [offset, offset + size_bytes)
  std::uint64_t size_bytes = 0;      // resolved: never 0 after parsing
};

// Per member written. speed_min holds while the client is busy, speed_max always; 0: no minimum / no limit.
struct RebuildSpec {
  std::uint64_t speed_min = 0;
  std::uint64_t speed_max = 0;
};

// ---- events ----------------------------------------------------------------------------------------------------------

enum class Verb : std::uint8_t {
  disk_fail,
  disk_latent,
  disk_corrupt,
  disk_slow,
  disk_hang,
  disk_lost_flush,
  disk_replace,
  node_crash,
  node_power_loss,
  node_freeze,
  node_restart,
  node_clock,
  link_drop,
  link_latency,
  link_bandwidth,
  link_reset,
  link_flap,
  link_loss,
  link_duplicate,
  link_corrupt,
  array_scrub,
  volume_overwrite,
  volume_promote,
  volume_resolve,
  site_lose,
  site_return,
  arbiter_stop,
  arbiter_freeze,
  arbiter_start,
};

enum class TargetKind : std::uint8_t { node, disk, link, volume, site, arbiter };

// Who is meant. Roles are resolved when the event is applied, in each contender.
enum class Role : std::uint8_t {
  named,       // the node `name`
  serving,     // the node that serves the volume now (the only one, or the primary)
  secondary,   // the index-th (from 1) of the others, in the order of the file
  rebuilding,  // disk verbs: the disk being rebuilt; node verbs: the node being resynced
  spare,       // disk verbs: the first unused spare of the serving node
  any,         // by the seed
  client,      // only as the end of a link
  arbiter,     // only as the end of a link; exists where nodes replicate
};

struct NodeSelector {
  Role role = Role::named;
  std::string name;
  std::uint32_t index = 1;
};

struct Target {
  TargetKind kind = TargetKind::node;
  NodeSelector node;                  // node, disk; first end of a link; site: its name
  std::optional<std::uint32_t> disk;  // slot from 0; absent: role rebuilding, spare or any picks the disk
  bool journal = false;               // the journal disk
  NodeSelector peer;                  // second end of a link
  bool one_way = false;               // A>B: only what A sends to B
  std::string text;                   // as written, "@serving.disk1"
};

enum class CompareOp : std::uint8_t { lt, le, eq, ne, ge, gt };

// What a condition may ask for. The runner samples it after every change of state (at the latest every 10 ms).
enum class StateMeasure : std::uint8_t {
  redundancy,  // value: a Redundancy
  rebuild,  // permille done of the running repair (local rebuild or resync of a replica); none running: no condition holds
  serving,  // 0 or 1: does the volume serve
  in_sync,  // nodes in sync, the serving one among them
  writes,   // client's writes acknowledged so far
};

enum class Redundancy : std::int64_t {
  lost = 0,      // data is gone or not reachable at all
  exposed = 1,   // the next failure of a disk loses data
  degraded = 2,  // some redundancy is missing
  full = 3,
};

struct Condition {
  StateMeasure measure = StateMeasure::serving;
  CompareOp op = CompareOp::eq;
  std::int64_t value = 1;
  std::string text;  // as written
};
bool holds(const Condition& condition, std::int64_t current);

// When an event is applied: first the base (at, within, at_write or after; the start if none is given), from then on wait
// until `when` holds, then wait `delay`. With `every` it is applied again and again at that distance until the run ends.
struct Trigger {
  enum class Base : std::uint8_t { start, at, within, at_write, after };
  Base base = Base::start;
  Nanos at = 0;                // at; lower end of within. Since the start of the run, warm-up included
  Nanos at_latest = 0;         // upper end of within (the seed picks)
  std::uint64_t at_write = 0;  // when the client submits its N-th write, counted from 1
  std::string after;           // name of the event whose application is waited for
  std::optional<Condition> when;
  Nanos delay = 0;
  Nanos every = 0;  // 0: once
};

// Which blocks a latent error or a corruption chooses.
enum class BlockChoice : std::uint8_t {
  any,           // whatever the member holds
  data,          // blocks of data that the client has written
  parity,        // blocks of P or Q
  rebuild_path,  // blocks that a rebuild of another member must read
};

struct VerbArguments {
  std::uint32_t count = 1;               // latent, corrupt: how many places
  std::uint64_t size_bytes = 4096;       // latent, corrupt: length of each
  BlockChoice where = BlockChoice::any;  // latent, corrupt
  std::uint32_t factor_percent = 100;    // slow: service time in percent of the model's
  Nanos add = 0;                         // slow, link.latency: added to each request, to each direction
  std::uint64_t bandwidth = 0;           // slow, link.bandwidth: bytes per second; 0: as modelled
  std::uint32_t percent = 0;             // link.loss, duplicate, corrupt: of the messages
  Nanos period = 0;                      // link.flap: so long down, then so long up
  std::int32_t rate_ppm = 0;             // clock: gained per second of true time, in millionths
  bool repair = false;                   // scrub: also repair
  bool force = false;                    // volume.promote
  bool discard_local = false;            // volume.resolve: the node gives up its own side, else the other's
  std::string peer;                      // volume.resolve: whose side is the other one; empty: there is only one
  std::uint64_t range_offset = 0;        // overwrite
  std::uint64_t range_bytes = 0;         // overwrite
};

struct Event {
  std::string name;
  Trigger trigger;
  Verb verb = Verb::disk_fail;
  std::vector<Target> targets;  // at least one; applied to each that the contender has
  VerbArguments arguments;
  Nanos lasts_for = 0;             // `for`; 0: until something else ends it
  std::optional<Condition> until;  // `until`
  Position where;
};

struct Expectation {
  std::string check;  // an expression, see expect.h
  std::string why;
  Position where;                 // of the first character of the expression
  std::optional<bool> real = {};  // asked in the real world only, or in virtual time only; else in both
};

// ---- the whole -------------------------------------------------------------------------------------------------------

struct Scenario {
  std::string file;  // path as given
  std::string name;  // file name without directory and .toml
  std::string title;
  std::string goal;
  std::string expected;         // what should happen, in prose
  std::vector<MeasureId> show;  // measures that the table shows in addition to its own
  std::uint64_t seed = 1;
  std::uint64_t volume_bytes = 0;
  Fairness fair = Fairness::same_disk;
  Nanos length = 0;  // of the workload, warm-up included
  Nanos settle = 0;  // after it: waits at most so long for full redundancy, then everything is read back
  DiskSpec disk;
  std::vector<LinkSpec> links;
  LinkSpec client_link;  // [link.client], else the link "lan", else the default
  std::vector<ContenderSpec> contenders;
  std::vector<std::string> left_out;  // contenders of the file that --only did not choose
  WorkloadSpec workload;
  RebuildSpec rebuild;
  std::vector<Event> events;  // in the order of the file
  std::vector<Expectation> expectations;
  bool real = false;                        // read for the real world: [world.real] is applied
  bool pace = true;                         // real world: images and links held to their models
  std::uint64_t modelled_volume_bytes = 0;  // the volume without [world.real]; differs if that scales it
};

const LinkSpec* find_link(const Scenario& scenario, std::string_view name);
// The link between two nodes of a contender that replicates: of their sites, else of its replicas; null: the client's.
const LinkSpec* link_between(const Scenario& scenario, const ContenderSpec& contender, std::uint32_t a, std::uint32_t b);
const SiteSpec* find_site(const ContenderSpec& contender, std::string_view name);
const ContenderSpec* find_contender(const Scenario& scenario, std::string_view name);
const Event* find_event(const Scenario& scenario, std::string_view name);

// ---- topology --------------------------------------------------------------------------------------------------------

// Disks that the array of this node may lose, at the worst place: 0, disks - 1, 1 or 2.
std::uint32_t tolerated_disks(const NodeSpec& node);
bool has_journal(const NodeSpec& node);
// Members, spares and the journal disk: indices of disks are below it, the journal's is the last.
std::uint32_t node_disks(const NodeSpec& node);
// "disk0" or "journal": what a disk is called in targets and files.
std::string disk_label(const NodeSpec& node, std::uint32_t index);
// Raw bytes per usable byte in 1/1000, of members and journals: RAID 5 of 5 is 1250, three copies are 3000. Reserved room is
// not counted; spares only in the second.
std::uint32_t space_permille(const ContenderSpec& contender);
std::uint32_t space_with_spares_permille(const ContenderSpec& contender);
std::uint32_t total_disks(const ContenderSpec& contender);  // members and journals of all nodes
std::uint32_t total_spares(const ContenderSpec& contender);

// Words of raid geometry: why this node's array is impossible, empty if it is possible.
std::string why_impossible(const NodeSpec& node);

// Can this contender have the target at all (roles that depend on the course count as there if they can come about)?
bool has_target(const ContenderSpec& contender, const Event& event, const Target& target);
// Is there such a thing in the world that the file was read for? A real proxy loses no single message.
bool possible_here(const Scenario& scenario, const Event& event);
// Does the event exist in this contender: it is possible here, there is one target at least, and the event that it waits
// for exists there too.
bool event_applies(const Scenario& scenario, const ContenderSpec& contender, const Event& event);

// ---- words -----------------------------------------------------------------------------------------------------------

const char* ack_name(Ack ack);
const char* rw_name(Rw rw);
const char* consistency_name(Consistency consistency);
const char* compare_op_name(CompareOp op);
bool writes_at_all(const WorkloadSpec& workload);
// "5+1 disks, RAID 5" or "3 nodes, each 1+1 disks; durable, detect 500 ms": one line, for show and for the report.
std::string describe(const ContenderSpec& contender);
// "at 2 s", "500 ms after 'disk dies' when redundancy == full": one phrase.
std::string describe(const Trigger& trigger);

}  // namespace resilver::scenario
