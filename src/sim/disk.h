// A simulated disk: its content and its volatile cache outlive the processes that use it.
//
// Reads see every completed write; a read that overlaps a write in flight sees each sector old or new, by the seed. A write
// is in the volatile cache from its completion until a flush that was submitted after that completion has completed; a
// write in flight when the flush was submitted is not covered. FUA writes are durable at their completion. The cache is
// bounded: beyond it the oldest writes become durable by themselves. discard gives zeroes, as punching an image does.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "async/intrusive_list.h"
#include "base/random.h"
#include "env/block_device.h"
#include "env/disk_model.h"
#include "sim/sector_store.h"
#include "sim/world.h"

namespace resilver::sim {

class NodeScheduler;

struct DiskOptions {
  DiskParameters model = {};  // all zero: requests take no time (but complete later than submit())
  std::uint64_t cache_bytes = std::uint64_t{64} << 20;  // volatile write cache, a multiple of 4096
};

struct DiskCounters {
  std::uint64_t reads = 0;  // completed, as are the others
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t others = 0;  // discard, write_zeroes
  std::uint64_t read_bytes = 0;
  std::uint64_t write_bytes = 0;
};

class Disk {
 public:
  // size_bytes: a multiple of 4096, at most 16 TiB. Made by World::add_disk.
  Disk(World& world, std::string name, std::uint64_t size_bytes, const DiskOptions& options);
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  ~Disk();  // precondition: no handle is open

  const std::string& name() const noexcept { return name_; }
  std::uint32_t actor() const noexcept { return actor_; }
  std::uint64_t size_bytes() const noexcept { return size_bytes_; }
  const DiskCounters& counters() const noexcept { return counters_; }
  std::uint64_t writes_started() const noexcept { return writes_started_; }
  std::uint64_t in_flight() const noexcept { return in_flight_count_; }
  std::uint64_t unflushed_blocks() const noexcept {
    return cache_end_ - cache_begin_;
  }  // entries of the volatile cache
  std::uint64_t memory_bytes() const noexcept { return store_.memory_bytes(); }

  // A device for the process of `scheduler`. One handle at a time (the lock of an image): null while another is open.
  // A handle that is destroyed with requests in flight must belong to a killed scheduler, or none may be in flight.
  std::unique_ptr<BlockDevice> open(NodeScheduler& scheduler);
  bool is_open() const noexcept { return handle_ != nullptr; }

  // The process of `scheduler` was killed. If it has the disk open, each write in flight happens, does not happen or happens
  // in part, the other requests are forgotten, and the handle is dead. Requests and buffers must still be there.
  void abandon(const NodeScheduler& scheduler) noexcept;

  // Power is lost: each write in the volatile cache is kept, lost or torn between sectors. What is left is durable.
  // Precondition: not open (abandoned first).
  void power_loss() noexcept;

  // ---- for tests and tools: the visible content, at once, beside all timing ----
  void peek(std::uint64_t offset, std::span<std::byte> bytes) const;  // multiples of 4096
  void poke(std::uint64_t offset, std::span<const std::byte> bytes);  // durable
  std::uint64_t hash_content() const { return store_.hash(); }        // of the visible content

 private:
  class Handle;
  struct Pending;
  struct Cached {         // one page that a completed write replaced
    std::uint64_t write;  // number of the write: its fate is drawn once
    std::uint64_t page;
    SectorStore::Slot before;
    bool durable;  // FUA: kept in any case
  };
  enum class Fate : std::uint8_t { kept, lost, torn };

  void submit(Handle& handle, IoRequest& request) noexcept;
  void finish(Pending& pending) noexcept;
  void read(const IoRequest& request) noexcept;
  void overlay_in_flight(std::uint64_t page, std::byte* bytes) noexcept;
  void write(const IoRequest& request, Fate fate, bool durable) noexcept;
  void change_page(std::uint64_t page, const std::byte* bytes, std::uint8_t sectors, bool durable);
  void remember(std::uint64_t page, SectorStore::Slot before, bool durable);
  void make_durable_until(std::uint64_t end) noexcept;
  void settle(const Cached& entry, SectorStore::Slot after, Fate fate);
  Fate draw_fate() noexcept { return static_cast<Fate>(random_.below(3)); }
  std::uint8_t draw_sectors(Fate fate) noexcept;
  Pending& take_pending();
  void give_back(Pending& pending) noexcept;
  Cached& cached(std::uint64_t index) noexcept { return cache_[index & (cache_.size() - 1)]; }

  World& world_;
  std::string name_;
  std::uint32_t actor_;
  std::uint64_t size_bytes_;
  DiskTimer timer_;
  Random random_;
  SectorStore store_;
  DiskCounters counters_;
  std::uint64_t writes_started_ = 0;
  std::uint64_t write_number_ = 0;

  // Ring in the order of completion, a power of two; indexes only grow. A flush makes durable what is before its mark.
  std::vector<Cached> cache_;
  std::uint64_t cache_limit_;  // entries
  std::uint64_t cache_begin_ = 0;
  std::uint64_t cache_end_ = 0;

  Handle* handle_ = nullptr;
  IntrusiveList<Pending> in_flight_;  // in the order of submission
  std::uint64_t in_flight_count_ = 0;
  std::uint64_t writes_in_flight_ = 0;
  std::vector<std::unique_ptr<Pending>> pendings_;
  std::vector<Pending*> free_;
};

}  // namespace resilver::sim
