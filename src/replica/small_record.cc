#include "replica/small_record.h"

#include <algorithm>

#include "async/sync.h"
#include "async/task_group.h"
#include "base/check.h"
#include "base/crc32c.h"
#include "base/endian.h"

namespace resilver::replica {
namespace {

constexpr std::uint32_t kFormatVersion = 2;

// Offsets in a copy; what follows is the content.
constexpr std::size_t kAtMagic = 0, kAtVersion = 8, kAtCrc = 12, kAtSequence = 16, kAtPlace = 24, kAtStride = 32,
                      kAtRoom = 40, kAtLength = 44;
static_assert(kAtLength + 4 == SmallRecord::kHeadBytes);

std::uint32_t checksum(std::span<const std::byte> copy) {
  return crc32c(copy.subspan(kAtCrc + 4), crc32c(copy.first(kAtCrc)));
}

std::uint64_t set_of(std::uint64_t sequence) { return sequence % 2; }

SmallRecord::Place told_in(std::span<const std::byte> copy) {
  const std::byte* at = copy.data();
  return {load_le<std::uint64_t>(at + kAtPlace), load_le<std::uint64_t>(at + kAtStride),
          load_le<std::uint32_t>(at + kAtRoom)};
}

}  // namespace

Task<Buffer> allocate_patiently(Scheduler& scheduler, BufferPool& buffers, std::size_t bytes) {
  for (int attempt = 0; attempt < 2000; ++attempt) {
    Buffer buffer = buffers.allocate(bytes);
    if (buffer) co_return buffer;
    co_await sleep_for(scheduler, kMillisecond);
  }
  co_return Buffer{};
}

Task<Errc> SmallRecord::reserve(std::uint64_t bytes) {
  if (buffer_.size() >= bytes) co_return Errc::ok;
  buffer_ = co_await allocate_patiently(scheduler_, buffers_, bytes);
  co_return buffer_ ? Errc::ok : Errc::limit;
}

SmallRecord::Copy SmallRecord::judge(std::span<const std::byte> bytes, const Place& place) const {
  Copy copy;
  const std::byte* at = bytes.data();
  copy.marked = load_le<std::uint64_t>(at + kAtMagic) == magic_;
  copy.placed = copy.marked && told_in(bytes) == place;
  const auto length = load_le<std::uint32_t>(at + kAtLength);
  if (!copy.marked || length > place.most_bytes()) return copy;
  if (load_le<std::uint32_t>(at + kAtCrc) != checksum(bytes.first(kHeadBytes + length))) return copy;
  copy.valid = copy.placed && load_le<std::uint32_t>(at + kAtVersion) == kFormatVersion;
  copy.sequence = load_le<std::uint64_t>(at + kAtSequence);
  return copy;
}

Task<Status> SmallRecord::load(Place place, Mend mend) {
  met_ = false;
  if (place.end() > device_.size_bytes()) co_return fail(Errc::not_found, "the device ends before it");
  if (co_await reserve(place.room) != Errc::ok) co_return fail(Errc::limit, "no buffer for a record");
  place_ = place;
  std::array<Copy, kCopies> copies;
  bool newer_version = false, marked = false;
  Errc unreadable = Errc::ok;
  const Copy* best = nullptr;
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    const Errc status = co_await Io::read(device_, place.copy(i), buffer_.slice(0, place.room));
    if (status == Errc::medium || status == Errc::corrupt || status == Errc::io) {
      unreadable = status;
      continue;
    }
    if (status != Errc::ok) co_return fail(status, "a record cannot be read");
    const auto bytes = buffer_.bytes().first(place.room);
    copies[i] = judge(bytes, place);
    marked = marked || copies[i].marked;
    met_ = met_ || copies[i].placed;
    if (copies[i].marked && load_le<std::uint32_t>(buffer_.data() + kAtVersion) > kFormatVersion) newer_version = true;
    if (!copies[i].valid || (best != nullptr && copies[i].sequence <= best->sequence)) continue;
    best = &copies[i];
    const auto length = load_le<std::uint32_t>(bytes.data() + kAtLength);
    content_.assign(bytes.begin() + kHeadBytes, bytes.begin() + kHeadBytes + length);
  }
  if (best == nullptr) {
    if (newer_version) co_return fail(Errc::unsupported, "it is of a newer version of this program");
    if (marked) co_return fail(Errc::corrupt, "all copies of the record are damaged");
    co_return unreadable != Errc::ok ? fail(unreadable, "a record cannot be read") : fail(Errc::not_found);
  }
  sequence_ = tried_ = best->sequence;
  bad_ = 0;
  std::array<unsigned, 2> bad{}, newest{};  // by sets
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    written_[i] = copies[i].valid ? Errc::ok : Errc::medium;
    bad[i % 2] += copies[i].valid ? 0 : 1;
    newest[i % 2] += copies[i].valid && copies[i].sequence == sequence_ ? 1 : 0;
    if (copies[i].valid && i % 2 == set_of(sequence_) && copies[i].sequence != sequence_) written_[i] = Errc::cancelled;
  }
  bad_ = bad[0] + bad[1];
  const std::uint64_t own = set_of(sequence_);
  if (bad[1 - own] >= 2 && newest[own] < kCopies / 2)
    co_return fail(Errc::corrupt, "so many copies of the record are damaged that the newest may be among them");
  if (mend == Mend::yes) {
    const Errc mended = co_await make_whole();
    if (mended != Errc::ok) co_return fail(mended, "a record cannot be written");
    // A store that was torn must not have spent what one bad spot may cost: the other set gets the same. If that fails, the
    // next store tells.
    if (bad[1 - own] >= 2) (void)co_await store(std::vector(content_));
  }
  co_return Status{};
}

