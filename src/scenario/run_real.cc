#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "async/task_group.h"
#include "scenario/expect.h"
#include "scenario/real_fleet.h"
#include "scenario/run.h"
#include "uring/image.h"
#include "uring/real_env.h"

namespace resilver::scenario {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{128} << 20;
constexpr std::uint64_t kSlackBytes = std::uint64_t{64} << 20;  // logs, configurations, the file system's own

// A directory for images, removed at the end unless it was given or is to be kept.
class WorkDir {
 public:
  static Result<WorkDir> make(const RunOptions& options) {
    if (!options.work_dir.empty()) {
      struct stat directory{};
      const bool there = stat(options.work_dir.c_str(), &directory) == 0;
      if (there && !S_ISDIR(directory.st_mode)) errno = ENOTDIR;
      if (!there || !S_ISDIR(directory.st_mode) || access(options.work_dir.c_str(), W_OK | X_OK) != 0) {
        return fail(errno == ENOENT ? Errc::not_found : Errc::permission,
                    fmt::format("--work {}: {}", options.work_dir, std::strerror(errno)));
      }
      return WorkDir(options.work_dir, false);
    }
    const char* tmp = std::getenv("TMPDIR");
    std::string path = fmt::format("{}/resilver.XXXXXX", tmp != nullptr && *tmp != 0 ? tmp : "/var/tmp");
    if (mkdtemp(path.data()) == nullptr) {
      return fail(Errc::permission,
                  fmt::format("{}: {}; choose another place with --work DIR", path, std::strerror(errno)));
    }
    return WorkDir(path, !options.keep);
  }
  WorkDir(WorkDir&& other) noexcept : path_(std::move(other.path_)), remove_(std::exchange(other.remove_, false)) {}
  WorkDir& operator=(WorkDir&&) = delete;
  ~WorkDir() {
    if (remove_) rmdir(path_.c_str());
  }
  const std::string& path() const { return path_; }

 private:
  WorkDir(std::string path, bool remove) : path_(std::move(path)), remove_(remove) {}
  std::string path_;
  bool remove_;
};

// Can images be opened around the page cache here? Measured with a small image, which is removed again.
Task<Result<bool>> direct_io_works(uring::RealEnv& env, const std::string& directory) {
  const std::string path = directory + "/o_direct.probe";
  unlink(path.c_str());
  if (Status made = uring::create_image(path, 64 << 10, uring::Allocation::preallocated); !made) {
    co_return std::unexpected(made.error());
  }
  auto image = co_await uring::Image::open(env.ring(), path, env.scheduler().now() + kSecond);
  unlink(path.c_str());
  if (!image) co_return std::unexpected(image.error());
  co_return (*image)->direct();
}

Task<void> watch_signal(uring::StopSignal& signal, resilver::Event& interrupt) {
  if (co_await signal.wait() != 0) interrupt.set();
}

Task<Result<RunResults>> run_all(uring::RealEnv& env, uring::StopSignal& signal, const Scenario& scenario,
                                 const RunOptions& options, const std::string& work_dir) {
  RunResults results;
  results.header = make_header(scenario);
  Result<bool> direct = co_await direct_io_works(env, work_dir);
  if (!direct) {
    signal.close();
    co_return std::unexpected(direct.error());
  }
  if (!*direct) results.header.notes.push_back(work_dir + ": no O_DIRECT here; images go through the page cache");
  resilver::Event interrupt(env.scheduler());
  TaskGroup watch(env.scheduler());
  watch.spawn(watch_signal(signal, interrupt));
  for (std::size_t i = 0; i < scenario.contenders.size() && !interrupt.is_set(); ++i) {
    const ContenderSpec& contender = scenario.contenders[i];
    RealFleet fleet(env, scenario, contender, {work_dir, options.keep});
    ProgressSink progress = [&options, i, count = scenario.contenders.size()](const Progress& at) {
      if (!options.progress) return;
      Progress whole = at;
      whole.index = i;
      whole.contenders = count;
      options.progress(whole);
    };
    results.contenders.push_back(co_await run_contender(fleet, scenario, contender, options, progress, interrupt));
  }
  const bool interrupted = interrupt.is_set();
  signal.close();
  co_await watch.join();
  if (interrupted) co_return fail(Errc::cancelled, "interrupted");
  const ResultsSource source(results);
  results.verdicts = judge(scenario, source, {true, options.strict_timing});
  co_return results;
}

}  // namespace

Result<RunResults> run_real(const Scenario& scenario, const RunOptions& options) {
  if (auto fill = check_fill(scenario, options.fill_path); !fill) return std::unexpected(fill.error());
  uring::RealOptions real;
  real.arena_bytes = kArenaBytes;
  auto env = uring::RealEnv::create(real);
  if (!env) return std::unexpected(env.error());
  auto work_dir = WorkDir::make(options);
  if (!work_dir) return std::unexpected(work_dir.error());
  std::uint64_t needed = 0;
  for (const ContenderSpec& contender : scenario.contenders) {
    needed = std::max(needed, RealFleet::image_bytes(scenario, contender));
  }
  if (Status room = uring::check_room(work_dir->path(), needed + kSlackBytes); !room) {
    return std::unexpected(room.error());
  }
  auto signal = uring::StopSignal::create((*env)->ring());
  if (!signal) return std::unexpected(signal.error());
  return (*env)->ring().run(run_all(**env, **signal, scenario, options, work_dir->path()));
}

}  // namespace resilver::scenario
