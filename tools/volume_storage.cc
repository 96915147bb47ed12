#include "tools/volume_storage.h"

#include <fmt/ranges.h>

namespace resilver::tools {
namespace {

constexpr Nanos kOpenTimeout = 2 * kSecond;  // a predecessor that was killed holds the lock for a while

}  // namespace

std::string storage_label(const service::NodeEntry& node) {
  return node.array.empty() ? node.device : fmt::format("{}", fmt::join(node.array, " "));
}

Task<Status> NodeStorage::open(const service::NodeEntry& node, Mode mode) {
  label_ = storage_label(node);
  if (!node.array.empty()) co_return co_await open_array(node, mode);
  auto image =
      co_await uring::Image::open(env_.ring(), node.device, env_.scheduler().now() + kOpenTimeout,
                                  mode == Mode::read_only ? uring::Access::read_only : uring::Access::read_write);
  if (!image) co_return std::unexpected(image.error());
  image_ = std::move(*image);
  co_return Status{};
}

Task<Status> NodeStorage::open_array(const service::NodeEntry& node, Mode mode) {
  const auto place = find_place(node.array);
  if (!place) co_return std::unexpected(place.error());
  session_ = std::make_unique<ArraySession>(env_, signal_, command_);
  const uring::Access access = mode == Mode::read_only ? uring::Access::read_only : uring::Access::read_write;
  if (Status opened = co_await session_->open(*place, access); !opened) co_return opened;
  StartOptions options;
  options.read_only = mode == Mode::read_only;
  options.force = options.leave_out = mode == Mode::by_force;
  if (Status started = co_await session_->start(std::move(options)); !started) co_return started;
  assembled_ = true;
  co_return Status{};
}

Task<Status> NodeStorage::close() {
  Status stopped;
  if (session_) stopped = co_await session_->stop();
  session_.reset();
  image_.reset();
  assembled_ = false;
  co_return stopped;
}

service::Storage NodeStorage::storage() {
  if (!assembled_) return {image_.get(), label_, nullptr, {}};
  raid::Array& array = session_->array();
  return {&array, label_, &array, [&array] { return state_text(array); }};
}

}  // namespace resilver::tools
