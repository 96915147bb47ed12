// Env of the real world: what one process has, on one ring and thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "env/env.h"
#include "uring/image.h"
#include "uring/ring.h"
#include "uring/tcp.h"

namespace resilver::uring {

// From the system's randomness.
std::uint64_t fresh_seed() noexcept;

struct RealOptions {
  std::size_t arena_bytes = std::size_t{64} << 20;  // for payload; a multiple of 2 MiB; resident once it is registered
  std::uint64_t seed = fresh_seed();                // of what must never come twice: ids, nonces
  RingOptions ring;                                 // its pool is filled in
};

class RealEnv final : public Env {
 public:
  // Errors: those of Ring::create.
  static Result<std::unique_ptr<RealEnv>> create(const RealOptions& options);
  ~RealEnv() override;  // precondition: disks, connections and buffers are gone

  Scheduler& scheduler() noexcept override { return *ring_; }
  BufferPool& buffers() noexcept override { return pool_; }
  Network& network() noexcept override { return tcp(); }
  Random& random() noexcept override { return random_; }
  Task<Result<std::unique_ptr<BlockDevice>>> open_disk(std::string name, Nanos deadline) override;

  Ring& ring() noexcept { return *ring_; }
  TcpNetwork& tcp() noexcept { return *network_; }

 private:
  explicit RealEnv(const RealOptions& options) : pool_(options.arena_bytes), random_(options.seed) {}
  BufferPool pool_;
  Random random_;
  std::unique_ptr<Ring> ring_;
  std::unique_ptr<TcpNetwork> network_;
};

}  // namespace resilver::uring
