// A volatile write cache in the memory of the process: SIGKILL then loses what a power cut would lose, which makes
// power_loss possible on real images.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "env/block_device.h"
#include "env/buffer.h"
#include "fault/proxy.h"

namespace resilver::fault {

// A write completes once it is copied into the cache. A flush writes out what was completed before it was submitted, then
// flushes the inner device; a FUA write does so for its own blocks. Nothing is written out by itself, unless a new write
// finds no room: then it waits until the oldest blocks are out. Writes of more than a quarter of the limit, discards and
// write_zeroes are not withheld: they go through, as do the flushes, one after the other.
//
// When the inner device fails to take withheld blocks, acknowledged data is lost: from then on every request ends with that
// error.
class VolatileCacheDisk final : public BlockDevice {
 public:
  static constexpr std::uint64_t kMinLimit = std::uint64_t{4} << 20;

  // limit_bytes >= kMinLimit, a multiple of 2 MiB: memory for withheld blocks, those on their way out among them.
  VolatileCacheDisk(Scheduler& scheduler, std::unique_ptr<BlockDevice> inner, std::uint64_t limit_bytes);
  ~VolatileCacheDisk() override;  // what is withheld is lost

  std::uint64_t size_bytes() const noexcept override { return inner_->size_bytes(); }
  void submit(IoRequest& request) noexcept override;
  bool busy() const noexcept override { return !idle() || inner_->busy(); }

  std::uint64_t withheld_bytes() const noexcept { return memory_.bytes_in_use(); }

 private:
  struct Read;                         // from the inner device, with cached blocks laid over it
  struct WriteBack;                    // a run of cached blocks on its way to the inner device
  struct Through;                      // the inner request of the head of waiting_
  struct Entry {                       // a block that differs from the inner device's
    Buffer dirty;                      // newest content, if not on its way
    std::uint64_t first_sequence = 0;  // oldest write in `dirty`
    std::uint64_t last_sequence = 0;   // newest write in `dirty`
    Buffer writing;                    // content on its way
  };
  using Entries = std::map<std::uint64_t, Entry>;  // by block number
  struct Waiting {
    IoRequest* request;
    std::uint64_t sequence;  // writes up to it are covered
    bool submitted;          // to the inner device
  };

  bool idle() const noexcept {  // what the inner device was given as it came aside
    return waiting_.empty() && no_room_.empty() && reads_.in_use() == 0 && write_backs_.in_use() == 0;
  }
  void read(IoRequest& request);
  bool store(IoRequest& request);
  void pump();
  bool serve_head();
  bool ready(const Waiting& head);
  void write_out_for(const Waiting& head);
  void write_out_oldest(std::uint64_t up_to);
  void write_out(Entries::iterator from);
  void written_out(WriteBack& back) noexcept;
  void through_done() noexcept;
  void read_done(Read& read) noexcept;
  void fail_all() noexcept;
  static bool waits_for(const Waiting& head, const Entry& entry) noexcept;
  bool goes_through(const IoRequest& request) const noexcept;

  Scheduler& scheduler_;
  std::unique_ptr<BlockDevice> inner_;
  BufferPool memory_;
  std::uint64_t limit_bytes_;
  std::uint64_t sequence_ = 0;  // of the last write taken in
  Entries entries_;
  std::set<std::pair<std::uint64_t, std::uint64_t>> by_age_;  // (first_sequence, block) of what is dirty
  std::deque<Waiting> waiting_;     // flushes, FUA writes, what goes through: the first one is being served
  std::deque<IoRequest*> no_room_;  // writes, in their order
  bool making_room_ = false;        // blocks are on their way out for no_room_
  Errc broken_ = Errc::ok;
  std::unique_ptr<Through> through_;
  ProxyPool<Read> reads_;
  ProxyPool<WriteBack> write_backs_;
};

}  // namespace resilver::fault
