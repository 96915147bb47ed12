// A link between real processes: a TCP proxy in the runner, on the runner's ring, that delays, limits, stalls and resets
// what passes. Needs no root and no network namespace.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "async/task.h"
#include "base/error.h"
#include "env/link_model.h"
#include "uring/ring.h"

namespace resilver::uring {

enum class Direction : std::uint8_t { to_target, from_target, both };

// Listens on a loopback address and forwards the bytes of each accepted connection to a target and back. Each direction is
// one wire (a LinkTimer) that all its connections share.
//
// Fidelity: bytes in chunks of 4 to 64 KiB, not packets; a stall is seen as silence, exactly; a connection is accepted
// before the target answers (its first byte travels two latencies later than over a real link, its accept none). Bounded:
// kMaxConnections, each with at most kMaxQueued bytes under way per direction.
class Proxy {
 public:
  static constexpr std::size_t kMaxConnections = 64;
  static constexpr std::size_t kMaxQueued = std::size_t{4} << 20;

  // `listen` and `target` as for TcpNetwork ("127.0.0.1:0": any port). The same parameters in both directions at first.
  // Errors: exists, permission, bad_input.
  static Result<std::unique_ptr<Proxy>> create(Ring& ring, std::string_view listen, std::string target,
                                               const LinkParameters& parameters);
  virtual ~Proxy() = default;  // precondition: run() has ended or was never started

  // Accepts and forwards until stop(). Once.
  virtual Task<void> run() = 0;
  // Ends run() and all connections. Idempotent.
  virtual void stop() noexcept = 0;

  virtual const std::string& address() const noexcept = 0;  // where it listens, with the real port
  virtual void set_target(std::string target) = 0;          // for connections accepted from now on

  // An unplugged cable: nothing more is delivered in this direction, not even that an end closed or died, and (once the
  // buffers are full) nothing more is taken. Connections stay; new ones get no answer, also when only one direction is
  // dropped, and those whose client gives up meanwhile never existed for the target.
  virtual void drop(Direction direction) noexcept = 0;
  // What was stalled flows again, as TCP would retransmit it. Nothing was lost.
  virtual void restore(Direction direction) noexcept = 0;
  // Every connection is reset (RST) at both ends, at once, also while dropped.
  virtual void reset() noexcept = 0;
  // From now on; what is under way keeps its time of arrival.
  virtual void set_latency(Direction direction, Nanos one_way) noexcept = 0;
  virtual void set_bandwidth(Direction direction, std::uint64_t bytes_per_second) noexcept = 0;  // 0: unlimited

  // Bytes delivered. Direction: not both.
  virtual std::uint64_t bytes(Direction direction) const noexcept = 0;
  // Reads from a socket that wanted to pass this direction so far, also those held back by a drop. Direction: not both.
  virtual std::uint64_t pieces(Direction direction) const noexcept = 0;
  virtual std::size_t connections() const noexcept = 0;
};

}  // namespace resilver::uring
