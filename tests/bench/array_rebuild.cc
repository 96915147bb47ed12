// array_rebuild LEVEL MEMBER... SPARE...: fails the first member (RAID 6: the first two) of a healthy array on the images of
// prepare and times how long the spares take to replace them, unpaced, without other I/O: from the moment that the first
// spare is given until redundancy is full.
#include <memory>
#include <string>
#include <vector>

#include "async/sync.h"
#include "measure.h"
#include "raid/array.h"
#include "rebuild_work.h"
#include "uring/real_env.h"

namespace {

using namespace resilver;
using bench::die;
using Disks = std::vector<std::unique_ptr<BlockDevice>>;

class UntilFull : public raid::ArrayListener {
 public:
  explicit UntilFull(Scheduler& scheduler) : full_(scheduler) {}
  void on_event(const raid::ArrayEvent& event) override {
    if (event.kind == raid::EventKind::redundancy_full) full_.wake_all();
    if (event.kind == raid::EventKind::array_failed) die("the array failed");
  }
  Task<void> wait(const raid::Array& array) {
    while (!array.redundancy_full()) co_await full_.wait();
  }

 private:
  Event full_;
};

Task<std::vector<raid::MemberDisk>> open_disks(uring::RealEnv& env, Disks& disks, const std::vector<std::string>& paths) {
  std::vector<raid::MemberDisk> members;
  for (const auto& path : paths) {
    auto image = co_await env.open_disk(path, env.scheduler().now() + kSecond);
    if (!image) die(image.error().what.c_str());
    disks.push_back(std::move(*image));
    members.push_back({path, disks.back().get()});
  }
  co_return members;
}

Task<void> rebuild(uring::RealEnv& env, const bench::RebuildWork& work) {
  Disks disks;
  const auto members = co_await open_disks(env, disks, work.members);
  const auto spares = co_await open_disks(env, disks, work.spares);

  raid::ArrayConfig config;
  config.level = work.raid6 ? raid::Level::raid6 : raid::Level::raid5;
  config.chunk_bytes = bench::kChunk;
  config.tuning.window_depth = bench::kDepth;
  UntilFull listener(env.scheduler());  // outlives the array
  auto created =
      co_await raid::Array::create(env.scheduler(), env.buffers(), env.random(), config, {members, {}, {}}, true);
  if (!created) die(created.error().what.c_str());
  raid::Array& array = **created;
  array.set_listener(&listener);

  for (unsigned i = 0; i < work.lost(); ++i)
    if (auto failed = co_await array.fail_member(members[i].name); !failed) die(failed.error().what.c_str());
  bench::Meter meter;
  meter.start();
  for (const auto& spare : spares)
    if (auto added = co_await array.add_disk(spare); !added) die(added.error().what.c_str());
  co_await listener.wait(array);
  meter.stop();

  const std::uint64_t bytes = array.geometry().member_bytes() * work.lost();
  meter.print(bytes / bench::kWindow, bytes);
  co_await array.stop();
}

}  // namespace

int main(int argc, char** argv) {
  const bench::RebuildWork work = bench::rebuild_work(argc, argv);
  auto env = uring::RealEnv::create({});
  if (!env) die(env.error().what.c_str());
  (*env)->ring().run(rebuild(**env, work));
}
