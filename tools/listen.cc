#include "tools/listen.h"

#include "async/sync.h"

namespace resilver::tools {

Task<Result<std::unique_ptr<uring::TcpListener>>> listen_patiently(uring::RealEnv& env, std::string address) {
  const Nanos deadline = env.scheduler().now() + 5 * kSecond;
  for (;;) {
    auto listener = env.tcp().listen_tcp(address);
    if (listener || listener.error().code != Errc::exists || env.scheduler().now() >= deadline) co_return listener;
    co_await sleep_for(env.scheduler(), 10 * kMillisecond);
  }
}

}  // namespace resilver::tools
