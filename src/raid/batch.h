// Fan-out to members: leaves sent at once, one wake-up when the last is done. Lives in a coroutine frame.
//
//   Batch batch(core, Cause::data);
//   batch.read(member, offset, buffer, tag);  ...
//   co_await batch;
//   for (const Batch::Failure& failure : batch.failures()) ...
#pragma once

#include <coroutine>
#include <cstdint>
#include <span>
#include <vector>

#include "raid/leaf.h"
#include "raid/payload.h"
#include "raid/stripe_write.h"

namespace resilver::raid {

class Core;

class Batch final : LeafSink, Runnable {
 public:
  struct Failure {
    Member* member;
    std::uint32_t tag;
    IoOp op;
    Errc status;
  };

  Batch(Core& core, Cause cause) noexcept;
  ~Batch();

  // What follows is counted as this.
  void charge(Cause cause) noexcept { cause_ = cause; }

  // Offsets are in the member's data area, but for the *_raw ones: in the device. What is written to a member, and flushes,
  // go to its replacement too (Member::twin).
  void read(Member& member, std::uint64_t offset, const Buffer& buffer, std::uint32_t tag = 0);
  void write(Member& member, std::uint64_t offset, const Buffer& buffer, bool fua, std::uint32_t tag = 0);
  void read_raw(Member& member, std::uint64_t offset, const Buffer& buffer);
  void write_raw(Member& member, std::uint64_t offset, const Buffer& buffer);
  // All of `run` as one write, durable when completed; at most Leaf::kMaxSegments buffers.
  void write_run(Member& member, std::uint64_t offset, std::span<const Buffer> run);
  void transfer(IoOp op, Member& member, std::uint64_t offset, const Payload& payload, std::uint64_t at,
                std::uint64_t length, bool fua, std::uint32_t tag = 0);
  // `base`: of the stripe in the data area. Spans that lie next to each other go in one request.
  void write_spans(Member& member, std::uint64_t base, std::span<const Span> spans, bool fua);
  // discard, write_zeroes, reserve: of this member alone.
  void on_range(IoOp op, Member& member, std::uint64_t offset, std::uint64_t length);
  void flush(Member& member);
  // Room for a write, where the device may lack it.
  void reserve(Member& member, std::uint64_t offset, std::uint64_t length);

  bool await_ready() const noexcept { return pending_ == 0; }
  void await_suspend(std::coroutine_handle<> handle) noexcept { waiting_ = handle; }
  void await_resume() const noexcept {}

  const std::vector<Failure>& failures() const noexcept { return failures_; }
  // Something was not written, or not reserved, for lack of room.
  bool lacks_room() const noexcept;

 private:
  void leaf_done(Leaf& leaf) noexcept override;
  void one(IoOp op, Member& member, std::uint64_t device_offset, const Buffer& buffer, bool fua, std::uint32_t tag);

  Core& core_;
  Scheduler& scheduler_;
  Cause cause_;
  std::uint32_t pending_ = 0;
  std::coroutine_handle<> waiting_;
  std::vector<Failure> failures_;
};

}  // namespace resilver::raid
