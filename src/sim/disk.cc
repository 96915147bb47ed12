#include "sim/disk.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "sim/node.h"

namespace resilver::sim {
namespace {

constexpr std::uint64_t kPage = SectorStore::kPageBytes;
constexpr std::uint64_t kMaxBytes = std::uint64_t{16} << 40;
constexpr std::uint8_t kAllSectors = 0xff;
using PageBytes = std::array<std::byte, kPage>;

// The bytes of a request's segments page by page. A page that no single segment holds goes through `joined`.
class PageCursor {
 public:
  explicit PageCursor(std::span<const Buffer> segments) noexcept : segments_(segments) {}

  void skip(std::uint64_t bytes) noexcept {
    while (bytes > 0) {
      const std::uint64_t step = std::min<std::uint64_t>(bytes, left());
      advance(step);
      bytes -= step;
    }
  }
  // The next page's bytes, to read from.
  const std::byte* next(PageBytes& joined) noexcept {
    std::byte* here = contiguous();
    if (here != nullptr) return here;
    copy([&](std::byte* segment, std::size_t at, std::size_t size) { std::memcpy(&joined[at], segment, size); });
    return joined.data();
  }
  // Where to put the next page, or null: then put() takes it.
  std::byte* contiguous() noexcept {
    if (left() < kPage) return nullptr;
    std::byte* here = segments_[index_].data() + offset_;
    advance(kPage);
    return here;
  }
  void put(const PageBytes& joined) noexcept {
    copy([&](std::byte* segment, std::size_t at, std::size_t size) { std::memcpy(segment, &joined[at], size); });
  }

 private:
  std::size_t left() noexcept {
    while (offset_ == segments_[index_].size()) {
      ++index_;
      offset_ = 0;
    }
    return segments_[index_].size() - offset_;
  }
  void advance(std::size_t bytes) noexcept { offset_ += bytes; }
  template <typename Copy>
  void copy(Copy&& copy_part) noexcept {
    for (std::size_t at = 0; at < kPage;) {
      const std::size_t size = std::min(left(), kPage - at);
      copy_part(segments_[index_].data() + offset_, at, size);
      advance(size);
      at += size;
    }
  }

  std::span<const Buffer> segments_;
  std::size_t index_ = 0;
  std::size_t offset_ = 0;
};

bool changes(IoOp op) noexcept { return op == IoOp::write || op == IoOp::write_zeroes || op == IoOp::discard; }

void copy_sectors(std::byte* to, const std::byte* from, std::uint8_t sectors) noexcept {
  for (unsigned i = 0; i < 8; ++i) {
    if ((sectors >> i & 1) == 0) continue;
    if (from != nullptr) {
      std::memcpy(to + i * kSectorBytes, from + i * kSectorBytes, kSectorBytes);
    } else {
      std::memset(to + i * kSectorBytes, 0, kSectorBytes);
    }
  }
}

TraceOp trace_op(IoOp op) noexcept {
  switch (op) {
    case IoOp::read: return TraceOp::read;
    case IoOp::write: return TraceOp::write;
    case IoOp::flush: return TraceOp::flush;
    case IoOp::discard: return TraceOp::discard;
    case IoOp::write_zeroes: return TraceOp::write_zeroes;
    case IoOp::reserve: break;  // it has room
  }
  return TraceOp::read;
}

}  // namespace

struct Disk::Pending : ListHook, WorldEvent {
  explicit Pending(Disk& d) noexcept : WorldEvent(&done), disk(d) {}
  static void done(WorldEvent& self) noexcept {
    auto& pending = static_cast<Pending&>(self);
    pending.disk.finish(pending);
  }
  Disk& disk;
  IoRequest* request = nullptr;
  std::uint64_t mark = 0;  // flush: end of the cache when it was submitted
};

class Disk::Handle final : public BlockDevice {
 public:
  Handle(Disk& disk, NodeScheduler& scheduler) noexcept : disk_(&disk), scheduler_(scheduler) {}
  ~Handle() override {
    if (disk_ == nullptr) return;
    CHECK(disk_->in_flight_count_ == 0, "a disk is closed with requests in flight");
    disk_->handle_ = nullptr;
  }
  std::uint64_t size_bytes() const noexcept override { return size_bytes_; }
  bool busy() const noexcept override { return disk_ != nullptr && disk_->in_flight_count_ != 0; }
  void submit(IoRequest& request) noexcept override {
    check_request(*this, request);
    if (disk_ != nullptr) disk_->submit(*this, request);  // else: killed, nothing completes any more
  }
  NodeScheduler& scheduler() noexcept { return scheduler_; }
  void die() noexcept { disk_ = nullptr; }

