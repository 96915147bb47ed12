// What `resilver bench` does and what comes out: a plan, the measures of its rounds, figures made of them. bench.cc reads the
// command line, bench_real.cc works on images through a ring, bench_virtual.cc in virtual time, bench_btrfs.cc lets btrfs do
// the same work, bench_report.cc prints; compare.cc sets two reports side by side.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "base/units.h"
#include "raid/array.h"

namespace resilver::tools {

enum class BenchKind : std::uint8_t { io, rebuild, scrub };
const char* name(BenchKind kind) noexcept;

struct BenchPlan {
  BenchKind kind = BenchKind::io;
  raid::Level level = raid::Level::raid5;
  std::uint32_t disks = 4;  // members, without spares and journal
  std::uint32_t lost = 0;   // members that fail first; rebuild: that are replaced
  std::uint64_t chunk = 64 * kKiB;
  std::uint64_t size = 256 * kMiB;  // of each image
  raid::Consistency consistency = raid::Consistency::resync;
  std::uint64_t speed_min = 0;  // bytes/s of each member; 0: the array's default
  std::uint64_t speed_max = 0;  // 0: no limit

  // The load, in fio's words. In virtual time requests come at random instants, rate_iops of them a second.
  std::string rw = "randread";
  std::uint64_t bs = 4 * kKiB;
  std::uint32_t iodepth = 32;
  Nanos runtime = kSecond;
  std::uint64_t rate_iops = 1000;

  std::string dir;                   // where a folder for the images is made
  std::vector<std::string> devices;  // instead: these, with all that they hold
  std::uint32_t rounds = 5;          // that count; one more warms up, unless it is 1

  std::string disk = "sata-ssd";  // virtual: a preset of env/disk_model.h
  std::uint64_t seed = 1;
};

unsigned write_percent(const BenchPlan& plan) noexcept;
bool sequential(const BenchPlan& plan) noexcept;
raid::ArrayConfig array_config(const BenchPlan& plan);
std::uint32_t data_disks(const BenchPlan& plan) noexcept;

// One round. Bytes: of requests; rebuild: of the replaced members; scrub: of all members.
struct Measure {
  std::uint64_t ops = 0;
  std::uint64_t bytes = 0;
  Nanos wall = 0;
  Nanos cpu = 0;  // of the process, with the kernel's workers for it; 0: not known
  raid::IoCounters members;
  std::string limited_by;
};

enum class Unit : std::uint8_t { bytes_per_second, per_second, nanoseconds, ratio };
enum class Better : std::uint8_t { higher, lower, neither };

struct Figure {
  std::string name;  // unique within its point
  Unit unit = Unit::per_second;
  Better better = Better::higher;
  std::vector<double> rounds;
};

// One row of the table: the plan with one value of what is swept.
struct Point {
  std::string label;            // "chunk=64K"; empty without a sweep
  std::vector<Figure> figures;  // the first is what the row is about
  std::vector<Measure> measures;
  std::string limited_by;
};

// The value that `part` of the values do not exceed, 0.5 being the median; 0 for none.
double quantile(std::span<const double> values, double part);

// Images, opened once and overwritten in place. Temporary ones never have a name, so that nothing is left however this
// process ends.
class RealBench {
 public:
  static Result<std::unique_ptr<RealBench>> create(const BenchPlan& plan);
  ~RealBench();
  Result<Measure> round();

 private:
  struct Inside;
  explicit RealBench(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

// btrfs's own RAID 5 or 6 on as many images of the same size, on loop devices with direct I/O; its `replace` or `scrub`.
// Needs root, loop devices and btrfs-progs. Errors: unsupported, permission, not_found (one line says what is missing), io;
// cancelled after SIGINT or SIGTERM. Whatever happens, nothing stays mounted, attached or on disk.
class BtrfsBench {
 public:
  static Result<std::unique_ptr<BtrfsBench>> create(const BenchPlan& plan);
  ~BtrfsBench();
  Result<Measure> round();

 private:
  struct Inside;
  explicit BtrfsBench(std::unique_ptr<Inside> inside);
  std::unique_ptr<Inside> inside_;
};

// In virtual time: latency while the array is whole and while it is rebuilt, and how long it is exposed.
Result<Point> bench_virtual(const BenchPlan& plan);

std::vector<Figure> make_figures(const BenchPlan& plan, std::span<const Measure> measures);

struct Report {
  std::string command;
  BenchPlan plan;
  bool virtual_time = false;
  std::string swept;  // the key
  std::vector<Point> points;
};
inline constexpr int kBenchSchema = 1;
std::string format_table(const Report& report);
std::string format_json(const Report& report);
// How a value of this unit reads: "181 k/s", "1.2 GiB/s".
std::string format_value(double value, Unit unit);

}  // namespace resilver::tools
