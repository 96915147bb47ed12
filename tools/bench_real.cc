// resilver bench in real time: an array on images through one ring, one round after the other.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "async/sync.h"
#include "tools/bench_load.h"
#include "tools/bench_work.h"
#include "uring/image.h"
#include "uring/real_env.h"

namespace resilver::tools {
namespace {

constexpr Nanos kLockTimeout = 2 * kSecond;
constexpr std::uint64_t kArenaUnit = 2 * kMiB;
constexpr std::size_t kArrayMemory = 48 * kMiB;  // stripes, windows, metadata
constexpr unsigned kCpuBoundPercent = 90;        // of one core

Nanos nanos(const timeval& time) noexcept { return time.tv_sec * kSecond + time.tv_usec * kMicrosecond; }

Nanos cpu_time() noexcept {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return nanos(usage.ru_utime) + nanos(usage.ru_stime);
}

// From its construction to stop(): wall time, CPU time and what the members were asked.
class Meter {
 public:
  Meter(const Scheduler& scheduler, const raid::Array& array)
      : scheduler_(scheduler), array_(array), members_(members()), cpu_(cpu_time()), wall_(scheduler.now()) {}

  void stop(Measure& measure) const {
    measure.wall = std::max<Nanos>(scheduler_.now() - wall_, 1);
    measure.cpu = std::max<Nanos>(cpu_time() - cpu_, 1);
    const raid::IoCounters now = members();
    measure.members.reads = now.reads - members_.reads;
    measure.members.writes = now.writes - members_.writes;
    measure.members.read_bytes = now.read_bytes - members_.read_bytes;
    measure.members.write_bytes = now.write_bytes - members_.write_bytes;
  }

 private:
  raid::IoCounters members() const {
    raid::IoCounters sum;
    for (const raid::IoCounters& io : array_.status().io) {
      sum.reads += io.reads;
      sum.writes += io.writes;
      sum.read_bytes += io.read_bytes;
      sum.write_bytes += io.write_bytes;
    }
    return sum;
  }

  const Scheduler& scheduler_;
  const raid::Array& array_;
  raid::IoCounters members_;
  Nanos cpu_;
  Nanos wall_;
};

class UntilFull final : public raid::ArrayListener {
 public:
  explicit UntilFull(Scheduler& scheduler) : changed_(scheduler) {}
  void on_event(const raid::ArrayEvent& event) override {
    failed_ = failed_ || event.kind == raid::EventKind::array_failed;
    if (failed_ || event.kind == raid::EventKind::redundancy_full) changed_.wake_all();
  }
  Task<Status> wait(const raid::Array& array) {
    while (!failed_ && !array.redundancy_full()) co_await changed_.wait();
    if (failed_) co_return fail(Errc::unavailable, "the array failed while it was rebuilt");
    co_return Status{};
  }

 private:
  Event changed_;
  bool failed_ = false;
};

bool cpu_bound(const Measure& measure) noexcept { return measure.cpu * 100 >= measure.wall * kCpuBoundPercent; }

std::string limit_of_pass(const Measure& measure, const raid::Array& array) {
  const raid::LimitedBy limit = array.status().last_recovery.limited_by;
  if (limit != raid::LimitedBy::set_limit && cpu_bound(measure)) return "CPU of one core";
  return raid::name(limit);
}

}  // namespace

// ---- images ----------------------------------------------------------------------------------------------------------

struct RealBench::Inside {
  explicit Inside(const BenchPlan& p) : plan(p) {}

  std::size_t images() const noexcept {
    const bool journal = plan.consistency == raid::Consistency::journal;
    return plan.disks + (plan.kind == BenchKind::rebuild ? plan.lost : 0) + (journal ? 1 : 0);
  }
  Status make_environment();
  Status open_all();
  Status make_images();
  Task<Status> open(std::string path, std::string disk_name);
  Task<Result<Measure>> round();
  Task<Result<Measure>> work(raid::Array& array, UntilFull& listener);
  Task<Status> io(raid::Array& array, Measure& measure);
  Task<Status> rebuild(raid::Array& array, UntilFull& listener, Measure& measure);
  Task<Status> scrub(raid::Array& array, Measure& measure);

