#include "replica/metadata.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "base/endian.h"

namespace resilver::replica {

namespace {

constexpr std::uint64_t kMagic = 0x31'72'65'76'6c'69'73'72ull;  // "rsilver1"
constexpr std::uint32_t kFormatVersion = 1;

// Offsets in a slot.
constexpr std::size_t kAtMagic = 0, kAtVersion = 8, kAtCrc = 12, kAtSequence = 16, kAtVolume = 24, kAtNode = 32,
                      kAtFlags = 36, kAtVolumeBytes = 40, kAtGranule = 48, kAtBitCount = 56, kAtEpoch = 64,
                      kAtAttachment = 72, kAtBitsSince = 80, kAtHistoryCount = 88, kAtHistory = 96,
                      kGenerationBytes = 24, kAtResyncId = 288, kAtLostCount = 296, kAtLost = 304,
                      kAtReign = kAtLost + Superblock::kMaxLost * 16, kAtSeq = kAtReign + 8;
static_assert(kAtHistory + kGenerations * kGenerationBytes <= kAtResyncId);
static_assert(kAtSeq + 8 <= kBlockBytes);

std::uint32_t checksum(std::span<const std::byte> slot) {
  const std::uint32_t head = crc32c(slot.first(kAtCrc));
  return crc32c(slot.subspan(kAtCrc + 4), head);
}

void encode(std::span<std::byte> slot, const Superblock& s, std::uint64_t sequence) {
  std::fill(slot.begin(), slot.end(), std::byte{0});
  std::byte* at = slot.data();
  store_le<std::uint64_t>(at + kAtMagic, kMagic);
  store_le<std::uint32_t>(at + kAtVersion, kFormatVersion);
  store_le<std::uint64_t>(at + kAtSequence, sequence);
  store_le<std::uint64_t>(at + kAtVolume, s.volume);
  store_le<std::uint32_t>(at + kAtNode, s.node);
  store_le<std::uint32_t>(at + kAtFlags, s.inconsistent ? 1 : 0);
  store_le<std::uint64_t>(at + kAtVolumeBytes, s.volume_bytes);
  store_le<std::uint64_t>(at + kAtGranule, s.granule);
  store_le<std::uint64_t>(at + kAtBitCount, s.bit_count);
  store_le<std::uint64_t>(at + kAtEpoch, s.epoch);
  store_le<std::uint64_t>(at + kAtAttachment, s.attachment);
  store_le<std::uint64_t>(at + kAtBitsSince, s.bits_since);
  store_le<std::uint32_t>(at + kAtHistoryCount, static_cast<std::uint32_t>(s.history.size()));
  for (std::size_t i = 0; i < s.history.size(); ++i) {
    std::byte* g = at + kAtHistory + i * kGenerationBytes;
    store_le<std::uint64_t>(g, s.history[i].epoch);
    store_le<std::uint64_t>(g + 8, s.history[i].nonce);
    store_le<std::uint32_t>(g + 16, s.history[i].primary);
  }
  store_le<std::uint64_t>(at + kAtResyncId, s.resync_id);
  store_le<std::uint32_t>(at + kAtLostCount, static_cast<std::uint32_t>(s.lost.size()));
  for (std::size_t i = 0; i < s.lost.size(); ++i) {
    store_le<std::uint64_t>(at + kAtLost + i * 16, s.lost[i].offset);
    store_le<std::uint64_t>(at + kAtLost + i * 16 + 8, s.lost[i].length);
  }
  store_le<std::uint64_t>(at + kAtReign, s.position.reign);
  store_le<std::uint64_t>(at + kAtSeq, s.position.seq);
  store_le<std::uint32_t>(at + kAtCrc, checksum(slot));
}

enum class SlotState { empty, valid, broken };

SlotState decode(std::span<const std::byte> slot, Superblock& s, std::uint64_t& sequence) {
  const std::byte* at = slot.data();
  if (load_le<std::uint64_t>(at + kAtMagic) != kMagic) return SlotState::empty;
  if (load_le<std::uint32_t>(at + kAtVersion) != kFormatVersion) return SlotState::broken;
  if (load_le<std::uint32_t>(at + kAtCrc) != checksum(slot)) return SlotState::broken;
  const auto count = load_le<std::uint32_t>(at + kAtHistoryCount);
  const auto lost = load_le<std::uint32_t>(at + kAtLostCount);
  if (count > kGenerations || lost > Superblock::kMaxLost) return SlotState::broken;
  sequence = load_le<std::uint64_t>(at + kAtSequence);
  s.volume = load_le<std::uint64_t>(at + kAtVolume);
  s.node = load_le<std::uint32_t>(at + kAtNode);
  s.inconsistent = (load_le<std::uint32_t>(at + kAtFlags) & 1) != 0;
  s.volume_bytes = load_le<std::uint64_t>(at + kAtVolumeBytes);
  s.granule = load_le<std::uint64_t>(at + kAtGranule);
  s.bit_count = load_le<std::uint64_t>(at + kAtBitCount);
  s.epoch = load_le<std::uint64_t>(at + kAtEpoch);
  s.attachment = load_le<std::uint64_t>(at + kAtAttachment);
  s.bits_since = load_le<std::uint64_t>(at + kAtBitsSince);
  s.position = {load_le<std::uint64_t>(at + kAtReign), load_le<std::uint64_t>(at + kAtSeq)};
  s.history.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* g = at + kAtHistory + i * kGenerationBytes;
    s.history[i] = {load_le<std::uint64_t>(g), load_le<std::uint32_t>(g + 16), load_le<std::uint64_t>(g + 8)};
  }
  s.resync_id = load_le<std::uint64_t>(at + kAtResyncId);
  s.lost.resize(lost);
  for (std::size_t i = 0; i < lost; ++i) {
    s.lost[i] = {load_le<std::uint64_t>(at + kAtLost + i * 16), load_le<std::uint64_t>(at + kAtLost + i * 16 + 8)};
  }
  return SlotState::valid;
}

}  // namespace

