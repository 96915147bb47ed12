#include "sim/disk.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "sim/node.h"

namespace resilver::sim {

struct Disk::Pending : WorldEvent, ListHook {
  explicit Pending(Disk& d) noexcept : WorldEvent(&fired), disk(d) {}
  static void fired(WorldEvent& self) noexcept {
    auto& pending = static_cast<Pending&>(self);
    pending.disk.finish(pending);
  }
  Disk& disk;
  IoRequest* request = nullptr;
  std::uint64_t mark = 0;  // flush: what is cached before it becomes durable
};

// What one process holds while it has the disk open.
class Disk::Handle final : public BlockDevice {
 public:
  Handle(Disk& disk, NodeScheduler& scheduler) noexcept : disk_(&disk), scheduler_(scheduler) {}
  ~Handle() override {
    if (disk_ == nullptr) return;
    CHECK(disk_->in_flight_count_ == 0 || scheduler_.killed(), "requests are in flight");
    if (disk_->in_flight_count_ != 0) disk_->abandon();
    if (disk_ != nullptr) disk_->handle_ = nullptr;
  }
  std::uint64_t size_bytes() const noexcept override { return size_; }
  void submit(IoRequest& request) noexcept override {
    check_request(*this, request);
    if (disk_ != nullptr) disk_->submit(*this, request);
  }

