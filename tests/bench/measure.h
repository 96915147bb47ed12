// tests/bench: speed of the real array against fio and against a plain program that does the same work, and the speed of
// virtual time. Not tests: nothing here fails because a machine is slow. `run` drives it (make bench).
//
// Each program does one piece of work and prints one JSON line: {"ops":…,"bytes":…,"wall_s":…,"cpu_s":…}. CPU is that of
// the whole process, kernel workers of its rings included, from start() to stop().
#pragma once

#include <sched.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace resilver::bench {

inline double wall_seconds() noexcept {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Measures this process, and the children that it has waited for.
class Meter {
 public:
  void start() noexcept {
    wall_s_ = wall_seconds();
    cpu_s_ = cpu();
  }
  void stop() noexcept {
    wall_s_ = wall_seconds() - wall_s_;
    cpu_s_ = cpu() - cpu_s_;
  }
  void print(std::uint64_t ops, std::uint64_t bytes) const {
    std::printf("{\"ops\":%llu,\"bytes\":%llu,\"wall_s\":%.6f,\"cpu_s\":%.6f}\n", static_cast<unsigned long long>(ops),
                static_cast<unsigned long long>(bytes), wall_s_, cpu_s_);
  }

 private:
  static double cpu() noexcept {
    double sum = 0;
    for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
      rusage usage{};
      getrusage(who, &usage);
      sum += seconds(usage.ru_utime) + seconds(usage.ru_stime);
    }
    return sum;
  }
  static double seconds(const timeval& time) noexcept {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  }

  double wall_s_ = 0;
  double cpu_s_ = 0;
};

[[noreturn]] inline void die(const char* what, const char* detail = "") {
  std::fprintf(stderr, "bench: %s%s%s\n", what, *detail == '\0' ? "" : ": ", detail);
  std::exit(1);
}

// Where several processes run. Left to the kernel, all may share a core or none: a wake-up costs 3 us or 25, and one program
// is several times as fast as itself a moment ago.
enum class Placement { free, one_core, two_cores };

inline Placement placement_of(const std::string& name) {
  if (name == "free") return Placement::free;
  if (name == "one") return Placement::one_core;
  if (name == "two") return Placement::two_cores;
  die("a placement is free, one or two", name.c_str());
}

// Puts this process on a core that it may use; `second`: on another one, if the placement has two.
inline void place(Placement placement, bool second) {
  if (placement == Placement::free) return;
  cpu_set_t allowed, chosen;
  CPU_ZERO(&chosen);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) die("cannot tell the cores");
  int wanted = second && placement == Placement::two_cores ? 1 : 0;
  if (wanted >= CPU_COUNT(&allowed)) die("two cores are needed");
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&chosen) == 0; ++core)
    if (CPU_ISSET(core, &allowed) && wanted-- == 0) CPU_SET(core, &chosen);
  if (sched_setaffinity(0, sizeof chosen, &chosen) != 0) die("cannot choose a core");
}

}  // namespace resilver::bench