bool Superblock::knows(const Generation& g) const noexcept {
  return std::find(history.begin(), history.end(), g) != history.end();
}

void Superblock::push(const Generation& g) {
  if (g.epoch == 0 || knows(g)) return;
  history.insert(history.begin(), g);
  if (history.size() <= kGenerations) return;
  // The oldest is forgotten, but those by force last: who has one that this copy lacks is taken for a split brain.
  const auto newest = std::prev(history.rend());
  const auto ordinary = std::find_if_not(history.rbegin(), newest, by_force);
  history.erase(ordinary == newest ? history.end() - 1 : std::prev(ordinary.base()));
}

bool Superblock::lost_in(Extent e) const noexcept {
  return std::any_of(lost.begin(), lost.end(), [&](Extent l) { return l.offset < e.end() && e.offset < l.end(); });
}

bool Superblock::add_lost(Extent e) {
  remove_lost(e);
  if (lost.size() + e.length / kBlockBytes > kMaxLost) return false;
  for (std::uint64_t at = e.offset; at < e.end(); at += kBlockBytes) lost.push_back({at, kBlockBytes});
  return true;
}

void Superblock::remove_lost(Extent e) {
  std::erase_if(lost, [&](Extent l) { return l.offset < e.end() && e.offset < l.end(); });
}

void Superblock::roll_back(const Generation& base) {
  history.erase(history.begin(), std::find(history.begin(), history.end(), base));
}

Task<Buffer> allocate_patiently(Scheduler& scheduler, BufferPool& buffers, std::size_t bytes) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    Buffer buffer = buffers.allocate(bytes);
    if (buffer) co_return buffer;
    co_await sleep_for(scheduler, kMillisecond);
  }
  co_return Buffer{};
}

Task<Status> MetadataStore::load() {
  bool found = false, broken = false;
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    Buffer buffer = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
    if (!buffer) co_return fail(Errc::limit, "no buffer for the replica's metadata");
    const Errc status = co_await Io::read(device_, offset_ + slot * kBlockBytes, buffer);
    Superblock candidate;
    std::uint64_t sequence = 0;
    if (status == Errc::medium) {
      broken = true;  // as a torn slot: the other one may be good
      continue;
    }
    if (status != Errc::ok) co_return fail(status, "replica metadata cannot be read");
    const SlotState state = decode(buffer.bytes(), candidate, sequence);
    broken = broken || state == SlotState::broken;
    if (state != SlotState::valid || (found && sequence <= sequence_)) continue;
    now_ = std::move(candidate);
    sequence_ = sequence;
    found = true;
  }
  if (found) co_return Status{};
  if (broken) co_return fail(Errc::corrupt, "both copies of the replica metadata are damaged");
  co_return fail(Errc::bad_input, "the device holds no replica metadata; format it first");
}

Task<Errc> MetadataStore::write(const Superblock& next) {
  Buffer buffer = co_await allocate_patiently(scheduler_, buffers_, kBlockBytes);
  if (!buffer) co_return Errc::limit;
  encode(buffer.bytes(), next, sequence_ + 1);
  const Errc status = co_await Io::write(device_, offset_ + (sequence_ + 1) % 2 * kBlockBytes, buffer, true);
  if (status != Errc::ok) co_return status;
  ++sequence_;
  now_ = next;
  co_return Errc::ok;
}

Task<Errc> MetadataStore::format(Superblock initial) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  for (int slot = 0; slot < 2; ++slot) {
    const Errc status = co_await write(initial);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

Task<Errc> MetadataStore::update(std::function<void(Superblock&)> change) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  Superblock next = now_;
  change(next);
  co_return co_await write(next);
}

}  // namespace resilver::replica
