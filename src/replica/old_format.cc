#include "replica/old_format.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "base/crc32c.h"
#include "base/endian.h"
#include "base/hash.h"
#include "replica/small_record.h"

namespace resilver::replica::old {
namespace {

constexpr std::uint64_t kCopyMagic = 0x31'72'65'76'6c'69'73'72ull;    // "rsilver1"
constexpr std::uint64_t kRecordMagic = 0x31'62'72'61'6c'73'65'72ull;  // "reslarb1"
constexpr std::size_t kMostGenerations = 8, kMostLost = 192;

std::uint64_t u64(const std::byte* at) { return load_le<std::uint64_t>(at); }
std::uint32_t u32(const std::byte* at) { return load_le<std::uint32_t>(at); }

enum class Slot : std::uint8_t { none, broken, valid };

// A slot's number is that of its sequence, so that one is not taken for its neighbour.
std::uint64_t number_of(std::uint64_t sequence) { return sequence % 2; }

Slot read_slot(std::span<const std::byte> slot, Copy& copy, std::uint64_t& sequence) {
  const std::byte* at = slot.data();
  if (u64(at) != kCopyMagic) return Slot::none;
  const std::uint32_t sum = crc32c(slot.subspan(16), crc32c(slot.first(12)));
  const std::uint32_t generations = u32(at + 88), lost = u32(at + 296);
  if (u32(at + 12) != sum || u32(at + 8) != 1 || generations > kMostGenerations || lost > kMostLost)
    return Slot::broken;
  sequence = u64(at + 16);
  copy.volume = u64(at + 24);
  copy.node = u32(at + 32);
  copy.inconsistent = (u32(at + 36) & 1) != 0;
  copy.volume_bytes = u64(at + 40);
  copy.granule = u64(at + 48);
  copy.bit_count = u64(at + 56);
  copy.attachment = u64(at + 72);
  copy.bits_since = u64(at + 80);
  copy.resync_id = u64(at + 288);
  copy.position = {u64(at + 3376), u64(at + 3384)};
  copy.history.clear();
  for (std::uint32_t i = 0; i < generations; ++i) {
    const std::byte* g = at + 96 + i * 24;
    copy.history.push_back({u64(g), u64(g + 8), u32(g + 16)});
  }
  copy.lost.clear();
  for (std::uint32_t i = 0; i < lost; ++i) copy.lost.push_back({u64(at + 304 + i * 16), u64(at + 312 + i * 16)});
  return Slot::valid;
}

bool unreadable(Errc status) { return status == Errc::medium || status == Errc::corrupt || status == Errc::io; }

// A block that cannot be read stands for all ones.
Task<Errc> read_bits(BlockDevice& device, Buffer buffer, Copy& copy) {
  for (std::uint64_t at = 0; at < copy.bit_count / 8; at += kBlockBytes) {
    const Errc status = co_await Io::read(device, copy.at + kSlotBytes + at, buffer);
    if (status != Errc::ok && !unreadable(status)) co_return status;
    for (std::uint64_t i = 0; i < kBlockBytes; i += 8)
      copy.bits.push_back(status == Errc::ok ? u64(buffer.data() + i) : ~std::uint64_t{0});
  }
  co_return Errc::ok;
}

}  // namespace

std::uint64_t volume_number(std::string_view name) noexcept {
  Hash64 hash;
  hash.add_bytes(std::as_bytes(std::span(name)));
  return hash.value();
}

namespace {

// The copy whose two slots begin at `at`.
Task<Result<std::optional<Copy>>> find_copy_at(BlockDevice& device, Buffer buffer, std::uint64_t at) {
  Copy found;
  bool any = false, broken = false;
  std::uint64_t newest = 0;
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    const Errc status = co_await Io::read(device, at + slot * kBlockBytes, buffer);
    if (status != Errc::ok && !unreadable(status)) co_return fail(status, "the device cannot be read");
    if (status != Errc::ok) continue;
    Copy candidate;
    std::uint64_t sequence = 0;
    const Slot state = read_slot(buffer.bytes(), candidate, sequence);
    broken = broken || state == Slot::broken;
    if (state != Slot::valid || number_of(sequence) != slot || (any && sequence <= newest)) continue;
    any = true;
    newest = sequence;
    found = std::move(candidate);
  }
  if (!any && broken) co_return fail(Errc::corrupt, "the metadata of version 1 is damaged");
  if (!any) co_return std::nullopt;
  found.at = at;
  if (found.bit_count != kBits) co_return fail(Errc::corrupt, "the metadata of version 1 makes no sense");
  const Errc status = co_await read_bits(device, buffer, found);
  if (status != Errc::ok) co_return fail(status, "the intent bits cannot be read");
  co_return found;
}

// Where the metadata begins of a copy whose device has grown since: between `from` and `to`, if any slot there is
// valid. A slot tells by its number which of the two it is.
Task<Result<std::optional<std::uint64_t>>> search(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device,
                                                  std::uint64_t from, std::uint64_t to) {
  constexpr std::uint64_t kPiece = 256 * 1024;
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kPiece);
  if (!buffer) co_return fail(Errc::limit, "no buffer");
  for (std::uint64_t at = from; at < to; at += kPiece) {
    const std::uint64_t bytes = std::min(kPiece, to - at) / kBlockBytes * kBlockBytes;
    if (bytes == 0) break;
    const Errc status = co_await Io::read(device, at, buffer.slice(0, bytes));
    if (status != Errc::ok && !unreadable(status)) co_return fail(status, "the device cannot be read");
    for (std::uint64_t block = 0; status == Errc::ok && block < bytes; block += kBlockBytes) {
      Copy candidate;
      std::uint64_t sequence = 0;
      if (read_slot(buffer.bytes().subspan(block, kBlockBytes), candidate, sequence) != Slot::valid) continue;
      co_return at + block - number_of(sequence) * kBlockBytes;
    }
  }
  co_return std::nullopt;
}

}  // namespace

