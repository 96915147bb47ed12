// A device in memory, for tests of what lies on it: blocks that cannot be read or written, and power that goes at a chosen
// write. What is on it (Content) outlives it; copies of a content share what they do not change.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "env/env.h"
#include "tests/support/test_scheduler.h"

namespace resilver::replica {

class Content {
 public:
  explicit Content(std::uint64_t bytes) : bytes_(bytes) { CHECK(bytes % kBlockBytes == 0); }

  std::uint64_t size_bytes() const noexcept { return bytes_; }
  void resize(std::uint64_t bytes) {
    bytes_ = bytes;
    blocks_.erase(blocks_.lower_bound(bytes / kBlockBytes), blocks_.end());
  }
  void read(std::uint64_t offset, std::span<std::byte> to) const {
    for_each_block(offset, to.size(), [&](std::uint64_t block, std::size_t from, std::size_t at, std::size_t n) {
      std::memcpy(to.data() + at, bytes_of(block) + from, n);
    });
  }
  void write(std::uint64_t offset, std::span<const std::byte> bytes) {
    for_each_block(offset, bytes.size(), [&](std::uint64_t block, std::size_t to, std::size_t at, std::size_t n) {
      auto next = std::make_shared<Block>();
      std::memcpy(next->data(), bytes_of(block), kBlockBytes);
      std::memcpy(next->data() + to, bytes.data() + at, n);
      blocks_[block] = std::move(next);
    });
  }
  std::vector<std::byte> get(std::uint64_t offset, std::uint64_t length) const {
    std::vector<std::byte> bytes(length);
    read(offset, bytes);
    return bytes;
  }
  void zero(std::uint64_t offset, std::uint64_t length) {
    for_each_block(offset, length, [&](std::uint64_t block, std::size_t to, std::size_t, std::size_t n) {
      if (n < kBlockBytes) {
        write(block * kBlockBytes + to, std::vector<std::byte>(n));
      } else {
        blocks_.erase(block);
      }
    });
  }
  void flip(std::uint64_t offset, unsigned bit = 0) {
    auto byte = get(offset, 1);
    byte[0] ^= std::byte{1} << bit;
    write(offset, byte);
  }
  bool same(const Content& other, std::uint64_t offset, std::uint64_t length) const {
    for (std::uint64_t at = offset; at < offset + length; at += kBlockBytes) {
      if (std::memcmp(bytes_of(at / kBlockBytes), other.bytes_of(at / kBlockBytes), kBlockBytes) != 0) return false;
    }
    return true;
  }
  bool operator==(const Content& other) const { return bytes_ == other.bytes_ && same(other, 0, bytes_); }

  // Blocks with a medium error: a write heals one that cannot be read.
  std::set<std::uint64_t> unreadable, unwritable;

 private:
  using Block = std::array<std::byte, kBlockBytes>;
  const std::byte* bytes_of(std::uint64_t block) const {
    static constexpr Block kZeroes{};
    const auto at = blocks_.find(block);
    return at == blocks_.end() ? kZeroes.data() : at->second->data();
  }
  template <typename F>
  void for_each_block(std::uint64_t offset, std::size_t length, F&& visit) const {
    CHECK(offset + length <= bytes_);
    for (std::size_t at = 0; at < length;) {
      const std::size_t inside = (offset + at) % kBlockBytes, n = std::min(length - at, kBlockBytes - inside);
      visit((offset + at) / kBlockBytes, inside, at, n);
      at += n;
    }
  }

  std::uint64_t bytes_;
  std::map<std::uint64_t, std::shared_ptr<const Block>> blocks_;  // the others are zeroes
};

class TestDevice final : public BlockDevice {
 public:
  TestDevice(TestScheduler& scheduler, Content& content)
      : scheduler_(scheduler), content_(content), pump_(*this), size_(content.size_bytes()) {}

  // The whole write happens, nothing of it, or the front or the back half of its sectors.
  enum class Fate : std::uint8_t { kept, lost, front, back };

  std::uint64_t size_bytes() const noexcept override { return size_; }
  void submit(IoRequest& request) noexcept override {
    check_request(*this, request);
    in_flight_.push_back(&request);
    if (in_flight_.size() == 1) scheduler_.post(pump_);
    if (!changes(request)) return;
    offsets.push_back(request.offset);
    if (++writes_ == cut_at_) cut();
  }

  // Power goes when the n-th write from now (from 1) is submitted. Two bits of `fates` tell what becomes of each write in
  // flight then, the oldest in the lowest: a Fate.
  void cut_at(std::uint64_t n, std::uint64_t fates) {
    cut_at_ = writes_ + n;
    fates_ = fates;
  }
  std::uint64_t writes() const noexcept { return writes_; }
  std::size_t in_flight_at_cut() const noexcept { return cut_in_flight_; }

  Errc refuse_writes = Errc::ok;       // while set, every write ends so
  std::vector<std::uint64_t> offsets;  // of all writes, in the order in which they were submitted

 private:
  struct Pump : Runnable {
    explicit Pump(TestDevice& d) noexcept : Runnable(&Pump::turn), device(d) {}
    static void turn(Runnable& self) noexcept { static_cast<Pump&>(self).device.serve_one(); }
    TestDevice& device;
  };
  static bool changes(const IoRequest& r) { return r.op != IoOp::read && r.op != IoOp::flush; }