// What the copy there tells, if it is one.
Task<Result<SmallRecord::Place>> SmallRecord::place_told_by(std::uint64_t copy) {
  if (copy + kBlockBytes > device_.size_bytes()) co_return fail(Errc::not_found);
  if (co_await reserve(kMostRoom) != Errc::ok) co_return fail(Errc::limit, "no buffer for a record");
  const std::uint64_t bytes = std::min(kMostRoom, device_.size_bytes() - copy);
  if (const Errc status = co_await Io::read(device_, copy, buffer_.slice(0, bytes)); status != Errc::ok)
    co_return fail(status);
  const Place told = told_in(buffer_.bytes());
  const bool likely = told.room % kBlockBytes == 0 && told.room > 0 && told.room <= bytes && told.stride >= told.room &&
                      told.stride <= (std::uint64_t{1} << 30);
  if (!likely || !judge(buffer_.bytes().first(told.room), told).valid) co_return fail(Errc::not_found);
  co_return told;
}

Task<Result<SmallRecord::Place>> SmallRecord::place_told_at(std::uint64_t at) {
  const auto told = co_await place_told_by(at);
  if (told && told->at != at) co_return fail(Errc::not_found);
  co_return told;
}

Task<std::vector<SmallRecord::Place>> SmallRecord::places_told_within(std::uint64_t from, std::uint64_t to) {
  std::vector<Place> places;
  if (co_await reserve(kMostRoom) != Errc::ok) co_return places;
  for (std::uint64_t at = from; at < std::min(to, device_.size_bytes()); at += kBlockBytes) {
    if (co_await Io::read(device_, at, buffer_.slice(0, kBlockBytes)) != Errc::ok) continue;
    if (load_le<std::uint64_t>(buffer_.data() + kAtMagic) != magic_) continue;
    const auto told = co_await place_told_by(at);
    if (!told || std::ranges::find(places, *told) != places.end()) continue;
    for (std::uint64_t i = 0; i < kCopies; ++i) {
      if (told->copy(i) == at) places.push_back(*told);
    }
  }
  co_return places;
}

