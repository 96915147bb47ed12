// The history of what the client asked and was told, one JSON line per event in Jepsen's form (invoke, ok, fail, info), so
// that checkers written by others can judge it too. What stands in it: docs/history.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"

namespace resilver::workload {

inline constexpr int kHistorySchema = 1;

// Where finished lines go: a file in the real world, nothing or memory elsewhere.
class HistorySink {
 public:
  virtual ~HistorySink() = default;
  // Whole lines, each with its '\n', valid during the call only. The sink keeps its own errors.
  virtual void write(std::string_view lines) noexcept = 0;
};

// The first line: what has to be known to judge the rest.
struct HistoryHeader {
  std::string_view scenario;
  std::string_view contender;
  std::uint64_t seed = 0;
  std::uint64_t volume_bytes = 0;
  std::string_view promise;  // on_ack, on_flush or prefix
  std::uint64_t fill_offset = 0;
  std::uint64_t fill_bytes = 0;  // 0: no fill
};

enum class HistoryType : std::uint8_t {
  invoke,
  ok,
  fail,
  info
};  // info: the outcome is not known, or something happened
enum class HistoryCall : std::uint8_t { read, write, flush, power_loss, failover, final_reading };

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
  // that is corrupt.
  std::string_view value = {};
  std::string_view kind = {};               // write, invoke: damage, or fill
  std::string_view error = {};              // fail, info
  std::string_view verdict = {};            // read, ok: why it was judged wrong
  std::span<const std::string> nodes = {};  // power_loss
};

// Formats events into a buffer of kBufferBytes and hands it on when the next might not fit.
class History {
 public:
  static constexpr std::size_t kBufferBytes = 64 << 10;

  History(HistorySink& sink, const HistoryHeader& header);
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
