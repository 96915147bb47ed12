// The arbiter: one durable, linearizable compare-and-swap on one Record. It is asked only when something must change, so
// while nothing changes it may be down. Replicas know it by the interface below; etcd will come behind the same one.
#pragma once

#include <cstdint>
#include <string>

#include "async/sync.h"
#include "async/task.h"
#include "base/error.h"
#include "env/env.h"
#include "replica/wire.h"

namespace resilver::replica {

struct VersionedRecord {
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

  // Errors: timeout, closed, corrupt.
  virtual Task<Result<VersionedRecord>> get(Nanos deadline) = 0;

  // Replaces the record if its version is `expected`. After an Error the swap may have happened, and may even happen
  // later: the caller reads back before it acts, and asks again until the version has moved on.
  virtual Task<Result<SwapResult>> compare_and_swap(std::uint64_t expected, Record record, Nanos deadline) = 0;
};

// The built-in arbiter's client: one connection, opened when needed. Calls are served one after another.
class ArbiterClient : public Arbiter {
 public:
  ArbiterClient(Env& env, std::string address);
  Task<Result<VersionedRecord>> get(Nanos deadline) override;
  Task<Result<SwapResult>> compare_and_swap(std::uint64_t expected, Record record, Nanos deadline) override;

 private:
  Task<Result<ArbiterAnswer>> call(Message request, std::uint64_t id, Nanos deadline);

  Env& env_;
  std::string address_;
  Mutex busy_;
  std::unique_ptr<Connection> connection_;
  std::uint64_t next_id_ = 1;
};

// Serves the record kept on `state` (at least kArbiterStateBytes; new zeroed devices hold a virgin record) until `stop`:
// two checksummed slots written in turn with FUA, so that a torn write leaves the other. Returns an error if the device
// cannot be read or written (nothing was answered that is not durable) or holds something else (corrupt). Closes the listener.
inline constexpr std::uint64_t kArbiterStateBytes = 2 * kBlockBytes;
Task<Status> serve_arbiter(Env& env, Listener& listener, BlockDevice& state, Event& stop);

}  // namespace resilver::replica