std::uint64_t spare_place(std::uint64_t device_bytes) noexcept {
  return device_bytes < kReserved + kBlockBytes ? device_bytes : device_bytes - kBlockBytes - kReserved;
}

Task<Result<std::optional<Copy>>> find_copy(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device,
                                            std::uint64_t volume_bytes) {
  const std::uint64_t size = device.size_bytes();
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer) co_return fail(Errc::limit, "no buffer");
  std::optional<Error> damaged;
  const auto try_at = [&](std::uint64_t at) -> Task<Result<std::optional<Copy>>> {
    if (at > size || size - at < kReserved) co_return std::nullopt;
    auto found = co_await find_copy_at(device, buffer, at);
    if (found || found.error().code != Errc::corrupt) co_return found;
    damaged = found.error();
    co_return std::nullopt;
  };
  for (const std::uint64_t at : {size < kReserved ? size : size - kReserved, volume_bytes}) {
    auto found = co_await try_at(at);
    if (!found || *found) co_return found;
  }
  const std::uint64_t end = std::min(size, volume_bytes + kMostSlack);
  const auto at = co_await search(scheduler, buffers, device, volume_bytes, end);
  if (!at) co_return std::unexpected(at.error());
  for (const std::uint64_t place : {at->value_or(size), spare_place(size)}) {
    if (place < volume_bytes) continue;
    auto found = co_await try_at(place);
    if (!found || *found) co_return found;
  }
  if (damaged) co_return std::unexpected(*damaged);
  co_return std::nullopt;
}

namespace {

Task<Errc> wipe_slot(BlockDevice& device, Buffer buffer, std::uint64_t at) {
  std::ranges::fill(buffer.bytes(), std::byte{0});
  co_return co_await Io::write(device, at, buffer, true);
}

}  // namespace

Task<Errc> wipe(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t at) {
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer) co_return Errc::limit;
  std::uint64_t sequences[2] = {0, 0};
  for (std::uint64_t slot = 0; slot < 2; ++slot) {
    const Errc status = co_await Io::read(device, at + slot * kBlockBytes, buffer);
    if (status != Errc::ok && !unreadable(status)) co_return status;
    Copy ignored;
    if (status != Errc::ok || read_slot(buffer.bytes(), ignored, sequences[slot]) != Slot::valid) sequences[slot] = 0;
  }
  const std::uint64_t older = sequences[0] <= sequences[1] ? 0 : 1;
  for (const std::uint64_t slot : {older, 1 - older}) {
    const Errc status = co_await wipe_slot(device, buffer, at + slot * kBlockBytes);
    if (status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

Task<Errc> wipe_all(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, std::uint64_t from) {
  const std::uint64_t size = device.size_bytes();
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer) co_return Errc::limit;
  for (const std::uint64_t place : {size < kReserved ? size : size - kReserved, spare_place(size)}) {
    for (std::uint64_t at = place; at < std::min(size, place + kSlotBytes); at += kBlockBytes) {
      if (at < from || co_await Io::read(device, at, buffer) != Errc::ok || u64(buffer.data()) != kCopyMagic) continue;
      if (const Errc status = co_await wipe_slot(device, buffer, at); status != Errc::ok) co_return status;
    }
  }
  for (;;) {
    const auto found = co_await search(scheduler, buffers, device, from, std::min(size, from + kMostSlack));
    if (!found) co_return found.error().code;
    if (!*found || **found < from) co_return Errc::ok;
    if (const Errc status = co_await wipe(scheduler, buffers, device, **found); status != Errc::ok) co_return status;
  }
}

Task<Result<std::optional<Record>>> find_record(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device) {
  Buffer buffer = co_await allocate_patiently(scheduler, buffers, kBlockBytes);
  if (!buffer) co_return fail(Errc::limit, "no buffer");
  std::optional<Record> found;
  bool used = false;
  for (std::uint64_t block = 0; block < 2 && device.size_bytes() >= 2 * kBlockBytes; ++block) {
    const Errc status = co_await Io::read(device, block * kBlockBytes, buffer);
    if (status != Errc::ok) co_return fail(status, "the arbiter's state cannot be read");
    const std::byte* at = buffer.data();
    if (u64(at) != kRecordMagic) continue;
    used = true;
    if (u32(at + 8) != crc32c(buffer.bytes().subspan(12))) continue;
    const auto ack = load_le<std::uint8_t>(at + 48);
    if (ack >= kAckModeCount || (found && u64(at + 16) <= found->version)) continue;
    found = Record{u64(at + 16), {u64(at + 24), u64(at + 40), u32(at + 32)}, {u32(at + 36)}, static_cast<AckMode>(ack)};
  }
  if (!found && used) co_return fail(Errc::corrupt, "the arbiter's record of version 1 is damaged");
  co_return found;
}

}  // namespace resilver::replica::old
