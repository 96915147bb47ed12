#include "uring/real_env.h"

#include <sys/random.h>
#include <unistd.h>

#include <ctime>

namespace resilver::uring {

std::uint64_t fresh_seed() noexcept {
  std::uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) == sizeof seed) return seed;
  return static_cast<std::uint64_t>(time(nullptr)) ^ static_cast<std::uint64_t>(getpid()) << 32;
}

Result<std::unique_ptr<RealEnv>> RealEnv::create(const RealOptions& options) {
  std::unique_ptr<RealEnv> env(new RealEnv(options));
  if (env->pool_.arena().empty()) {
    return fail(Errc::limit, "not enough memory: no address space for the buffers (ulimit -v limits it)");
  }
  RingOptions ring = options.ring;
  ring.pool = &env->pool_;
  auto made = Ring::create(ring);
  if (!made) return std::unexpected(made.error());
  env->ring_ = std::move(*made);
  env->network_ = std::make_unique<TcpNetwork>(*env->ring_, env->pool_);
  return env;
}

// The ring goes first: operations in flight may hold buffers of the pool.
RealEnv::~RealEnv() {
  network_.reset();
  ring_.reset();
}

Task<Result<std::unique_ptr<BlockDevice>>> RealEnv::open_disk(std::string name, Nanos deadline) {
  auto image = co_await Image::open(*ring_, std::move(name), deadline);
  if (!image) co_return std::unexpected(image.error());
  co_return std::unique_ptr<BlockDevice>(std::move(*image));
}

}  // namespace resilver::uring