// The copies of a record are the same bytes, so that one buffer serves all of them.
void SmallRecord::compose(std::span<const std::byte> content, std::uint64_t sequence) {
  CHECK(content.size() <= place_.most_bytes());
  std::byte* at = buffer_.data();
  const std::size_t used = kHeadBytes + content.size();
  std::fill_n(at, kHeadBytes, std::byte{0});
  store_le<std::uint64_t>(at + kAtMagic, magic_);
  store_le<std::uint32_t>(at + kAtVersion, kFormatVersion);
  store_le<std::uint64_t>(at + kAtSequence, sequence);
  store_le<std::uint64_t>(at + kAtPlace, place_.at);
  store_le<std::uint64_t>(at + kAtStride, place_.stride);
  store_le<std::uint32_t>(at + kAtRoom, static_cast<std::uint32_t>(place_.room));
  store_le<std::uint32_t>(at + kAtLength, static_cast<std::uint32_t>(content.size()));
  std::ranges::copy(content, at + kHeadBytes);
  std::fill(at + used, at + place_.room, std::byte{0});
  store_le<std::uint32_t>(at + kAtCrc, checksum(buffer_.bytes().first(used)));
}

Task<void> SmallRecord::write_copy(std::uint64_t index) {
  const auto length = load_le<std::uint32_t>(buffer_.data() + kAtLength);
  const std::uint64_t blocks = (kHeadBytes + length + kBlockBytes - 1) / kBlockBytes;
  written_[index] = co_await Io::write(device_, place_.copy(index), buffer_.slice(0, blocks * kBlockBytes), true);
}

// ok when two of the three are durable. Those that hold it already are left alone.
Task<Errc> SmallRecord::write_set(std::uint64_t set) {
  TaskGroup group(scheduler_);
  for (std::uint64_t i = set; i < kCopies; i += 2) {
    if (written_[i] != Errc::ok) group.spawn(write_copy(i));
  }
  co_await group.join();
  unsigned good = 0;
  Errc worst = Errc::ok;
  for (std::uint64_t i = set; i < kCopies; i += 2) {
    good += written_[i] == Errc::ok ? 1 : 0;
    if (written_[i] != Errc::ok) worst = written_[i];
  }
  co_return good >= 2 ? Errc::ok : worst;
}

// What a copy that cannot be written costs is one of three: the next round tries it again.
Task<Errc> SmallRecord::make_whole() {
  const std::uint64_t set = set_of(sequence_);
  bool whole = true;
  for (std::uint64_t i = set; i < kCopies; i += 2) whole = whole && written_[i] == Errc::ok;
  if (whole) co_return Errc::ok;
  compose(content_, sequence_);
  co_return co_await write_set(set);
}

// A record that is made anew is numbered above the one that was there: a block that cannot be written now may be read again
// one day, and must not be taken for the newer one.
Task<std::uint64_t> SmallRecord::highest_here() {
  std::uint64_t highest = 0;
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    if (co_await Io::read(device_, place_.copy(i), buffer_.slice(0, place_.room)) != Errc::ok) continue;
    const Copy copy = judge(buffer_.bytes().first(place_.room), place_);
    if (copy.valid) highest = std::max(highest, copy.sequence);
  }
  co_return highest;
}

Task<Errc> SmallRecord::format(Place place, std::span<const std::byte> content) {
  CHECK(place.stride >= place.room && place.room <= kMostRoom && place.end() <= device_.size_bytes());
  if (const Errc status = co_await reserve(place.room); status != Errc::ok) co_return status;
  place_ = place;
  content_.assign(content.begin(), content.end());
  bad_ = 0;
  sequence_ = co_await highest_here();
  written_.fill(Errc::cancelled);
  for (int set = 0; set < 2; ++set) {
    compose(content_, ++sequence_);
    const Errc status = co_await write_set(set_of(sequence_));
    if (status != Errc::ok) co_return status;
  }
  tried_ = sequence_;
  co_return Errc::ok;
}

Task<Errc> SmallRecord::store(std::span<const std::byte> content) {
  if (const Errc status = co_await make_whole(); status != Errc::ok) co_return status;
  // A number that was tried is never used again: what a store that failed left on one place must not look like this one.
  const std::uint64_t set = set_of(sequence_ + 1);
  do ++tried_;
  while (set_of(tried_) != set);
  for (std::uint64_t i = set; i < kCopies; i += 2) written_[i] = Errc::cancelled;
  compose(content, tried_);
  const Errc status = co_await write_set(set);
  if (status != Errc::ok) co_return status;
  sequence_ = tried_;
  content_.assign(content.begin(), content.end());
  co_return Errc::ok;
}

}  // namespace resilver::replica
