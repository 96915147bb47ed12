// The client of the crash tests: what it asks for, and what it may therefore find after a crash.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "async/task_group.h"
#include "tests/raid_array/rig.h"

namespace resilver::raid {

// What each 4096-byte block may hold: its durable version, or one that was written since. Version 0 is zeroes.
class Ledger {
 public:
  struct Block {
    std::uint64_t durable = 0;
    std::vector<std::uint64_t> possible;  // written since, or being written, in the order of the writes
    std::uint64_t completed = 0;          // the newest version whose write has ended
  };
  using Mark = std::vector<std::uint64_t>;

  void resize(std::uint64_t bytes) { blocks_.resize(bytes / kBlockBytes); }
  std::uint64_t size() const noexcept { return blocks_.size(); }
  const Block& block(std::uint64_t index) const { return blocks_[index]; }

  void begin_write(std::uint64_t at, std::uint64_t count, std::uint64_t version) {
    for (std::uint64_t i = at; i < at + count; ++i) blocks_[i].possible.push_back(version);
  }
  void end_write(std::uint64_t at, std::uint64_t count, std::uint64_t version, bool fua) {
    for (std::uint64_t i = at; i < at + count; ++i) {
      blocks_[i].completed = version;
      if (fua) settle(blocks_[i], version);
    }
  }
  // A flush makes durable what had completed when it was submitted.
  Mark begin_flush() const {
    Mark mark;
    for (const Block& block : blocks_) mark.push_back(block.completed);
    return mark;
  }
  void end_flush(const Mark& mark) {
    for (std::size_t i = 0; i < blocks_.size(); ++i) settle(blocks_[i], mark[i]);
  }

 private:
  static void settle(Block& block, std::uint64_t version) {
    const auto found = std::find(block.possible.begin(), block.possible.end(), version);
    if (found == block.possible.end()) return;
    block.durable = version;
    block.possible.erase(block.possible.begin(), found + 1);
  }
  std::vector<Block> blocks_;
};

// One step of the client's work. Writes that are in flight together do not overlap.
struct Step {
  enum class Kind : std::uint8_t { write, flush, join, idle };
  Kind kind = Kind::join;
  std::uint64_t at = 0;     // blocks
  std::uint64_t count = 0;  // blocks
  bool fua = false;
};

// `rounds` rounds over an array that has been written before: single blocks, parts of chunks, several chunks, whole stripes,
// some FUA; up to four in flight together, then mostly a flush, sometimes beside writes, sometimes a time without writes.
inline std::vector<Step> make_script(std::uint64_t seed, std::uint64_t blocks, std::uint64_t stripe,
                                     std::uint64_t chunk, unsigned rounds) {
  std::vector<Step> script;
  Random random(seed);
  unsigned shape = 0;
  for (unsigned round = 0; round < rounds; ++round) {
    const std::size_t first = script.size();
    for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
      std::uint64_t count = 1, grid = 1;
      switch (shape++ % 6) {
        case 0: break;
        case 1: count = 1 + chunk / 2; break;
        case 2: break;
        case 3: count = grid = stripe; break;
        case 4: count = chunk + 1 + random.below(chunk); break;
        case 5: count = std::min(stripe + chunk, blocks); break;
      }
      const Step step{Step::Kind::write, random.below((blocks - count) / grid + 1) * grid, count, random.percent(25)};
      const bool apart = std::none_of(script.begin() + first, script.end(), [&](const Step& other) {
        return other.kind == Step::Kind::write && step.at < other.at + other.count && other.at < step.at + step.count;
      });
      if (!apart) continue;
      script.push_back(step);
      if (random.percent(15)) script.push_back({Step::Kind::flush});
    }
    script.push_back({Step::Kind::join});
    if (random.percent(60)) script.push_back({Step::Kind::flush});
    script.push_back({Step::Kind::join});
    if (random.percent(25)) script.push_back({Step::Kind::idle});
  }
  return script;
}

class Client {
 public:
  Client(Env& env, BlockDevice& device, Ledger& ledger) : env_(env), device_(device), ledger_(ledger) {}

  Task<void> run(std::vector<Step> script) {
    TaskGroup flight(env_.scheduler());
    std::uint64_t version = 1;  // fill() was that
    for (const Step& step : script) {
      switch (step.kind) {
        case Step::Kind::write: flight.spawn(write(step, ++version)); break;
        case Step::Kind::flush: flight.spawn(flush()); break;
        case Step::Kind::join: co_await flight.join(); break;
        case Step::Kind::idle: co_await sleep_for(env_.scheduler(), 40 * kMillisecond); break;
      }
    }
    co_await flight.join();
  }
  Task<void> fill() {
    co_await write({Step::Kind::write, 0, ledger_.size()}, 1);
    co_await flush();
  }

 private:
  Task<void> write(Step step, std::uint64_t version) {
    LongIo io(env_, device_, IoOp::write, step.at * kBlockBytes, step.count * kBlockBytes, step.fua);
    std::uint64_t at = step.at * kBlockBytes;
    for (auto& buffer : io.buffers) {
      for (std::size_t i = 0; i < buffer.size(); i += kBlockBytes, at += kBlockBytes) {
        fill_block(buffer.data() + i, at, version);
      }
    }
    ledger_.begin_write(step.at, step.count, version);
    EXPECT_EQ(co_await io, Errc::ok);
    ledger_.end_write(step.at, step.count, version, step.fua);
  }
  Task<void> flush() {
    const Ledger::Mark mark = ledger_.begin_flush();
    EXPECT_EQ(co_await Io::flush(device_), Errc::ok);
    ledger_.end_flush(mark);
  }

  Env& env_;
  BlockDevice& device_;
  Ledger& ledger_;
};

}  // namespace resilver::raid
