// The line that shows how far long work is: drawn over itself on a terminal, else nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace resilver::tools {

class ProgressLine {
 public:
  ProgressLine(std::string label, std::string phase);
  ~ProgressLine() { end(); }

  // `limit`: what limits the rate, shown in brackets; empty if not known.
  void show(std::uint64_t done, std::uint64_t total, std::uint64_t bytes_per_second, std::string_view limit = {});
  void set_phase(std::string phase) { phase_ = std::move(phase); }
  void end();

 private:
  std::string label_;
  std::string phase_;
  bool terminal_;
  bool open_ = false;
};

// Bytes per second over the time since the first call.
class Rate {
 public:
  explicit Rate(Nanos now) noexcept : begin_(now) {}
  std::uint64_t of(std::uint64_t bytes, Nanos now) const noexcept;

 private:
  Nanos begin_;
};

}  // namespace resilver::tools
