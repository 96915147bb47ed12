#include "workload/history.h"

#include <fmt/format.h>

#include <iterator>

namespace resilver::workload {

namespace {

constexpr const char* kTypes[] = {"invoke", "ok", "fail", "info"};
constexpr const char* kCalls[] = {"read", "write", "flush", "power_loss"};
constexpr std::size_t kLongestLine = 1024;

}  // namespace

void History::add(const HistoryEvent& event) {
  if (buffer_.size() + kLongestLine > kBufferBytes) flush();
  auto out = std::back_inserter(buffer_);
  fmt::format_to(out, R"({{"type":"{}","process":{},"f":"{}","op":{},"time":{})", kTypes[static_cast<int>(event.type)],
                 event.process, kCalls[static_cast<int>(event.call)], event.operation, event.time);
  if (event.length != 0) fmt::format_to(out, R"(,"offset":{},"length":{})", event.offset, event.length);
  if (!event.value.empty()) fmt::format_to(out, R"(,"value":{})", event.value);
  if (!event.error.empty()) fmt::format_to(out, R"(,"error":"{}")", event.error);
  buffer_ += "}\n";
}

void History::flush() {
  if (buffer_.empty()) return;
  sink_.write(buffer_);
  buffer_.clear();
}

}  // namespace resilver::workload
