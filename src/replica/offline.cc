#include "replica/offline.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "base/endian.h"
#include "base/hash128.h"
#include "replica/extent_set.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kBits = old::kBits;
// Intent bits of an upgraded copy, which has had more: fewer are refused. A new copy may have fewer (kLeastIntentBits).
constexpr std::uint64_t kLeastFolded = 1 << 16;

Id128 derived(std::span<const std::byte> bytes) {
  const Hash128 hash = hash128(bytes);
  return {hash.high, hash.low | 1};
}

std::vector<std::byte> bytes_of(const Id128& id) {
  std::vector<std::byte> bytes(16);
  store_le<std::uint64_t>(bytes.data(), id.high);
  store_le<std::uint64_t>(bytes.data() + 8, id.low);
  return bytes;
}

Task<Status> wipe_old(Env& env, BlockDevice& device, std::uint64_t at) {
  const Errc status = co_await old::wipe(env.scheduler(), env.buffers(), device, at);
  if (status != Errc::ok) co_return fail(status, "the device cannot be written");
  co_return Status{};
}

}  // namespace

std::uint64_t granule_for(std::uint64_t volume_bytes, std::uint64_t bits) noexcept {
  return std::max<std::uint64_t>(64 * 1024, std::bit_ceil((volume_bytes + bits - 1) / bits));
}

Task<Status> OfflineCopy::load(std::uint64_t volume_bytes, SmallRecord::Mend mend) {
  if (Status loaded = co_await metadata.load(volume_bytes, kBits, mend); !loaded) co_return loaded;
  const Superblock& super = metadata.now();
  const Layout& layout = metadata.layout();
  bits.place(layout.bits_at, super.bit_count, super.granule, super.volume_bytes);
  Errc status = co_await marks.load(layout.marks_at, super.copy);
  if (status == Errc::ok) status = co_await bits.load();
  if (status != Errc::ok) co_return fail(status, "the copy's metadata cannot be read");
  co_return Status{};
}

Task<Result<Held>> look_at(Env& env, BlockDevice& device, std::uint64_t volume_bytes) {
  Held held;
  MetadataStore metadata(env.scheduler(), env.buffers(), device);
  const Status loaded = co_await metadata.load(volume_bytes, kBits, SmallRecord::Mend::no);
  if (loaded) {
    held.kind = Held::Kind::copy;
    held.super = metadata.now();
    co_return held;
  }
  switch (loaded.error().code) {
    case Errc::not_found: break;
    case Errc::bad_input: held.kind = Held::Kind::other_size; break;
    case Errc::corrupt: held.kind = Held::Kind::damaged; break;
    case Errc::unsupported: held.kind = Held::Kind::newer; break;
    default: co_return std::unexpected(loaded.error());
  }
  held.anchor = metadata.anchor();
  // Damaged metadata beside those of version 1 are what an upgrade that was interrupted has written.
  if (held.kind != Held::Kind::nothing && held.kind != Held::Kind::damaged) co_return held;
  auto before = co_await old::find_copy(env.scheduler(), env.buffers(), device, volume_bytes);
  if (!before && before.error().code == Errc::corrupt) {
    held.kind = Held::Kind::damaged;
    co_return held;
  }
  if (!before) co_return std::unexpected(before.error());
  if (*before) {
    held.kind = Held::Kind::old_copy;
    held.old = std::move(**before);
  }
  co_return held;
}

// ---- upgrade ---------------------------------------------------------------------------------------------------------

CopyId upgraded_copy_id(const VolumeId& volume, const std::string& name) {
  std::vector<std::byte> bytes = bytes_of(volume);
  for (const char c : name) bytes.push_back(static_cast<std::byte>(c));
  return derived(bytes);
}

