#include "tools/volume_offline.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "service/device_words.h"
#include "tools/volume_storage.h"

namespace resilver::tools {
namespace {

constexpr Nanos kLockTimeout = 5 * kSecond;

Task<Status> format_state(uring::RealEnv& env, std::string path, replica::ArbiterState state) {
  auto device = co_await env.open_disk(path, env.scheduler().now() + kLockTimeout);
  if (!device) co_return std::unexpected(device.error());
  replica::ArbiterStore store(env, **device);
  const Errc status = co_await store.format(state);
  if (status != Errc::ok) co_return fail(status, path + ": cannot be written");
  co_return Status{};
}

Status give_name(const std::string& fresh, const std::string& path, bool replace) {
  if (renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD, path.c_str(), replace ? 0 : RENAME_NOREPLACE) == 0)
    return uring::sync_directory(path);
  return fail(errno == EEXIST ? Errc::exists : Errc::io, path + ": " + std::strerror(errno));
}

}  // namespace

Task<Status> Offline::for_each_copy(bool read_only, CopyWork work) const {
  for (const replica::NodeId id : nodes) {
    const service::NodeEntry& node = config.nodes[id];
    NodeStorage storage(env, signal, command);
    Status done = co_await storage.open(node, read_only ? NodeStorage::Mode::read_only : NodeStorage::Mode::read_write);
    if (!done && done.error().code == Errc::busy) done.error().what += fmt::format("; stop node {} first", node.name);
    if (done) {
      done = co_await work(id, storage.device());
      if (!done) done.error().what = fmt::format("{} ({}): {}", node.name, storage_label(node), done.error().what);
    }
    const Status closed = co_await storage.close();
    if (done) done = closed;
    if (!done) co_return done;
  }
  co_return Status{};
}

bool is_image(const service::NodeEntry& node) {
  struct stat there;
  return node.array.empty() && stat(node.device.c_str(), &there) == 0 && S_ISREG(there.st_mode);
}

Status Offline::extend_images(std::uint64_t bytes, std::uint64_t reserved_from) const {
  for (const replica::NodeId id : nodes) {
    const std::string& path = config.nodes[id].device;
    if (!is_image(config.nodes[id])) continue;
    if (Status extended = uring::extend_image(path, bytes); !extended) return extended;
    if (Status reserved = uring::reserve(path, reserved_from, bytes - reserved_from); !reserved) return reserved;
  }
  return {};
}

Task<Status> write_arbiter_state(uring::RealEnv& env, std::string path, replica::ArbiterState state, bool replace) {
  const std::string fresh = path + ".new";
  unlink(fresh.c_str());
  Status done = uring::create_image(fresh, replica::kArbiterStateBytes, uring::Allocation::zeroed);
  if (!done) co_return done;
  done = co_await format_state(env, fresh, std::move(state));
  if (done) done = give_name(fresh, path, replace);
  if (!done) unlink(fresh.c_str());
  co_return done;
}

}  // namespace resilver::tools
