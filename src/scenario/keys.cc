#include "scenario/keys.h"

#include <algorithm>

namespace resilver::scenario {
namespace {

constexpr KeyInfo kHead[] = {
    {"schema", "1", "required", "of the file"},
    {"title", "text", "required", "one line, above the table"},
    {"goal", "text", "required", "the question that the scenario answers"},
    {"expected", "text", "none", "what should come out, in prose"},
    {"show", "[names of measures]", "[]", "measures that the table shows beside its own"},
    {"seed", "0 to 2^63 - 1", "1", "of everything that is drawn"},
    {"volume", "a size from 1MiB, below 16TiB, a multiple of 4K", "required",
     "what the client sees, the same for every contender"},
    {"fair", "same-disk, same-usable", "same-disk",
     "equal disks of [disk] size for all, or for each contender disks just large enough for the volume"},
    {"length", "a duration from 100ms on", "required", "of the load, warm-up included"},
    {"settle", "a duration", "length", "after the load: so long at most for repairs, then everything is read back"},
    {"disk", "[disk]", "required with same-disk", "the disks, the same for all"},
    {"link", "[link.NAME]", "none", "lines between copies; client, else lan, is also the client's"},
    {"contender", "[[contender]]", "required", "who is compared, 1 to 16"},
    {"workload", "[workload]", "required", "what the client does"},
    {"rebuild", "[rebuild]", "no limit", "how fast repairs may be"},
    {"event", "[[event]]", "none", "what goes wrong, up to 64"},
    {"expect", "[[expect]]", "none", "what must hold in the end, up to 128"},
    {"world", "[world.real]", "none", "what is different in real time"},
};

constexpr KeyInfo kDisk[] = {
    {"model", "hdd, sata-ssd, nvme, ostep", "sata-ssd", "times and rates of a disk (src/env/disk_model.h)"},
    {"size", "a size from 8MiB to 16TiB", "required with same-disk", "of each disk; with same-usable it is computed"},
    {"cache", "a size", "the model's", "of the volatile write cache; 0K: none"},
    {"latency", "a duration", "the model's", "of one request, instead of the model's"},
    {"bandwidth", "a rate", "the model's", "of the disk, both ways, instead of the model's"},
};

constexpr KeyInfo kLink[] = {
    {"rtt", "a duration", "0.2ms", "there and back; each direction delays by half"},
    {"bandwidth", "a rate", "10Gbit/s", "each way"},
    {"queue", "a size from 4K to 1GiB", "1MiB", "beyond it the sender waits"},
};

constexpr KeyInfo kContender[] = {
    {"name", "letters, digits, _", "required", "as expectations call it"},
    {"nodes", "[names]", "the names of node.X", "servers, up to 8"},
    {"each", "a node", "none", "what each of `nodes` has"},
    {"node", "node.X = a node", "none", "what the node X has, instead of `each`"},
    {"replicate", "a table", "none: one node", "how the volume is kept on several nodes"},
    {"sites", "{ NAME = [nodes] }", "none", "nodes that share their power and their fate"},
    {"between", "{ ONE-OTHER = link }", "the link of replicate", "the line between the nodes of two sites"},
    {"reboot", "a duration", "0ms", "from power on to a node that has started"},
};

constexpr KeyInfo kNode[] = {
    {"raid", "0, 1, 4, 5, 6, 10", "required", "level of the node's array; 0 with one disk: no array"},
    {"disks", "1 to 32, spares and journal with them", "required", "members; disk0 is the first"},
    {"spares", "0 to 31", "0", "follow the members"},
    {"chunk", "a power of two from 4K to 64M", "64K", "of each member, one after the other"},
    {"layout", "mdadm's names", "the level's", "left-symmetric, parity-last, near-2, ..."},
    {"consistency", "none, resync, bitmap, journal", "bitmap",
     "what is done after a crash; journal: levels 4, 5, 6, one more disk"},
    {"force", "true, false", "false",
     "starts a dirty and degraded array, as mdadm --assemble --force: data may be wrong then"},
    {"member_timeout", "a duration from 1ms on", "2s", "a member that is silent for so long is given up"},
};

constexpr KeyInfo kReplicate[] = {
    {"ack", "durable, quorum, received, async", "durable",
     "a write is acknowledged when it is durable on all in sync, durable on a majority, received by all in sync, "
     "durable on "
     "the primary"},
    {"primary", "a node", "the first", "who serves first"},
    {"detect", "a duration from 10ms to 1h", "1s", "within which the loss of a node is noticed"},
    {"congestion", "a duration from 10ms to 1h", "5s", "a copy with a write unanswered for so long is left out"},
    {"clear_bits", "a duration from 1ms on", "5s", "an intent bit goes when its blocks were not written for so long"},
    {"min_in_sync", "0 to 255", "1", "with fewer copies in sync nothing is written"},
    {"link", "a link", "lan", "between the copies"},
};

constexpr KeyInfo kWorkload[] = {
    {"rw", "read, write, randread, randwrite, rw, randrw", "randrw", "fio's words"},
    {"rwmixread", "0 to 100", "50", "percent of reads where rw mixes"},
    {"bs", "a multiple of 4K up to 1M", "4K", "of a request"},
    {"rate_iops", "1 to 1000000", "1000", "requests a second, an open loop: latency counts from the intended start"},
    {"max_inflight", "1 to 4096", "256", "what comes on top waits at the client"},
    {"flush_every", "0 to 1000000", "0", "a flush after so many writes; 0: none"},
    {"overlap", "\"0%\" to \"100%\"", "0%", "of the requests are drawn to conflict with one in flight; 0%: kept apart"},
    {"retry", "a duration from 1ms on", "30s", "unanswered for so long: an error for the client"},
    {"warmup", "a duration", "0ms", "nothing before it is measured"},
    {"offset", "a multiple of 4K", "0K", "of the range that is used"},
    {"size", "a multiple of 4K", "the rest of the volume", "of the range that is used"},
};

constexpr KeyInfo kRebuild[] = {
    {"speed_min", "a rate", "the engine's", "of a repair while the client is busy, per member written"},
    {"speed_max", "a rate", "no limit", "of a repair, per member written"},
};

constexpr KeyInfo kEvent[] = {
    {"name", "1 to 40 characters", "required", "as expectations call it"},
    {"do", "a verb", "required", "docs/verbs.md has all, with their arguments"},
    {"target", "who, or a list", "required where there is more than one",
     "roles are resolved when the event is applied"},
    {"at", "a duration", "one trigger", "since the start, warm-up included"},
    {"within", "[from, to]", "one trigger", "at a moment that the seed draws"},
    {"at_write", "a number", "one trigger", "when the client submits its N-th write"},
    {"after", "an event", "one trigger", "when that has been applied"},
    {"when", "a condition", "none", "then waits until it holds"},
    {"delay", "a duration", "0ms", "then waits so long"},
    {"every", "a duration from 10ms on", "once", "applies it again at that distance until the load ends"},
    {"for", "a duration", "until something else ends it", "how long it lasts; verbs that have an end"},
    {"until", "a condition", "until something else ends it", "instead of `for`"},
};

constexpr KeyInfo kExpect[] = {
    {"check", "an expression of measures", "required", "must hold in the end"},
    {"why", "text", "none", "printed if it does not"},
    {"world", "virtual, real", "both", "asked there only"},
};

constexpr KeyInfo kReal[] = {
    {"pace", "true, false", "true", "disks and links are held to their models"},
    {"volume", "a size", "the file's", "as above"},
    {"length", "a duration", "the file's", "as above"},
    {"settle", "a duration", "the file's", "as above"},
    {"disk", "a table", "the file's", "its keys replace those of [disk]"},
    {"link", "a table", "the file's", "its keys replace those of [link.NAME]"},
    {"workload", "a table", "the file's", "its keys replace those of [workload]"},
    {"rebuild", "a table", "the file's", "its keys replace those of [rebuild]"},
    {"contender", "contender.NAME = a table", "the file's", "its keys replace those of that contender"},
    {"event", "event.NAME = a table", "the file's", "its keys replace those of that event"},
};

}  // namespace

const KeySection kHeadKeys = {"the file", "", kHead};
const KeySection kDiskKeys = {"[disk]", "", kDisk};
const KeySection kLinkKeys = {"[link.NAME]", "", kLink};
const KeySection kContenderKeys = {"[[contender]]", "", kContender};
const KeySection kNodeKeys = {"a node", "`each`, and `node.X` of a contender.", kNode};
const KeySection kReplicateKeys = {"replicate", "Of a contender; lease = 4/5 of detect, grace = detect.", kReplicate};
const KeySection kWorkloadKeys = {"[workload]", "", kWorkload};
const KeySection kRebuildKeys = {"[rebuild]", "", kRebuild};
const KeySection kEventKeys = {"[[event]]", "And the arguments of its verb.", kEvent};
const KeySection kExpectKeys = {"[[expect]]", "", kExpect};
const KeySection kRealKeys = {"[world.real]", "In real time only.", kReal};

bool KeySection::has(std::string_view key) const noexcept {
  return std::ranges::find(keys, key, &KeyInfo::key) != keys.end();
}

std::span<const KeySection* const> key_sections() {
  static constexpr const KeySection* kAll[] = {&kHeadKeys,  &kDiskKeys,      &kLinkKeys,     &kContenderKeys,
                                               &kNodeKeys,  &kReplicateKeys, &kWorkloadKeys, &kRebuildKeys,
                                               &kEventKeys, &kExpectKeys,    &kRealKeys};
  return kAll;
}

}  // namespace resilver::scenario