namespace {

// The reigns of a list of generations, newest first: each was one epoch, as far as it is remembered.
std::vector<Reign> reigns_of(const std::vector<old::Generation>& history, const VolumeId& volume) {
  std::vector<Reign> reigns;
  for (const old::Generation& g : history) {
    Reign reign;
    reign.nonce = g.nonce | 1;
    reign.first = reign.last = g.epoch;
    reign.start = {0, kUnknownSeq};
    reign.seed = volume.low | 1;
    reign.primary = g.primary;
    reigns.push_back(reign);
  }
  return reigns;
}

Record record_of(const UpgradePlan& plan, const std::vector<old::Generation>& history, NodeSet in_sync) {
  Record record;
  if (history.empty()) return record;
  record.volume = plan.volume;
  record.epoch = history.front().epoch;
  record.primary = history.front().primary;
  record.in_sync = in_sync | NodeSet::of(record.primary);
  record.nonce = history.front().nonce;
  record.ack = plan.record ? plan.record->ack : AckMode::durable;
  record.lease_ms = plan.lease_ms;
  record.reigns = reigns_of(history, plan.volume);
  for (const std::string& name : plan.names) {
    Slot slot{name_hash(name), upgraded_copy_id(plan.volume, name), 0, 0};
    if (record.in_sync.contains(static_cast<NodeId>(record.slots.size()))) {
      slot.reign = record.reigns.front().nonce;
      slot.until = record.epoch;
    }
    record.slots.push_back(slot);
  }
  return record;
}

}  // namespace

// Each epoch had a generation of its own. A record that no copy has stored yet follows the newest that a copy in sync has: one
// that was not in sync may have gone its own way.
Record upgraded_record(const UpgradePlan& plan) {
  if (!plan.record || plan.record->generation.epoch == 0) return Record{};
  const old::Generation& newest = plan.record->generation;
  std::vector<old::Generation> history;
  for (const auto& [node, known] : plan.histories) {
    if (!plan.record->in_sync.contains(node) || known.empty() || known.front().epoch > newest.epoch) continue;
    if (known.front().epoch == newest.epoch && known.front() != newest) continue;
    if (history.empty() || history.front().epoch < known.front().epoch) history = known;
  }
  if (history.empty() || history.front() != newest) history.insert(history.begin(), newest);
  return record_of(plan, history, plan.record->in_sync);
}

namespace {

Superblock upgraded_super(const UpgradePlan& plan, const old::Copy& copy, std::uint64_t bit_count) {
  Superblock super;
  super.volume = plan.volume;
  super.node = plan.names[copy.node];
  super.copy = upgraded_copy_id(plan.volume, super.node);
  super.volume_bytes = copy.volume_bytes;
  super.bit_count = bit_count;
  super.granule = granule_for(copy.volume_bytes, bit_count);
  super.attachment = copy.attachment;
  super.lost = copy.lost;
  super.inconsistent = copy.inconsistent;
  // A volume that was made and never started starts from the first copy.
  const bool virgin = plan.record && plan.record->generation.epoch == 0;
  super.founder = virgin && copy.node == 0 && copy.history.empty() && !copy.inconsistent;
  if (copy.inconsistent || copy.history.empty()) return super;
  // What the others were then is not known where the record is a later one.
  const bool newest = plan.record && copy.history.front() == plan.record->generation;
  super.known = record_of(plan, copy.history, newest ? plan.record->in_sync : NodeSet::of(copy.node));
  super.base = super.known.head();
  return super;
}

// The superblock last: once it can be read, all the rest is there.
Task<Status> write_upgraded(Env& env, BlockDevice& device, Layout layout, Superblock super, const old::Copy& copy) {
  OfflineCopy made(env, device);
  Marks marks;
  marks.position = copy.position;
  marks.prepared = marks.dropped = {copy.bits_since, 0};
  made.bits.place(layout.bits_at, super.bit_count, super.granule, super.volume_bytes);
  ExtentSet dirty;
  std::vector<std::byte> raw(copy.bits.size() * 8);
  for (std::size_t i = 0; i < copy.bits.size(); ++i) store_le<std::uint64_t>(raw.data() + 8 * i, copy.bits[i]);
  IntentBitmap::add_to(raw, copy.granule, copy.volume_bytes, dirty);
  Errc status = co_await made.bits.format_with(dirty);
  if (status == Errc::ok) status = co_await made.marks.format(layout.marks_at, super.copy, marks);
  if (status == Errc::ok) status = co_await made.metadata.format(super, layout);
  if (status != Errc::ok) co_return fail(status, "the metadata cannot be written");
  co_return Status{};
}

// Where the new metadata goes, and where the old lies meanwhile: it is not touched before the new is whole.
struct Room {
  Layout layout;
  std::uint64_t old_at = 0;
};
std::optional<Room> room_for(const old::Copy& copy, std::uint64_t device_bytes) {
  for (std::uint64_t bits = kBits; bits >= kLeastFolded; bits /= 2) {
    if (const auto layout = Layout::fit(copy.volume_bytes, bits, copy.at)) return Room{*layout, copy.at};
    if (device_bytes < copy.at + 2 * old::kReserved + kBlockBytes) continue;
    const std::uint64_t spare = old::spare_place(device_bytes);
    if (const auto layout = Layout::fit(copy.volume_bytes, bits, spare)) return Room{*layout, spare};
  }
  return std::nullopt;
}

// The old metadata is in two places for a moment; then the first is wiped.
Task<Status> move_old(Env& env, BlockDevice& device, std::uint64_t from, std::uint64_t to) {
  Buffer buffer = co_await allocate_patiently(env.scheduler(), env.buffers(), kBlockBytes);
  if (!buffer) co_return fail(Errc::limit, "no buffer");
  for (std::uint64_t left = old::kReserved; left > 0; left -= kBlockBytes) {  // the slots last
    Errc status = co_await Io::read(device, from + left - kBlockBytes, buffer);
    if (status == Errc::ok) status = co_await Io::write(device, to + left - kBlockBytes, buffer, true);
    if (status != Errc::ok) co_return fail(status, "the old metadata cannot be moved");
  }
  co_return co_await wipe_old(env, device, from);
}

}  // namespace

