#include "replica/record.h"

#include <algorithm>

#include "base/hash.h"
#include "replica/codec.h"

namespace resilver::replica {

const Reign* Record::find(std::uint64_t reign_nonce) const noexcept {
  const auto at = std::ranges::find(reigns, reign_nonce, &Reign::nonce);
  return at == reigns.end() ? nullptr : &*at;
}

const Reign* Record::after(std::uint64_t reign_nonce) const noexcept {
  const auto at = std::ranges::find(reigns, reign_nonce, &Reign::nonce);
  return at == reigns.end() || at == reigns.begin() ? nullptr : &*std::prev(at);
}

bool Record::lists(Head point) const noexcept {
  const Reign* reign = find(point.reign);
  return reign != nullptr && reign->first <= point.epoch && point.epoch <= reign->last;
}

unsigned Record::configured() const noexcept {
  return static_cast<unsigned>(std::ranges::count_if(slots, [](const Slot& s) { return s.name != 0; }));
}

NodeId Record::find_name(std::uint64_t name) const noexcept {
  const auto at = std::ranges::find(slots, name, &Slot::name);
  return at == slots.end() ? kNoNode : static_cast<NodeId>(at - slots.begin());
}

NodeId Record::find_copy(const CopyId& copy) const noexcept {
  const auto at = std::ranges::find(slots, copy, &Slot::copy);
  return at == slots.end() || copy.none() ? kNoNode : static_cast<NodeId>(at - slots.begin());
}

const CopyId& Record::copy_of(NodeId id) const noexcept {
  static const CopyId none;
  return id < slots.size() ? slots[id].copy : none;
}

bool sound(const Record& record) noexcept {
  if (record.virgin()) return record.reigns.empty() && record.in_sync.bits == 0;
  if (record.reigns.empty() || record.reign().last != record.epoch) return false;
  std::uint64_t below = record.epoch + 1;
  for (const Reign& reign : record.reigns) {
    if (reign.nonce == 0 || reign.first == 0 || reign.first > reign.last || reign.last >= below) return false;
    below = reign.first;
  }
  const auto listed = [&](NodeId id) { return id < record.slots.size() && record.slots[id].name != 0; };
  for (NodeId id = 0; id < kMaxNodes; ++id) {
    if (record.in_sync.contains(id) && !listed(id)) return false;
  }
  return listed(record.primary) && record.in_sync.contains(record.primary);
}

void list_node(Record& record, NodeId id, std::uint64_t name, const CopyId& copy) {
  if (record.slots.size() <= id) record.slots.resize(id + 1);
  Slot& slot = record.slots[id];
  if (const NodeId before = record.find_name(name); before != kNoNode) record.slots[before].name = slot.name;
  slot.name = name;
  if (copy.none()) return;
  if (const NodeId before = record.find_copy(copy); before != kNoNode) record.slots[before].copy = {};
  slot.copy = copy;
}

std::uint64_t name_hash(std::string_view name) noexcept {
  Hash64 hash;
  hash.add_bytes(std::as_bytes(std::span(name)));
  return std::max<std::uint64_t>(hash.value(), 1);
}

Kinship kinship(Head known, std::uint64_t known_seed, const Record& offered) noexcept {
  if (known.none()) return offered.virgin() ? Kinship::same : Kinship::newer;
  if (known == offered.head()) return Kinship::same;
  if (offered.lists(known)) return Kinship::newer;
  if (offered.virgin() || offered.find(known.reign) != nullptr) return Kinship::fork;
  const bool one_seed = std::ranges::find(offered.reigns, known_seed, &Reign::seed) != offered.reigns.end();
  return one_seed && known.epoch < offered.reigns.back().first ? Kinship::horizon : Kinship::fork;
}

Kinship kinship(const Record& known, const Record& offered) noexcept {
  const Kinship seen = kinship(known.head(), known.seed(), offered);
  if (seen == Kinship::same && known.nonce != offered.nonce) return Kinship::fork;
  if (seen != Kinship::fork) return seen;
  return offered.virgin() || known.lists(offered.head()) ? Kinship::stale : Kinship::fork;
}

Head common_ancestor(const Record& one, const Record& other) noexcept {
  for (const Reign& reign : one.reigns) {
    const Reign* same = other.find(reign.nonce);
    if (same != nullptr) return {reign.nonce, std::min(reign.last, same->last)};
  }
  return {};
}

bool left_behind(const Record& record, NodeId id, const Record& known) noexcept {
  if (id >= record.slots.size() || (record.consulted | record.covered).contains(id)) return false;
  const Slot& slot = record.slots[id];
  const Reign *last = record.find(slot.reign), *next = record.after(slot.reign);
  if (last == nullptr || next == nullptr || next->seed == last->seed) return false;
  return slot.until == last->last && known.find(next->nonce) == nullptr;
}

NodeSet covered_before(const Record& now) noexcept { return (now.consulted | now.covered) - now.in_sync; }

bool gives_up(const Record& record, NodeId id, Head known, bool inconsistent) noexcept {
  if (!record.consulted.contains(id) && !inconsistent) return false;
  return record.lists(known) ||
         std::ranges::any_of(record.given_up, [&](Head h) { return h.reign == known.reign && known.epoch <= h.epoch; });
}

void give_up(Record& record, const Record& other) {
  for (const Reign& reign : other.reigns) {
    const Head head{reign.nonce, reign.last};
    if (record.lists(head)) break;
    const auto known = std::ranges::find(record.given_up, reign.nonce, &Head::reign);
    if (known != record.given_up.end()) {
      known->epoch = std::max(known->epoch, head.epoch);
    } else if (record.given_up.size() < Record::kMaxGivenUp) {
      record.given_up.push_back(head);
    }
  }
}

namespace {

// What is in sync is named by the present reign; what nobody refers to any more is forgotten, the oldest first.
void note_members(Record& record) {
  for (NodeId id = 0; id < record.slots.size(); ++id) {
    if (!record.in_sync.contains(id)) continue;
    record.slots[id].reign = record.reign().nonce;
    record.slots[id].until = record.epoch;
  }
  std::size_t kept = 0;
  std::erase_if(record.reigns, [&](const Reign& reign) {
    if (kept < Record::kMaxReigns) return ++kept, false;
    return std::ranges::find(record.slots, reign.nonce, &Slot::reign) == record.slots.end();
  });
}

}  // namespace

Record next_epoch(const Record& now, NodeSet in_sync, std::uint64_t nonce) {
  Record next = now;
  next.reigns.front().last = ++next.epoch;
  next.in_sync = in_sync;
  next.nonce = nonce;
  note_members(next);
  return next;
}

Record next_reign(const Record& now, Reign reign, NodeSet in_sync, std::uint64_t nonce) {
  Record next = now;
  reign.first = reign.last = ++next.epoch;
  next.primary = reign.primary;
  next.reigns.insert(next.reigns.begin(), reign);
  next.in_sync = in_sync;
  next.nonce = nonce;
  note_members(next);
  return next;
}

std::vector<std::byte> to_bytes(const Record& record) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  Record copy = record;
  writer(copy);
  CHECK(bytes.size() <= kMaxRecordBytes);
  return bytes;
}

Result<Record> record_from(std::span<const std::byte> bytes) {
  Record record;
  Reader reader(bytes);
  reader(record);
  if (!reader.finished()) return fail(Errc::corrupt, "what is kept is no record of a volume");
  return record;
}

}  // namespace resilver::replica
