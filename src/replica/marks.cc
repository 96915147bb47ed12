#include "replica/marks.h"

#include <algorithm>

#include "base/crc32c.h"
#include "base/endian.h"
#include "replica/codec.h"
#include "replica/small_record.h"

namespace resilver::replica {

namespace {

constexpr std::uint64_t kMagic = 0x736b'7261'6d6c'7372ull;  // "rslmarks"
constexpr std::size_t kAtMagic = 0, kAtCrc = 8, kAtLength = 12, kAtSequence = 16, kHeadBytes = 24;

bool decode(std::span<const std::byte> block, CopyId& copy, Marks& marks, std::uint64_t& sequence) {
  const std::byte* at = block.data();
  const auto length = load_le<std::uint32_t>(at + kAtLength);
  if (load_le<std::uint64_t>(at + kAtMagic) != kMagic || length > kBlockBytes - kHeadBytes) return false;
  if (load_le<std::uint32_t>(at + kAtCrc) != crc32c(block.subspan(kAtLength, kHeadBytes - kAtLength + length)))
    return false;
  sequence = load_le<std::uint64_t>(at + kAtSequence);
  Reader reader(block.subspan(kHeadBytes, length));
  reader(copy, marks);
  return reader.finished();
}

bool only_peers_differ(const Marks& a, const Marks& b) {
  return a.position == b.position && a.exact == b.exact && a.committed == b.committed && a.prepared == b.prepared &&
         a.dropped == b.dropped && a.counter == b.counter;
}

}  // namespace

std::uint64_t Marks::of(const CopyId& copy) const noexcept {
  const auto at = std::ranges::find(peers, copy, &PeerMark::copy);
  return at == peers.end() ? 0 : at->counter;
}

bool Marks::note(const CopyId& copy, std::uint64_t told) {
  if (copy.none() || told <= of(copy)) return false;
  const auto at = std::ranges::find(peers, copy, &PeerMark::copy);
  if (at != peers.end()) {
    at->counter = told;
  } else {
    if (peers.size() >= kMaxNodes) peers.erase(peers.begin());  // of copies that were replaced long ago
    peers.push_back({copy, told});
  }
  return true;
}

Task<Errc> MarkStore::reserve() {
  if (!buffer_) buffer_ = co_await allocate_patiently(scheduler_, buffers_, kSlotBytes);
  co_return buffer_ ? Errc::ok : Errc::limit;
}

Task<Errc> MarkStore::load(std::uint64_t at, CopyId copy) {
  at_ = at;
  copy_ = copy;
  now_ = {};
  sequence_ = 0;
  if (const Errc status = co_await reserve(); status != Errc::ok) co_return status;
  for (std::uint64_t block = 0; block < kBytes / kBlockBytes; ++block) {
    const Errc status = co_await Io::read(device_, at_ + block * kBlockBytes, buffer_.slice(0, kBlockBytes));
    if (status == Errc::medium || status == Errc::corrupt || status == Errc::io) continue;
    if (status != Errc::ok) co_return status;
    CopyId of;
    Marks marks;
    std::uint64_t sequence = 0;
    if (!decode(buffer_.bytes().first(kBlockBytes), of, marks, sequence) || of != copy || sequence <= sequence_)
      continue;
    sequence_ = sequence;
    now_ = std::move(marks);
  }
  tried_ = sequence_;
  co_return Errc::ok;
}

Task<Errc> MarkStore::format(std::uint64_t at, CopyId copy, Marks initial) {
  at_ = at;
  copy_ = copy;
  sequence_ = tried_ = 0;
  if (const Errc status = co_await reserve(); status != Errc::ok) co_return status;
  for (int slot = 0; slot < 2; ++slot) {
    if (const Errc status = co_await write(initial, Blocks::both); status != Errc::ok) co_return status;
  }
  co_return Errc::ok;
}

// A number that was tried is never used again: what a write that failed left on one block must not look like this one.
Task<Errc> MarkStore::write(const Marks& next, Blocks blocks) {
  const std::uint64_t slot = (sequence_ + 1) % 2;
  do ++tried_;
  while (tried_ % 2 != slot);
  std::vector<std::byte> content;
  Writer writer(content);
  Marks marks = next;
  writer(copy_, marks);
  CHECK(content.size() <= kBlockBytes - kHeadBytes);
  std::byte* at = buffer_.data();
  std::ranges::fill(buffer_.bytes(), std::byte{0});
  store_le<std::uint64_t>(at + kAtMagic, kMagic);
  store_le<std::uint32_t>(at + kAtLength, static_cast<std::uint32_t>(content.size()));
  store_le<std::uint64_t>(at + kAtSequence, tried_);
  std::ranges::copy(content, at + kHeadBytes);
  const std::size_t used = kHeadBytes - kAtLength + content.size();
  store_le<std::uint32_t>(at + kAtCrc, crc32c(buffer_.bytes().subspan(kAtLength, used)));
  std::copy_n(at, kHeadBytes + content.size(), at + kBlockBytes);
  const Buffer written = blocks == Blocks::both ? buffer_ : buffer_.slice(0, kBlockBytes);
  const Errc status = co_await Io::write(device_, at_ + slot * kSlotBytes, written, true);
  if (status != Errc::ok) co_return status;
  sequence_ = tried_;
  now_ = next;
  co_return Errc::ok;
}

Task<Errc> MarkStore::update(std::function<void(Marks&)> change, Blocks blocks) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  Marks next = now_;
  change(next);
  if (!only_peers_differ(next, now_)) next.counter = std::max(next.counter, now_.counter + 1);
  co_return co_await write(next, blocks);
}

}  // namespace resilver::replica
