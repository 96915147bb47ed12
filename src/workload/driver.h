// The client's load: an open loop over the client's block device. Requests start at their intended times whether or not
// earlier ones were answered, and latency counts from the intended start. Every answer goes to the oracle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "async/intrusive_list.h"
#include "async/sync.h"
#include "async/task.h"
#include "async/task_group.h"
#include "base/histogram.h"
#include "env/block_device.h"
#include "workload/generator.h"
#include "workload/oracle.h"

namespace resilver::workload {

// One request of the load when it ended, well or not.
struct LoadEnd {
  LoadKind kind = LoadKind::read;
  Nanos intended = 0;  // when it was to start; it waited since then
  Nanos ended = 0;
  Errc status = Errc::ok;
};

// Is told of every request of the load.
class LoadSink {
 public:
  virtual ~LoadSink() = default;
  virtual void began(Nanos /*now*/) noexcept {}
  virtual void ended(const LoadEnd& end) noexcept = 0;
};

// Requests that succeeded, added up.
struct LoadStats : LoadSink {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  LatencyHistogram read_latency;
  LatencyHistogram write_latency;
  Nanos longest_wait = 0;  // of all requests, also flushes and those that failed

  void ended(const LoadEnd& end) noexcept override;
  void merge(const LoadStats& other);
};

// One second of the load, by the times of completion.
struct LoadSecond {
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t errors = 0;
  Nanos latency_p50 = 0;
  Nanos latency_p99 = 0;
  Nanos latency_max = 0;
};

class Driver {
 public:
  // Gives the bytes of a file from `offset` on; returns how many, 0 at the end or after an error.
  using FillSource = std::function<std::size_t(std::uint64_t offset, std::span<std::byte> into)>;

  Driver(Scheduler& scheduler, BufferPool& buffers, BlockDevice& device, Oracle& oracle, const LoadSpec& spec,
         std::uint32_t max_inflight);

  // Writes `bytes` of fill from the oracle's fill_offset on, in order, kFillDepth pieces at a time. Stops early at `stop`.
  // Error: the first that the device gave.
  Task<Status> fill(FillSource source, std::uint64_t offset, std::uint64_t bytes, Event& stop);

  // Issues requests from `start` on until `stop`, then waits for those under way. Once.
  Task<void> run(Nanos start, Event& stop);

  // Overwrites [offset, offset + bytes) with damage, as somebody would by mistake. Returns the acknowledged writes.
  Task<std::uint64_t> overwrite(std::uint64_t offset, std::uint64_t bytes);

  // Reads back everything ever written, kReadBackDepth pieces at a time; a piece that cannot be read is read again block by
  // block. When nobody serves any more the rest counts as unreadable at once. Precondition: nothing is under way.
  Task<void> read_back(Event& stop);

  // Who is told of requests from now on; null: nobody. Must outlive its use.
  void count_in(LoadSink* sink) noexcept { sink_ = sink; }

  std::uint64_t writes_submitted() const noexcept { return writes_submitted_; }
  std::uint64_t writes_acknowledged() const noexcept { return writes_acknowledged_; }
  std::uint64_t errors() const noexcept { return errors_; }  // requests that ended as errors
  std::uint64_t bytes_moved() const noexcept { return bytes_moved_; }
  // Acknowledged; fill and overwrites included.
  std::uint64_t bytes_written() const noexcept { return bytes_written_; }
  std::uint64_t writes_done() const noexcept { return writes_done_; }

  // Closed seconds since `start` of run().
  const std::vector<LoadSecond>& seconds() const noexcept { return seconds_; }

 private:
  static constexpr std::size_t kFillDepth = 4;
  static constexpr std::size_t kReadBackDepth = 8;
  static constexpr std::uint64_t kReadBackBytes = 256 << 10;
  static constexpr int kDetours = 8;

  struct Waiting : ListHook {
    LoadOp op;
  };

  Task<void> perform(LoadOp op);
  Task<Errc> perform_read(const LoadOp& op);
  Task<Errc> perform_write(const LoadOp& op);
  Task<Errc> perform_flush();
  Task<bool> find_place(LoadOp& op, Event& stop);
  bool meet(LoadOp& op);
  Task<void> fill_piece(FillSource& source, std::uint64_t base, std::uint64_t offset, std::uint64_t length, Errc& first);
  Task<void> read_piece(Oracle::Run run);
  Task<Errc> read_and_judge(std::uint64_t offset, std::uint64_t length);
  void count(const LoadOp& op, Errc status);
  void count_written(std::uint64_t bytes) noexcept;
  void close_seconds(Nanos now);

  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  Oracle& oracle_;
  Generator generator_;
  std::uint64_t bs_;
  Semaphore places_;
  TaskGroup requests_;
  Event completed_;
  IntrusiveList<Waiting> waiting_;  // in the order of submission
  LoadSink* sink_ = nullptr;
  Nanos start_ = 0;
  std::uint64_t writes_submitted_ = 0;
  std::uint64_t writes_acknowledged_ = 0;
  std::uint64_t errors_ = 0;
  std::uint64_t bytes_moved_ = 0;
  std::uint64_t bytes_written_ = 0;
  std::uint64_t writes_done_ = 0;
  bool unserved_ = false;  // read_back found nobody
  std::vector<LoadSecond> seconds_;
  LoadSecond second_;
  LatencyHistogram second_latency_;
};

}  // namespace resilver::workload