 private:
  Disk* disk_;
  NodeScheduler& scheduler_;
  std::uint64_t size_bytes_ = disk_->size_bytes_;
};

Disk::Disk(World& world, std::string name, std::uint64_t size_bytes, const DiskOptions& options)
    : world_(world),
      name_(std::move(name)),
      actor_(world.new_actor(name_)),
      size_bytes_(size_bytes),
      timer_(options.model),
      random_(world.random_for("disk " + name_)),
      store_(size_bytes / kPage),
      cache_limit_(options.cache_bytes / kPage) {
  CHECK(size_bytes > 0 && size_bytes % kPage == 0 && size_bytes <= kMaxBytes);
}

Disk::~Disk() { CHECK(handle_ == nullptr, "a disk ends while it is open"); }

std::unique_ptr<BlockDevice> Disk::open(NodeScheduler& scheduler) {
  if (handle_ != nullptr) return nullptr;
  auto handle = std::make_unique<Handle>(*this, scheduler);
  handle_ = handle.get();
  return handle;
}

void Disk::submit(Handle&, IoRequest& request) noexcept {
  Pending& pending = take_pending();
  pending.request = &request;
  pending.mark = cache_end_;
  in_flight_.push_back(pending);
  ++in_flight_count_;
  world_.schedule(pending, timer_.complete_at(request.op, request.offset, request.length, world_.now()));
  if (!changes(request.op)) return;
  ++writes_in_flight_;
  ++writes_started_;
  world_.count_write();
}

void Disk::finish(Pending& pending) noexcept {
  IoRequest& request = *pending.request;
  const std::uint64_t mark = pending.mark;
  give_back(pending);
  switch (request.op) {
    case IoOp::read:
      read(request);
      ++counters_.reads;
      counters_.read_bytes += request.length;
      break;
    case IoOp::write:
      write(request, Fate::kept, request.fua);
      ++counters_.writes;
      counters_.write_bytes += request.length;
      break;
    case IoOp::flush:
      make_durable_until(mark);
      ++counters_.flushes;
      break;
    case IoOp::discard:
    case IoOp::write_zeroes:
      write(request, Fate::kept, request.fua);
      ++counters_.others;
      break;
    case IoOp::reserve: break;
  }
  world_.trace(actor_, trace_op(request.op), request.offset, request.length, Errc::ok);
  request.complete(handle_->scheduler(), Errc::ok);
}

void Disk::read(const IoRequest& request) noexcept {
  PageCursor cursor(request.segments);
  PageBytes joined;
  const std::uint64_t end = (request.offset + request.length) / kPage;
  for (std::uint64_t page = request.offset / kPage; page < end; ++page) {
    std::byte* direct = cursor.contiguous();
    std::byte* bytes = direct != nullptr ? direct : joined.data();
    store_.load(store_.slot(page), bytes);
    if (writes_in_flight_ > 0) overlay_in_flight(page, bytes);
    if (direct == nullptr) cursor.put(joined);
  }
}

// A read that overlaps writes in flight sees each of their sectors old or new.
void Disk::overlay_in_flight(std::uint64_t page, std::byte* bytes) noexcept {
  const std::uint64_t at = page * kPage;
  in_flight_.for_each([&](Pending& pending) {
    const IoRequest& write = *pending.request;
    if (!changes(write.op) || at < write.offset || at >= write.offset + write.length) return;
    const auto sectors = static_cast<std::uint8_t>(random_.next() >> 32);
    if (write.op != IoOp::write) {
      copy_sectors(bytes, nullptr, sectors);
      return;
    }
    PageCursor cursor(write.segments);
    PageBytes joined;
    cursor.skip(at - write.offset);
    copy_sectors(bytes, cursor.next(joined), sectors);
  });
}

// ---- writes and their fate -------------------------------------------------------------------------------------------

std::uint8_t Disk::draw_sectors(Fate fate) noexcept {
  if (fate == Fate::torn) return static_cast<std::uint8_t>(random_.next() >> 32);
  return fate == Fate::kept ? kAllSectors : 0;
}

// Performs a write, write_zeroes or discard, or the part of it that its fate leaves.
void Disk::write(const IoRequest& request, Fate fate, bool durable) noexcept {
  ++write_number_;
  const std::uint64_t end = (request.offset + request.length) / kPage;
  if (request.op != IoOp::write) {
    // Pages that were never written are zero and have nothing to lose.
    for (auto page = store_.next_written(request.offset / kPage); page < end; page = store_.next_written(page + 1)) {
      change_page(page, nullptr, draw_sectors(fate), durable);
    }
    return;
  }
  PageCursor cursor(request.segments);
  PageBytes joined;
  for (std::uint64_t page = request.offset / kPage; page < end; ++page) {
    change_page(page, cursor.next(joined), draw_sectors(fate), durable);
  }
}

// bytes: null for zeroes.
void Disk::change_page(std::uint64_t page, const std::byte* bytes, std::uint8_t sectors, bool durable) {
  if (sectors == 0) return;
  PageBytes mixed;
  if (sectors != kAllSectors) {
    store_.load(store_.slot(page), mixed.data());
    copy_sectors(mixed.data(), bytes, sectors);
    bytes = mixed.data();
  }
  const SectorStore::Slot after = bytes == nullptr ? SectorStore::kZero : store_.make(bytes);
  const SectorStore::Slot before = store_.exchange(page, after);
  const bool cache_empty = cache_begin_ == cache_end_;
  // A durable write is remembered too when older ones of the page may be: they must not come back in its place.
  if (cache_limit_ == 0 || (durable && cache_empty)) {
    store_.release(before);
  } else if (durable || before != SectorStore::kZero || after != SectorStore::kZero) {
    remember(page, before, durable);
  }
}

void Disk::remember(std::uint64_t page, SectorStore::Slot before, bool durable) {
  const std::uint64_t used = cache_end_ - cache_begin_;
  if (used == cache_limit_) {
    make_durable_until(cache_begin_ + 1);
  } else if (used == cache_.size()) {
    std::vector<Cached> larger(std::max<std::size_t>(64, cache_.size() * 2));
    for (std::uint64_t i = cache_begin_; i < cache_end_; ++i) larger[i & (larger.size() - 1)] = cached(i);
    cache_ = std::move(larger);
  }
  cached(cache_end_++) = Cached{write_number_, page, before, durable};
}

void Disk::make_durable_until(std::uint64_t end) noexcept {
  for (; cache_begin_ < end; ++cache_begin_) store_.release(cached(cache_begin_).before);
}

void Disk::abandon(const NodeScheduler& scheduler) noexcept {
  if (handle_ == nullptr || &handle_->scheduler() != &scheduler) return;
  while (!in_flight_.empty()) {
    Pending& pending = in_flight_.front();
    const IoRequest& request = *pending.request;
    give_back(pending);
    if (!changes(request.op)) continue;
    const Fate fate = draw_fate();
    write(request, fate, false);
  }
  handle_->die();
  handle_ = nullptr;
}

void Disk::power_loss() noexcept {
  CHECK(handle_ == nullptr, "a disk loses power after the process that uses it has ended");
  // Back to what is durable, so that each entry holds what its write made; then forward again, by what each write's fate is.
  for (std::uint64_t i = cache_end_; i-- > cache_begin_;) {
    Cached& entry = cached(i);
    entry.before = store_.exchange(entry.page, entry.before);
  }
  Fate fate = Fate::kept;
  std::uint64_t drawn_for = 0;
  for (; cache_begin_ < cache_end_; ++cache_begin_) {
    const Cached& entry = cached(cache_begin_);
    if (entry.write != drawn_for) fate = draw_fate();
    drawn_for = entry.write;
    settle(entry, entry.before, entry.durable ? Fate::kept : fate);
  }
}

// Gives the page the sectors of `after` (owned here) that the fate leaves.
void Disk::settle(const Cached& entry, SectorStore::Slot after, Fate fate) {
  const std::uint8_t sectors = draw_sectors(fate);
  if (sectors == kAllSectors) {
    store_.release(store_.exchange(entry.page, after));
    return;
  }
  if (sectors != 0) {
    PageBytes mixed;
    PageBytes written;
    store_.load(store_.slot(entry.page), mixed.data());
    store_.load(after, written.data());
    copy_sectors(mixed.data(), written.data(), sectors);
    store_.release(store_.exchange(entry.page, store_.make(mixed.data())));
  }
  store_.release(after);
}

void Disk::peek(std::uint64_t offset, std::span<std::byte> bytes) const {
  CHECK(offset % kPage == 0 && bytes.size() % kPage == 0 && offset + bytes.size() <= size_bytes_);
  for (std::size_t at = 0; at < bytes.size(); at += kPage) store_.load(store_.slot((offset + at) / kPage), &bytes[at]);
}

void Disk::poke(std::uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(offset % kPage == 0 && bytes.size() % kPage == 0 && offset + bytes.size() <= size_bytes_);
  ++write_number_;
  for (std::size_t at = 0; at < bytes.size(); at += kPage) {
    change_page((offset + at) / kPage, &bytes[at], kAllSectors, true);
  }
}

Disk::Pending& Disk::take_pending() {
  if (free_.empty()) {
    pendings_.push_back(std::make_unique<Pending>(*this));
    return *pendings_.back();
  }
  Pending& pending = *free_.back();
  free_.pop_back();
  return pending;
}

void Disk::give_back(Pending& pending) noexcept {
  world_.cancel(pending);
  pending.unlink();
  --in_flight_count_;
  if (changes(pending.request->op)) --writes_in_flight_;
  free_.push_back(&pending);
}

}  // namespace resilver::sim