std::uint64_t least_upgraded_bytes(std::uint64_t volume_bytes) noexcept {
  return volume_bytes + Layout::least_bytes(kLeastFolded) + 2 * old::kReserved;
}

std::uint64_t wanted_upgraded_bytes(std::uint64_t volume_bytes) noexcept {
  return volume_bytes + Layout::wanted_bytes(kBits) + old::kReserved + kBlockBytes;
}

bool can_be_upgraded(const old::Copy& copy, std::uint64_t device_bytes) noexcept {
  return room_for(copy, device_bytes).has_value();
}

Task<Status> upgrade_copy(Env& env, BlockDevice& device, const UpgradePlan& plan, NodeId place,
                          std::uint64_t volume_bytes) {
  OfflineCopy present(env, device);
  const Status already = co_await present.load(volume_bytes, SmallRecord::Mend::yes);
  if (already && present.metadata.now().volume != plan.volume)
    co_return fail(Errc::bad_input, "it holds a copy of another volume");
  if (already) {
    const Errc status = co_await old::wipe_all(env.scheduler(), env.buffers(), device, volume_bytes);
    co_return status == Errc::ok ? Status{} : fail(status, "the device cannot be written");
  }
  auto before = co_await old::find_copy(env.scheduler(), env.buffers(), device, volume_bytes);
  if (!before) co_return std::unexpected(before.error());
  if (!*before) co_return std::unexpected(already.error());
  old::Copy copy = std::move(**before);
  if (copy.node != place || copy.volume_bytes != volume_bytes)
    co_return fail(Errc::bad_input, "its place in the file, or the volume's size, was another one when it was made");
  const auto room = room_for(copy, device.size_bytes());
  if (!room) {
    co_return fail(Errc::no_space,
                   fmt::format("{} bytes; {} are needed", device.size_bytes(), least_upgraded_bytes(volume_bytes)));
  }
  if (room->old_at != copy.at) {
    if (Status moved = co_await move_old(env, device, copy.at, room->old_at); !moved) co_return moved;
  }
  Status written =
      co_await write_upgraded(env, device, room->layout, upgraded_super(plan, copy, room->layout.bit_count), copy);
  if (!written) co_return written;
  co_return co_await wipe_old(env, device, room->old_at);
}

// ---- names and ids ---------------------------------------------------------------------------------------------------

Task<Status> adopt_copy(Env& env, BlockDevice& device, std::uint64_t volume_bytes, const std::string& name) {
  OfflineCopy copy(env, device);
  if (Status loaded = co_await copy.load(volume_bytes, SmallRecord::Mend::yes); !loaded) co_return loaded;
  const Errc status = co_await copy.metadata.update([&](Superblock& s) { s.node = name; });
  if (status != Errc::ok) co_return fail(status, "the metadata cannot be written");
  co_return Status{};
}

CopyId reid(const CopyId& copy, const VolumeId& volume) {
  if (copy.none()) return copy;
  std::vector<std::byte> bytes = bytes_of(volume);
  for (const std::byte b : bytes_of(copy)) bytes.push_back(b);
  return derived(bytes);
}

Record reid(Record record, const VolumeId& volume) {
  if (record.virgin()) return record;
  record.volume = volume;
  for (Slot& slot : record.slots) slot.copy = reid(slot.copy, volume);
  return record;
}

