#include "workload/history.h"

#include <fmt/format.h>

#include <iterator>

#include "base/version.h"
#include "env/block_device.h"

namespace resilver::workload {

namespace {

constexpr const char* kTypes[] = {"invoke", "ok", "fail", "info"};
constexpr const char* kCalls[] = {"read", "write", "flush", "power_loss", "failover", "final_reading"};
constexpr std::size_t kLongestLine = 1024;  // without its value

// As a JSON string.
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) {
      result += c;
    } else {
      result += fmt::format("\\u{:04x}", c);
    }
  }
  return result + '"';
}

}  // namespace

History::History(HistorySink& sink, const HistoryHeader& header) : sink_(sink) {
  buffer_.reserve(kBufferBytes);
  fmt::format_to(std::back_inserter(buffer_),
                 R"({{"type":"history","schema":{},"resilver":"{}","scenario":{},"contender":{},"seed":{},)"
                 R"("promise":"{}","volume_bytes":{},"sector_bytes":{},"block_bytes":{},"fill_offset":{},)"
                 R"("fill_bytes":{},"time_unit":"ns"}})"
                 "\n",
                 kHistorySchema, kVersion, quoted(header.scenario), quoted(header.contender), header.seed,
                 header.promise, header.volume_bytes, kSectorBytes, kBlockBytes, header.fill_offset, header.fill_bytes);
}

void History::add(const HistoryEvent& event) {
  if (buffer_.size() + event.value.size() + kLongestLine > kBufferBytes) flush();
  auto out = std::back_inserter(buffer_);
  fmt::format_to(out, R"({{"type":"{}","process":{},"f":"{}")", kTypes[static_cast<int>(event.type)], event.process,
                 kCalls[static_cast<int>(event.call)]);
  if (event.operation != 0) fmt::format_to(out, R"(,"op":{})", event.operation);
  fmt::format_to(out, R"(,"time":{})", event.time);
  if (event.length != 0) fmt::format_to(out, R"(,"offset":{},"length":{})", event.offset, event.length);
  if (!event.value.empty()) fmt::format_to(out, R"(,"value":{})", event.value);
  if (!event.kind.empty()) fmt::format_to(out, R"(,"kind":"{}")", event.kind);
  if (!event.error.empty()) fmt::format_to(out, R"(,"error":"{}")", event.error);
  if (!event.verdict.empty()) fmt::format_to(out, R"(,"verdict":"{}")", event.verdict);
  for (std::size_t i = 0; i < event.nodes.size(); ++i) {
    fmt::format_to(out, "{}{}", i == 0 ? R"(,"nodes":[)" : ",", quoted(event.nodes[i]));
  }
  if (!event.nodes.empty()) buffer_ += ']';
  buffer_ += "}\n";
}

void History::flush() {
  if (buffer_.empty()) return;
  sink_.write(buffer_);
  buffer_.clear();
}

}  // namespace resilver::workload