  BenchPlan plan;
  std::unique_ptr<uring::RealEnv> env;
  std::vector<std::unique_ptr<BlockDevice>> devices;
  std::vector<raid::MemberDisk> disks;  // members, spares, journal
};

Status RealBench::Inside::make_environment() {
  uring::RealOptions options;
  const std::uint64_t load = plan.kind == BenchKind::io ? 2 * plan.iodepth * plan.bs : 0;
  options.arena_bytes = (kArrayMemory + load + kArenaUnit - 1) / kArenaUnit * kArenaUnit;
  auto made = uring::RealEnv::create(options);
  if (!made) return std::unexpected(made.error());
  env = std::move(*made);
  return {};
}

Task<Status> RealBench::Inside::open(std::string path, std::string disk_name) {
  auto device = co_await env->open_disk(path, env->scheduler().now() + kLockTimeout);
  if (!device) co_return std::unexpected(device.error());
  devices.push_back(std::move(*device));
  disks.push_back({std::move(disk_name), devices.back().get()});
  co_return Status{};
}

Status RealBench::Inside::make_images() {
  if (auto room = uring::check_room(plan.dir, images() * plan.size); !room) return room;
  for (std::size_t i = 0; i < images(); ++i) {
    const int fd = ::open(plan.dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
      if (errno == EOPNOTSUPP || errno == EISDIR)
        return fail(Errc::unsupported, plan.dir + ": its file system has no files without a name");
      const bool denied = errno == EACCES || errno == EPERM || errno == EROFS;
      return fail(denied ? Errc::permission : Errc::not_found, fmt::format("{}: {}", plan.dir, std::strerror(errno)));
    }
    Status opened;
    if (ftruncate(fd, static_cast<off_t>(plan.size)) != 0) {
      opened = fail(Errc::no_space, fmt::format("{}: {}", plan.dir, std::strerror(errno)));
    } else {
      opened = env->ring().run(open(fmt::format("/proc/self/fd/{}", fd), fmt::format("disk{}", i)));
    }
    close(fd);
    if (!opened) return opened;
  }
  return {};
}

Status RealBench::Inside::open_all() {
  if (plan.devices.empty()) return make_images();
  if (plan.devices.size() != images())
    return fail(Errc::invalid_argument,
                fmt::format("{} devices are needed (members, spares, journal), not {}", images(), plan.devices.size()));
  for (const std::string& path : plan.devices)
    if (auto opened = env->ring().run(open(path, path)); !opened) return opened;
  return {};
}

namespace {

// Every byte is written once, so that what is measured only overwrites.
Task<Status> fill(BufferPool& pool, BlockDevice& device) {
  Buffer zeroes = pool.allocate(BufferPool::kMaxBlock);
  if (!zeroes) co_return fail(Errc::limit, "no memory for a buffer");
  std::memset(zeroes.data(), 0, zeroes.size());
  for (std::uint64_t at = 0; at < device.size_bytes();) {
    const std::uint64_t bytes = std::min<std::uint64_t>(zeroes.size(), device.size_bytes() - at);
    const Errc outcome = co_await Io::write(device, at, zeroes.slice(0, bytes));
    if (outcome != Errc::ok) co_return fail(outcome, "an image cannot be written");
    at += bytes;
  }
  const Errc outcome = co_await Io::flush(device);
  if (outcome != Errc::ok) co_return fail(outcome, "an image cannot be flushed");
  co_return Status{};
}

}  // namespace

RealBench::RealBench(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}

RealBench::~RealBench() {
  inside_->devices.clear();
  inside_->env.reset();
}

Result<std::unique_ptr<RealBench>> RealBench::create(const BenchPlan& plan) {
  std::unique_ptr<RealBench> bench(new RealBench(std::make_unique<Inside>(plan)));
  Inside& inside = *bench->inside_;
  if (auto made = inside.make_environment(); !made) return std::unexpected(made.error());
  if (auto opened = inside.open_all(); !opened) return std::unexpected(opened.error());
  for (auto& device : inside.devices) {
    if (!plan.devices.empty()) break;  // the caller's own: what they hold may matter (see tests/bench)
    auto filled = inside.env->ring().run(fill(inside.env->buffers(), *device));
    if (!filled) return std::unexpected(filled.error());
  }
  return bench;
}

// ---- one round -------------------------------------------------------------------------------------------------------

Task<Status> RealBench::Inside::io(raid::Array& array, Measure& measure) {
  for (std::uint32_t i = 0; i < plan.lost; ++i)
    if (auto failed = co_await array.fail_member(disks[i].name); !failed) co_return failed;
  LoadOptions options;
  options.min_bytes = options.max_bytes = plan.bs;
  options.depth = plan.iodepth;
  options.write_percent = write_percent(plan);
  options.sequential = sequential(plan);
  Load load(env->scheduler(), env->buffers(), array, options);
  const Meter meter(env->scheduler(), array);
  co_await load.run(plan.runtime);
  meter.stop(measure);
  if (load.error() != Errc::ok) co_return fail(load.error(), "a request failed");
  measure.ops = load.ops();
  measure.bytes = load.bytes();
  measure.limited_by = cpu_bound(measure) ? "CPU of one core" : fmt::format("images at QD {}", plan.iodepth);
  co_return Status{};
}

// From the moment that the first spare is given until redundancy is full.
Task<Status> RealBench::Inside::rebuild(raid::Array& array, UntilFull& listener, Measure& measure) {
  for (std::uint32_t i = 0; i < plan.lost; ++i)
    if (auto failed = co_await array.fail_member(disks[i].name); !failed) co_return failed;
  const Meter meter(env->scheduler(), array);
  for (std::uint32_t i = 0; i < plan.lost; ++i)
    if (auto added = co_await array.add_disk(disks[plan.disks + i]); !added) co_return added;
  if (auto full = co_await listener.wait(array); !full) co_return full;
  meter.stop(measure);
  measure.bytes = array.geometry().member_bytes() * plan.lost;
  measure.limited_by = limit_of_pass(measure, array);
  co_return Status{};
}

Task<Status> RealBench::Inside::scrub(raid::Array& array, Measure& measure) {
  const Meter meter(env->scheduler(), array);
  if (auto scrubbed = co_await array.scrub({}); !scrubbed) co_return scrubbed;
  meter.stop(measure);
  if (array.status().mismatch_sectors != 0) co_return fail(Errc::corrupt, "the scrub found mismatches");
  measure.bytes = array.geometry().member_bytes() * plan.disks;
  measure.limited_by = limit_of_pass(measure, array);
  co_return Status{};
}

Task<Result<Measure>> RealBench::Inside::work(raid::Array& array, UntilFull& listener) {
  Measure measure;
  Status status;
  switch (plan.kind) {
    case BenchKind::io: status = co_await io(array, measure); break;
    case BenchKind::rebuild: status = co_await rebuild(array, listener, measure); break;
    case BenchKind::scrub: status = co_await scrub(array, measure); break;
  }
  if (!status) co_return std::unexpected(status.error());
  co_return measure;
}

Task<Result<Measure>> RealBench::Inside::round() {
  raid::ArrayDisks given;
  given.members.assign(disks.begin(), disks.begin() + plan.disks);
  if (plan.consistency == raid::Consistency::journal) given.journal = disks.back();
  UntilFull listener(env->scheduler());  // outlives the array
  auto array = co_await raid::Array::create(env->scheduler(), env->buffers(), env->random(), array_config(plan),
                                            std::move(given), true);
  if (!array) co_return std::unexpected(array.error());
  (*array)->set_listener(&listener);
  Result<Measure> measure = co_await work(**array, listener);
  co_await (*array)->stop();
  co_return measure;
}

Result<Measure> RealBench::round() { return inside_->env->ring().run(inside_->round()); }

}  // namespace resilver::tools