Task<Status> reid_copy(Env& env, BlockDevice& device, std::uint64_t volume_bytes, const VolumeId& former,
                       const VolumeId& volume) {
  OfflineCopy copy(env, device);
  if (Status loaded = co_await copy.load(volume_bytes, SmallRecord::Mend::yes); !loaded) co_return loaded;
  const Superblock& super = copy.metadata.now();
  if (super.volume == volume) co_return Status{};
  if (super.volume != former) {
    co_return fail(Errc::bad_input,
                   fmt::format("it holds a copy of volume {}, not of {}", short_text(super.volume), short_text(former)));
  }
  Marks marks = copy.marks.now();
  for (PeerMark& mark : marks.peers) mark.copy = reid(mark.copy, volume);
  Errc status = co_await copy.metadata.update([&](Superblock& s) {
    s.volume = volume;
    s.copy = reid(s.copy, volume);
    s.known = reid(s.known, volume);
    for (ForkNote& note : s.forks) note.copy = reid(note.copy, volume);
    s.promise = {};
  });
  if (status == Errc::ok)
    status = co_await copy.marks.format(copy.metadata.layout().marks_at, copy.metadata.now().copy, marks);
  if (status == Errc::ok) status = co_await copy.metadata.set_anchor();
  if (status != Errc::ok) co_return fail(status, "the metadata cannot be written");
  co_return Status{};
}

// ---- more room -------------------------------------------------------------------------------------------------------

std::uint64_t least_grown_bytes(std::uint64_t volume_bytes) noexcept {
  return volume_bytes + Layout::wanted_bytes(kBits);
}

Task<Status> prepare_growth(Env& env, BlockDevice& device, std::uint64_t volume_bytes, std::uint64_t grown_bytes) {
  OfflineCopy before(env, device);
  if (Status loaded = co_await before.load(volume_bytes, SmallRecord::Mend::yes); !loaded) co_return loaded;
  if (before.metadata.layout().end() > grown_bytes)
    co_return fail(Errc::bad_input, fmt::format("it can grow to {} bytes or more", before.metadata.layout().end()));
  Superblock super = before.metadata.now();
  super.volume_bytes = grown_bytes;
  super.granule = granule_for(grown_bytes, super.bit_count);
  super.growing_from = volume_bytes;
  const auto layout = Layout::fit(grown_bytes, super.bit_count, device.size_bytes());
  if (!layout) {
    co_return fail(Errc::no_space, fmt::format("{} bytes; {} are needed", device.size_bytes(),
                                               grown_bytes + Layout::least_bytes(super.bit_count)));
  }
  ExtentSet dirty;
  before.bits.add_to(dirty);
  OfflineCopy grown(env, device);
  grown.bits.place(layout->bits_at, super.bit_count, super.granule, grown_bytes);
  Errc status = co_await grown.bits.format_with(dirty);
  if (status == Errc::ok) status = co_await grown.marks.format(layout->marks_at, super.copy, before.marks.now());
  if (status == Errc::ok) status = co_await grown.metadata.format(super);
  if (status != Errc::ok) co_return fail(status, "the metadata cannot be written");
  co_return Status{};
}

Task<Status> finish_growth(Env& env, BlockDevice& device, std::uint64_t grown_bytes,
                           const std::function<bool(std::uint64_t)>& progress) {
  OfflineCopy grown(env, device);
  if (Status loaded = co_await grown.load(grown_bytes, SmallRecord::Mend::yes); !loaded) co_return loaded;
  if (grown.metadata.now().growing_from == 0) co_return Status{};
  const std::uint64_t begin = grown.metadata.now().growing_from, end = grown_bytes;
  constexpr std::uint64_t kPiece = std::uint64_t{8} << 20;
  for (std::uint64_t at = begin; at < end; at += kPiece) {
    const Errc status = co_await Io::write_zeroes(device, at, std::min(kPiece, end - at));
    if (status != Errc::ok) co_return fail(status, "the device cannot be written");
    if (!progress(at - begin)) co_return fail(Errc::cancelled, "interrupted; run it again");
  }
  Errc status = co_await Io::flush(device);
  if (status == Errc::ok) status = co_await grown.metadata.update([](Superblock& s) { s.growing_from = 0; });
  if (status != Errc::ok) co_return fail(status, "the metadata cannot be written");
  co_return Status{};
}

}  // namespace resilver::replica
