// tests/bench: speed of the real array against fio and against a plain program that does the same work, and the speed of
// virtual time. Not tests: nothing here fails because a machine is slow. `run` drives it (make bench).
//
// Each program does one piece of work and prints one JSON line: {"ops":…,"bytes":…,"wall_s":…,"cpu_s":…}. CPU is that of
// the whole process, kernel workers of its rings included, from start() to stop().
#pragma once

#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

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

}  // namespace resilver::bench
