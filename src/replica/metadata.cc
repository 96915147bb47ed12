#include "replica/metadata.h"

#include <algorithm>
#include <utility>

#include "replica/metadata_fields.h"

namespace resilver::replica {

template <>
inline constexpr std::size_t kMost<std::uint64_t> = Superblock::kMaxLost;

namespace {

constexpr std::uint64_t kMagic = 0x32'72'65'76'6c'69'73'72ull;  // "rsilver2"

}  // namespace

void Superblock::follow(const Record& record) {
  known = record;
  base = record.head();
  founder = false;
}

void Superblock::note_fork(const ForkNote& note) {
  std::erase_if(forks, [&](const ForkNote& n) { return n.copy == note.copy; });
  if (forks.size() >= kMaxForks) forks.erase(forks.begin());
  forks.push_back(note);
}

bool Superblock::noted(const ForkNote& note) const noexcept { return std::ranges::find(forks, note) != forks.end(); }

void Superblock::add_life(std::uint64_t life) {
  lives.insert(lives.begin(), life);
  if (lives.size() > kMaxLives) lives.pop_back();
}

bool Superblock::lived(std::uint64_t life) const noexcept { return std::ranges::find(lives, life) != lives.end(); }

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

MetadataStore::MetadataStore(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device)
    : scheduler_(scheduler),
      buffers_(buffers),
      device_(device),
      record_(scheduler, buffers, device, kMagic),
      busy_(scheduler) {}

// Where the room is small the oldest reigns are left out: then a copy that was away for very long is not recognised.
std::vector<std::byte> MetadataStore::encode(const Superblock& super) const {
  Superblock copy = super;
  std::vector<std::uint64_t> lost;
  for (const Extent& block : super.lost) lost.push_back(block.offset / kBlockBytes);
  for (;;) {
    std::vector<std::byte> content;
    Writer writer(content);
    writer(copy, lost);
    if (content.size() <= layout_.record.most_bytes()) return content;
    CHECK(copy.known.reigns.size() > 1, "a superblock does not fit");
    copy.known.reigns.pop_back();
  }
}

Task<Status> MetadataStore::load_at(const Layout& layout, SmallRecord::Mend mend) {
  if (layout.record.end() > device_.size_bytes())
    co_return fail(Errc::corrupt, "the device is smaller than when the copy was made");
  const Status loaded = co_await record_.load(layout.record, mend);
  if (!loaded) co_return loaded;
  Superblock super;
  std::vector<std::uint64_t> lost;
  Reader reader(record_.content());
  reader(super, lost);
  const bool fits = super.volume_bytes == layout.volume_bytes && super.bit_count == layout.bit_count;
  if (!reader.finished() || !fits) co_return fail(Errc::corrupt, "the superblock makes no sense");
  for (const std::uint64_t block : lost) super.lost.push_back({block * kBlockBytes, kBlockBytes});
  now_ = std::move(super);
  layout_ = layout;
  co_return Status{};
}

namespace {

std::uint64_t fewest_bits(std::uint64_t bit_count) { return std::min(bit_count, kLeastIntentBits); }

// The news of two attempts: what is there counts more than what is not.
void keep_worse(Error& worst, const Status& attempt) {
  if (!attempt && attempt.error().code != Errc::not_found) worst = attempt.error();
}

}  // namespace

// Where it should be by the device's size, or where its first copy says. What is there and damaged is not passed over for
// what lay elsewhere before it.
Task<Status> MetadataStore::load_near(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend) {
  Error worst{Errc::not_found, "the device holds no copy of a volume"};
  for (std::uint64_t bits = bit_count; bits >= fewest_bits(bit_count); bits /= 2) {
    const auto fitting = Layout::fit(volume_bytes, bits, device_.size_bytes());
    if (fitting) {
      Status loaded = co_await load_at(*fitting, mend);
      if (loaded || record_.met()) co_return loaded;
      keep_worse(worst, loaded);
    }
    // The device has another size than when the copy was made.
    const auto place = co_await record_.place_told_at(Layout::record_at(volume_bytes, bits));
    if (!place || (fitting && *place == fitting->record)) continue;
    Status loaded = co_await load_at(Layout::of(volume_bytes, bits, *place), mend);
    if (loaded || record_.met()) co_return loaded;
    keep_worse(worst, loaded);
  }
  co_return std::unexpected(worst);
}

// The device has another size than when the copy was made, and its first copy is damaged: any of the others tells.
Task<Status> MetadataStore::search(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend) {
  Error worst{Errc::not_found, {}};
  const std::uint64_t from = Layout::record_at(volume_bytes, fewest_bits(bit_count));
  for (const SmallRecord::Place& place :
       co_await record_.places_told_within(from, Layout::furthest_copy(volume_bytes, bit_count) + kBlockBytes)) {
    for (std::uint64_t bits = bit_count; bits >= fewest_bits(bit_count); bits /= 2) {
      if (place.at != Layout::record_at(volume_bytes, bits)) continue;
      Status loaded = co_await load_at(Layout::of(volume_bytes, bits, place), mend);
      if (loaded) co_return loaded;
      keep_worse(worst, loaded);
    }
  }
  co_return std::unexpected(worst);
}

Task<Status> MetadataStore::load(std::uint64_t volume_bytes, std::uint64_t bit_count, SmallRecord::Mend mend) {
  Status loaded = co_await load_near(volume_bytes, bit_count, mend);
  const auto vague = [&] {
    if (loaded) return false;
    const Errc code = loaded.error().code;
    return code == Errc::not_found || code == Errc::corrupt || code == Errc::medium || code == Errc::io;
  };
  if (!vague()) co_return loaded;
  if (!record_.met()) {
    Status found = co_await search(volume_bytes, bit_count, mend);
    if (found || found.error().code != Errc::not_found) loaded = std::move(found);
  }
  if (!vague()) co_return loaded;
  // Copies of another size may lie where damaged ones of this size would.
  anchor_ = co_await read_anchor(scheduler_, buffers_, device_);
  if (anchor_ && anchor_->volume_bytes != volume_bytes)
    co_return fail(Errc::bad_input, "the device holds a copy of a volume of another size");
  if (anchor_ && loaded.error().code == Errc::not_found) co_return fail(Errc::corrupt, "the superblock is gone");
  co_return loaded;
}

Task<Errc> MetadataStore::format(Superblock initial) {
  const auto layout = Layout::fit(initial.volume_bytes, initial.bit_count, device_.size_bytes());
  if (!layout) co_return Errc::no_space;
  co_return co_await format(std::move(initial), *layout);
}

Task<Errc> MetadataStore::format(Superblock initial, Layout layout) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  layout_ = layout;
  const Errc status = co_await record_.format(layout_.record, encode(initial));
  if (status != Errc::ok) co_return status;
  now_ = std::move(initial);
  co_return co_await set_anchor();
}

Task<Errc> MetadataStore::update(std::function<void(Superblock&)> change) {
  co_await busy_.acquire();
  SemaphoreGuard guard(busy_);
  Superblock next = now_;
  change(next);
  const Errc status = co_await record_.store(encode(next));
  if (status == Errc::ok) now_ = std::move(next);
  co_return status;
}

Task<Errc> MetadataStore::set_anchor() {
  const Anchor wanted{now_.volume, now_.copy, now_.volume_bytes, now_.bit_count};
  if (co_await read_anchor(scheduler_, buffers_, device_) == wanted) co_return Errc::ok;
  if (device_.size_bytes() < layout_.end()) co_return Errc::ok;  // there is no room for it
  co_return co_await write_anchor(scheduler_, buffers_, device_, wanted);
}

}  // namespace resilver::replica