  void serve_one() noexcept {
    IoRequest& request = *in_flight_.front();
    in_flight_.pop_front();
    if (!in_flight_.empty()) scheduler_.post(pump_);
    request.complete(scheduler_, serve(request));
  }
  Errc serve(IoRequest& request) {
    if (request.op == IoOp::flush) return Errc::ok;
    if (request.op != IoOp::read) return change(request, Fate::kept);
    if (any(content_.unreadable, request)) return Errc::medium;
    std::uint64_t at = request.offset;
    for (const Buffer& segment : request.segments) {
      content_.read(at, segment.bytes());
      at += segment.size();
    }
    return Errc::ok;
  }
  Errc change(const IoRequest& request, Fate fate) {
    if (refuse_writes != Errc::ok) return refuse_writes;
    if (any(content_.unwritable, request)) return Errc::medium;
    if (fate == Fate::lost) return Errc::ok;
    const std::uint64_t middle = request.length / kSectorBytes / 2 * kSectorBytes;
    const std::uint64_t begin = fate == Fate::back ? middle : 0, end = fate == Fate::front ? middle : request.length;
    if (request.op != IoOp::write) content_.zero(request.offset + begin, end - begin);
    std::uint64_t at = 0;
    for (const Buffer& segment : request.segments) {
      const std::uint64_t from = std::clamp(begin, at, at + segment.size()),
                          to = std::clamp(end, from, at + segment.size());
      content_.write(request.offset + from, segment.bytes().subspan(from - at, to - from));
      at += segment.size();
    }
    for (std::uint64_t b = request.offset; b < request.offset + request.length; b += kBlockBytes)
      content_.unreadable.erase(b / kBlockBytes);
    return Errc::ok;
  }
  bool any(const std::set<std::uint64_t>& blocks, const IoRequest& request) const {
    const auto at = blocks.lower_bound(request.offset / kBlockBytes);
    return at != blocks.end() && *at < (request.offset + request.length) / kBlockBytes;
  }
  void cut() {
    for (IoRequest* request : in_flight_) {
      if (changes(*request)) (void)change(*request, static_cast<Fate>(fates_ >> (2 * cut_in_flight_++) & 3));
    }
    in_flight_.clear();
    scheduler_.kill();
  }

  TestScheduler& scheduler_;
  Content& content_;
  Pump pump_;
  std::uint64_t size_;
  std::deque<IoRequest*> in_flight_;
  std::uint64_t writes_ = 0, cut_at_ = 0, fates_ = 0;
  std::size_t cut_in_flight_ = 0;
};

// What a command has that works on devices alone.
class TestEnv final : public Env, public Network {
 public:
  explicit TestEnv(std::uint64_t seed = 1) : random_(seed) {}
  TestScheduler& scheduler() noexcept override { return scheduler_; }
  BufferPool& buffers() noexcept override { return buffers_; }
  Network& network() noexcept override { return *this; }
  Random& random() noexcept override { return random_; }
  Task<Result<std::unique_ptr<BlockDevice>>> open_disk(std::string, Nanos) override { co_return fail(Errc::not_found); }
  Task<Result<std::unique_ptr<Connection>>> connect(std::string, Nanos) override { co_return fail(Errc::closed); }
  Result<std::unique_ptr<Listener>> listen(std::string_view) override { return fail(Errc::permission); }

 private:
  BufferPool buffers_{std::size_t{8} << 20};
  TestScheduler scheduler_;
  Random random_;
};

using DeviceWork = std::function<Task<void>(TestEnv&, TestDevice&)>;

// Runs `work` on that content; false if power went.
inline bool run_on(Content& content, const DeviceWork& work) {
  TestEnv env;
  TestDevice device(env.scheduler(), content);
  return env.scheduler().run(work(env, device));
}

// How many ways of what becomes of writes in flight together are tried: all, or those in which the same becomes of each, or
// of every other one.
enum class Ways : std::uint8_t { all, few };

// Runs `work` on copies of `before`: power goes at each of its writes in turn, in every way that those in flight then can
// end. `check` is called with what is left each time.
inline void at_every_cut(const Content& before, const DeviceWork& work, const std::function<void(Content&)>& check,
                         Ways which = Ways::all) {
  constexpr std::uint64_t kFew[] = {0, 0x5555'5555, 0xaaaa'aaaa, 0xffff'ffff, 0x4444'4444, 0x1111'1111};
  for (std::uint64_t n = 1;; ++n) {
    for (std::uint64_t i = 0, ways = 1; i < ways; ++i) {
      const std::uint64_t fates = which == Ways::all ? i : kFew[i];
      Content content = before;
      TestEnv env;
      TestDevice device(env.scheduler(), content);
      device.cut_at(n, fates);
      if (env.scheduler().run(work(env, device))) return;
      const std::size_t in_flight = device.in_flight_at_cut();
      ways = which == Ways::all ? std::uint64_t{1} << (2 * in_flight) : in_flight == 1 ? 4 : std::size(kFew);
      SCOPED_TRACE("power went at write " + std::to_string(n) + ", " + std::to_string(fates));
      check(content);
      if (::testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace resilver::replica