  Disk* disk_;  // null once the process was killed
  NodeScheduler& scheduler_;
  std::uint64_t size_ = 0;
};

Disk::Disk(World& world, std::string name, std::uint64_t size_bytes, const DiskOptions& options)
    : world_(world),
      name_(std::move(name)),
      actor_(world.new_actor(name_)),
      size_bytes_(size_bytes),
      timer_(options.model),
      random_(world.random_for("disk " + name_)),
      store_(size_bytes),
      cache_(std::bit_ceil(std::max<std::uint64_t>(options.cache_bytes / kBlockBytes, 16))),
      cache_limit_(std::max<std::uint64_t>(options.cache_bytes / kBlockBytes, 1)) {
  CHECK(size_bytes > 0 && size_bytes % kBlockBytes == 0 && size_bytes <= std::uint64_t{16} << 40);
}

Disk::~Disk() { CHECK(handle_ == nullptr, "the disk is open"); }

std::unique_ptr<BlockDevice> Disk::open(NodeScheduler& scheduler) {
  if (handle_ != nullptr) return nullptr;
  auto handle = std::make_unique<Handle>(*this, scheduler);
  handle->size_ = size_bytes_;
  handle_ = handle.get();
  return handle;
}

Disk::Pending* Disk::take_pending() {
  if (free_.empty()) {
    pendings_.push_back(std::make_unique<Pending>(*this));
    return pendings_.back().get();
  }
  Pending* pending = free_.back();
  free_.pop_back();
  return pending;
}

void Disk::give_back(Pending& pending) noexcept {
  pending.unlink();
  pending.request = nullptr;
  --in_flight_count_;
  free_.push_back(&pending);
}

void Disk::submit(Handle&, IoRequest& request) noexcept {
  Pending& pending = *take_pending();
  pending.request = &request;
  pending.mark = cache_end_;
  in_flight_.push_back(pending);
  ++in_flight_count_;
  if (request.op != IoOp::read && request.op != IoOp::flush) {
    ++writes_started_;
    ++writes_in_flight_;
    world_.count_write();
  }
  world_.schedule(pending, timer_.complete_at(request.op, request.offset, request.length, world_.now()));
}

void Disk::finish(Pending& pending) noexcept {
  IoRequest& request = *pending.request;
  const Errc outcome = perform(pending);
  world_.trace(actor_, static_cast<TraceOp>(request.op), request.offset, request.length, outcome);
  if (request.op != IoOp::read && request.op != IoOp::flush) --writes_in_flight_;
  give_back(pending);
  request.complete(handle_->scheduler_, outcome);
}

Errc Disk::perform(Pending& pending) noexcept {
  const IoRequest& request = *pending.request;
  switch (request.op) {
    case IoOp::read:
      ++counters_.reads;
      counters_.read_bytes += request.length;
      read(request);
      break;
    case IoOp::write:
      ++counters_.writes;
      counters_.write_bytes += request.length;
      write(request, request.fua, false);
      break;
    case IoOp::flush:
      ++counters_.flushes;
      destage_until(pending.mark);
      break;
    case IoOp::discard:
    case IoOp::write_zeroes:
      ++counters_.others;
      write(request, request.fua, false);
      break;
  }
  return Errc::ok;
}

void Disk::read(const IoRequest& request) noexcept {
  std::uint64_t page = request.offset / kBlockBytes;
  for (const Buffer& segment : request.segments) {
    for (std::size_t at = 0; at < segment.size(); at += kBlockBytes, ++page) {
      store_.load(store_.get(page), segment.data() + at);
      if (writes_in_flight_ != 0) overlay_in_flight(page, segment.data() + at);
    }
  }
}

// The content that a write puts on a page; null: zeroes.
static const std::byte* content_for(const IoRequest& request, std::uint64_t page) noexcept {
  std::uint64_t at = page * kBlockBytes - request.offset;
  for (const Buffer& segment : request.segments) {
    if (at < segment.size()) return segment.data() + at;
    at -= segment.size();
  }
  return nullptr;
}

void Disk::overlay_in_flight(std::uint64_t page, std::byte* bytes) noexcept {
  in_flight_.for_each([&](Pending& other) {
    const IoRequest& request = *other.request;
    if (request.op == IoOp::read || request.op == IoOp::flush) return;
    const std::uint64_t offset = page * kBlockBytes;
    if (offset < request.offset || offset >= request.offset + request.length) return;
    const std::byte* content = content_for(request, page);
    const auto sectors = static_cast<std::uint8_t>(random_.next());
    for (std::size_t s = 0; s < SectorStore::kSectors; ++s) {
      if ((sectors >> s & 1) == 0) continue;
      if (content != nullptr) {
        std::memcpy(bytes + s * kSectorBytes, content + s * kSectorBytes, kSectorBytes);
      } else {
        std::memset(bytes + s * kSectorBytes, 0, kSectorBytes);
      }
    }
  });
}

void Disk::write(const IoRequest& request, bool durable, bool torn) noexcept {
  const std::uint64_t number = ++writes_performed_;
  for (std::uint64_t offset = request.offset; offset < request.offset + request.length; offset += kBlockBytes) {
    const std::uint64_t page = offset / kBlockBytes;
    const std::uint8_t sectors = torn ? fate() : 0xff;
    if (sectors != 0) change_page(page, content_for(request, page), sectors, number, durable);
  }
}

void Disk::change_page(std::uint64_t page, const std::byte* bytes, std::uint8_t sectors, std::uint64_t write,
                       bool durable) noexcept {
  SectorStore::Slot now;
  if (sectors == 0xff) {
    if (bytes != nullptr) now = store_.store(bytes);
  } else {
    std::byte merged[kBlockBytes];
    store_.load(store_.get(page), merged);
    for (std::size_t s = 0; s < SectorStore::kSectors; ++s) {
      if ((sectors >> s & 1) == 0) continue;
      if (bytes != nullptr) {
        std::memcpy(merged + s * kSectorBytes, bytes + s * kSectorBytes, kSectorBytes);
      } else {
        std::memset(merged + s * kSectorBytes, 0, kSectorBytes);
      }
    }
    now = store_.store(merged);
  }
  remember({write, page, store_.exchange(page, now), durable});
}

void Disk::remember(const Cached& entry) noexcept {
  if (cache_end_ - cache_begin_ == cache_limit_) destage_until(cache_begin_ + 1);
  cached(cache_end_++) = entry;
}

void Disk::destage_until(std::uint64_t end) noexcept {
  for (; cache_begin_ < end; ++cache_begin_) store_.release(cached(cache_begin_).before);
}

// Drawn per write (fate_mode_ < 0: draw the write's mode first): all of it, nothing, or sector by sector.
std::uint8_t Disk::fate() noexcept {
  if (fate_mode_ == 0) return 0xff;
  if (fate_mode_ == 1) return 0;
  return static_cast<std::uint8_t>(random_.next());
}

void Disk::abandon() noexcept {
  // In the order of submission; which of them still happens is anybody's guess.
  while (!in_flight_.empty()) {
    Pending& pending = in_flight_.front();
    world_.cancel(pending);
    const IoRequest& request = *pending.request;
    if (request.op != IoOp::read && request.op != IoOp::flush) {
      fate_mode_ = static_cast<int>(random_.below(3));
      write(request, false, true);
      --writes_in_flight_;
    }
    give_back(pending);
  }
  if (handle_ != nullptr) handle_->disk_ = nullptr;
  handle_ = nullptr;
}

void Disk::power_loss() noexcept {
  abandon();
  // From the newest to the oldest: what a newer write that survived has put on a sector stays.
  std::map<std::uint64_t, std::uint8_t> settled;
  std::uint64_t write = 0;
  for (std::uint64_t i = cache_end_; i-- > cache_begin_;) {
    const Cached& entry = cached(i);
    if (entry.write != write) {
      write = entry.write;
      fate_mode_ = static_cast<int>(random_.below(3));
    }
    std::uint8_t& kept = settled[entry.page];
    const std::uint8_t survives = entry.durable ? std::uint8_t{0xff} : fate();
    const auto undo = static_cast<std::uint8_t>(~survives & ~kept);
    kept = static_cast<std::uint8_t>(kept | survives);
    if (undo != 0) {
      std::byte now[kBlockBytes], before[kBlockBytes];
      store_.load(store_.get(entry.page), now);
      store_.load(entry.before, before);
      for (std::size_t s = 0; s < SectorStore::kSectors; ++s) {
        if (undo >> s & 1) std::memcpy(now + s * kSectorBytes, before + s * kSectorBytes, kSectorBytes);
      }
      store_.release(store_.exchange(entry.page, store_.store(now)));
    }
    store_.release(entry.before);
  }
  cache_begin_ = cache_end_;
}

void Disk::peek(std::uint64_t offset, std::span<std::byte> bytes) const {
  CHECK(offset % kBlockBytes == 0 && bytes.size() % kBlockBytes == 0);
  for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
    store_.load(store_.get((offset + at) / kBlockBytes), bytes.data() + at);
  }
}

void Disk::poke(std::uint64_t offset, std::span<const std::byte> bytes) {
  CHECK(offset % kBlockBytes == 0 && bytes.size() % kBlockBytes == 0);
  for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
    change_page((offset + at) / kBlockBytes, bytes.data() + at, 0xff, ++writes_performed_, true);
  }
}

}  // namespace resilver::sim
