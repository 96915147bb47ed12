#include "scenario/fault_text.h"

#include <fmt/format.h>

#include <charconv>

namespace resilver::scenario {
namespace {

std::string ranges_text(const char* name, const std::vector<fault::BlockRange>& ranges) {
  if (ranges.empty()) return {};
  std::string text = fmt::format(" {}=", name);
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    text += fmt::format("{}{}+{}", i == 0 ? "" : ",", ranges[i].offset, ranges[i].length);
  }
  return text;
}

// Takes a number and the character behind it off the front of `text`.
bool take_number(std::string_view& text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  if (!text.empty()) text.remove_prefix(1);
  return true;
}

bool take_ranges(std::string_view text, std::vector<fault::BlockRange>& ranges) {
  while (!text.empty()) {
    fault::BlockRange range;
    if (!take_number(text, range.offset) || !take_number(text, range.length)) return false;
    ranges.push_back(range);
  }
  return true;
}

bool take_slow(std::string_view text, fault::FaultState& state) {
  std::uint64_t factor = 0, add = 0, bandwidth = 0;
  if (!take_number(text, factor) || !take_number(text, add) || !take_number(text, bandwidth)) return false;
  state.slow = fault::SlowFault{static_cast<std::uint32_t>(factor), static_cast<Nanos>(add), bandwidth};
  return true;
}

bool take_word(std::string_view word, fault::FaultState& state) {
  if (word == "fail") return state.failed = true;
  if (word == "hang") return state.hung = true;
  if (word == "lost_flush") return state.loses_flushes = true;
  if (word.starts_with("slow=")) return take_slow(word.substr(5), state);
  if (word.starts_with("latent=")) return take_ranges(word.substr(7), state.latent);
  if (word.starts_with("corrupt=")) return take_ranges(word.substr(8), state.corrupted);
  return false;
}

}  // namespace

std::string fault_text(const fault::FaultState& state) {
  std::string text;
  if (state.failed) text += " fail";
  if (state.hung) text += " hang";
  if (state.loses_flushes) text += " lost_flush";
  if (state.slow)
    text += fmt::format(" slow={},{},{}", state.slow->factor_percent, state.slow->add, state.slow->bandwidth);
  text += ranges_text("latent", state.latent);
  text += ranges_text("corrupt", state.corrupted);
  if (!text.empty()) text.erase(0, 1);
  return text;
}

Result<fault::FaultState> fault_from_text(std::string_view text) {
  fault::FaultState state;
  while (!text.empty()) {
    const std::size_t space = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, space);
    if (!take_word(word, state)) return fail(Errc::bad_input, "disk faults: '" + std::string(word) + "' is none");
    text.remove_prefix(std::min(space + 1, text.size()));
  }
  return state;
}

}  // namespace resilver::scenario
