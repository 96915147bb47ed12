// The history of what the client asked and was told, one JSON line per event in Jepsen's form (invoke, ok, fail, info), so
// that checkers written by others can judge it too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace resilver::workload {

// Where finished lines go: a file in the real world, nothing or memory elsewhere.
class HistorySink {
 public:
  virtual ~HistorySink() = default;
  // Whole lines, each with its '\n', valid during the call only. The sink keeps its own errors.
  virtual void write(std::string_view lines) noexcept = 0;
};

enum class HistoryType : std::uint8_t { invoke, ok, fail, info };  // info: the outcome is not known
enum class HistoryCall : std::uint8_t { read, write, flush, power_loss };

// One event. A process has at most one operation open and ends with an operation of unknown outcome.
struct HistoryEvent {
  HistoryType type = HistoryType::invoke;
  HistoryCall call = HistoryCall::read;
  std::uint64_t process = 0;
  std::uint64_t operation = 0;
  Nanos time = 0;
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;
  // write: its version. read, ok: what was read as JSON, [[version, sectors], ...] in order of address, null for a sector
  // that is corrupt; the list is cut after kMaxRuns runs.
  std::string_view value;
  std::string_view error;  // fail, info, and the verdict on a read that was judged wrong
};

// Formats events into a buffer of kBufferBytes and hands it on when it is full.
class History {
 public:
  static constexpr std::size_t kBufferBytes = 64 << 10;
  static constexpr std::size_t kMaxRuns = 16;

  explicit History(HistorySink& sink) : sink_(sink) { buffer_.reserve(kBufferBytes); }
  ~History() { flush(); }
  History(const History&) = delete;
  History& operator=(const History&) = delete;

  void add(const HistoryEvent& event);
  void flush();

 private:
  HistorySink& sink_;
  std::string buffer_;
};

}  // namespace resilver::workload
