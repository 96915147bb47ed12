// The arbiter: one durable, linearizable compare-and-swap on one Record. While nothing changes it may be down; a
// primary asks now and then whether it is still the same one.
//
// What must never happen: an arbiter whose file was restored, copied or lost is taken for the one that was there. Rule:
// the file has an id, each start on it a key of its own, durable before the first answer. A swap names the key, the
// version and the nonce of what it replaces: a version alone comes again after a restore. Who answers on a connection
// that was opened after another one had answered is refused (two processes behind one address, a copied file). A record
// that is older than what a node knows is seen by its history (record.h): nobody obeys it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/env.h"
#include "replica/small_record.h"
#include "replica/wire.h"

namespace resilver::replica {

struct VersionedRecord {
  ArbiterKey key;             // who keeps it
  std::uint64_t version = 0;  // grows by one with each swap; 0 with a virgin record
  Record record;
};

struct SwapResult {
  bool swapped = false;
  VersionedRecord now;  // the record after this call, ours or the one that was in the way
};

class Arbiter {
 public:
  virtual ~Arbiter() = default;

  // Errors: timeout, closed (it is not there), corrupt, busy (two of them answer in turn).
  virtual Task<Result<VersionedRecord>> get(Nanos deadline) = 0;

  // Replaces the record if it is still what `expected` tells. After an Error the swap may have happened, and may even
  // happen later: the caller reads back before it acts, and asks again, with the same record, until the version has
  // moved on. Errors: as get(); bad_input (it keeps another volume's record), no_space, read_only, io (it cannot
  // write).
  virtual Task<Result<SwapResult>> compare_and_swap(VersionedRecord expected, Record record, Nanos deadline) = 0;

  // Who answered last; none: nobody did, yet.
  virtual ArbiterKey key() const = 0;
  // Whether it has answered, or was heard of.
  virtual bool knows(const ArbiterKey& key) const = 0;
  // A primary had an answer from this one, unknown here. Somebody that answers here meanwhile is the arbiter; it is if
  // nobody does.
  virtual Task<void> hear_of(ArbiterKey key, Nanos deadline) = 0;
};

// The built-in arbiter's client: one connection, opened when needed. Calls are served one after another.
class ArbiterClient : public Arbiter {
 public:
  ArbiterClient(Env& env, std::string address);
  Task<Result<VersionedRecord>> get(Nanos deadline) override;
  Task<Result<SwapResult>> compare_and_swap(VersionedRecord expected, Record record, Nanos deadline) override;
  ArbiterKey key() const override { return seen_.empty() ? ArbiterKey{} : seen_.back(); }
  bool knows(const ArbiterKey& key) const override;
  Task<void> hear_of(ArbiterKey key, Nanos deadline) override;

 private:
  Task<Result<ArbiterAnswer>> call(Message request, std::uint64_t id, Nanos deadline);
  Task<Result<ArbiterAnswer>> converse(Message request, std::uint64_t id, Nanos deadline);
  bool is_the_one(const ArbiterKey& key);
  void note(const ArbiterKey& key, std::vector<ArbiterKey>::iterator before);

  Env& env_;
  std::string address_;
  Mutex busy_;
  std::unique_ptr<Connection> connection_;
  std::vector<ArbiterKey> seen_;  // the last of them is the arbiter now; the oldest are forgotten
  bool reopen_ = false;
  std::uint64_t next_id_ = 1;
};

// ---- server ----------------------------------------------------------------------------------------------------------
// Its state: a small record (small_record.h) on the first kArbiterStateBytes of a device, or as close as a smaller one
// needs.
inline constexpr std::uint64_t kArbiterStateBytes = 5 * (std::uint64_t{1} << 20) + SmallRecord::kMostRoom;

struct ArbiterState {
  Id128 arbiter;
  std::uint64_t starts = 0;
  std::uint64_t version = 0;
  Record record;
  bool operator==(const ArbiterState&) const = default;
};

// The state of an arbiter that is not running, to be looked at or changed by an operator's command.
class ArbiterStore {
 public:
  ArbiterStore(Env& env, BlockDevice& device);
  // Errors: not_found (it holds none: zeroed, or something else), corrupt (damaged), unsupported (of an older or newer
  // version), invalid_argument (too small), limit, the device's.
  Task<Status> load(SmallRecord::Mend mend);
  Task<Errc> format(const ArbiterState& state);
  Task<Errc> store(const ArbiterState& state);
  const ArbiterState& now() const noexcept { return now_; }

 private:
  Scheduler& scheduler_;
  BufferPool& buffers_;
  BlockDevice& device_;
  SmallRecord record_;
  ArbiterState now_;
};

// Makes `device` the state of a new arbiter, with a virgin record.
Task<Status> format_arbiter(Env& env, BlockDevice& device);

// Serves the record kept on `state` until `stop`. Returns an error if the state cannot be read or is none (as
// ArbiterStore), or if its start cannot be made durable. A write that fails later is answered as such, told by `tell`
// when that begins and ends, and tried again when somebody asks. Closes the listener.
Task<Status> serve_arbiter(Env& env, Listener& listener, BlockDevice& state, Event& stop,
                           std::function<void(std::string)> tell = {});

}  // namespace resilver::replica
