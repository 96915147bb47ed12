// Levels and layouts by name and by md's numbers.
#include <fmt/format.h>

#include <charconv>
#include <span>

#include "raid/geometry.h"

namespace resilver::raid {

const char* name(Level level) noexcept {
  switch (level) {
    case Level::linear: return "linear";
    case Level::raid0: return "raid0";
    case Level::raid1: return "raid1";
    case Level::raid4: return "raid4";
    case Level::raid5: return "raid5";
    case Level::raid6: return "raid6";
    case Level::raid10: return "raid10";
  }
  return "unknown level";
}

std::string name(Layout layout) {
  if (const std::uint32_t copies = near_copies(layout); copies != 0) return fmt::format("near-{}", copies);
  switch (layout) {
    case Layout::left_asymmetric: return "left-asymmetric";
    case Layout::right_asymmetric: return "right-asymmetric";
    case Layout::left_symmetric: return "left-symmetric";
    case Layout::right_symmetric: return "right-symmetric";
    case Layout::parity_first: return "parity-first";
    case Layout::parity_last: return "parity-last";
    case Layout::left_asymmetric_6: return "left-asymmetric-6";
    case Layout::right_asymmetric_6: return "right-asymmetric-6";
    case Layout::left_symmetric_6: return "left-symmetric-6";
    case Layout::right_symmetric_6: return "right-symmetric-6";
    case Layout::parity_first_6: return "parity-first-6";
    case Layout::ddf_zero_restart: return "ddf-zero-restart";
    case Layout::ddf_n_restart: return "ddf-N-restart";
    case Layout::ddf_n_continue: return "ddf-N-continue";
    case Layout::near_2: break;
    case Layout::raid0_original: return "original";
    case Layout::raid0_alternate: return "alternate";
    case Layout::none: return "-";
  }
  return "unknown layout";
}

const char* name(WriteWay way) noexcept {
  switch (way) {
    case WriteWay::impossible: return "impossible";
    case WriteWay::data_only: return "data only";
    case WriteWay::full_stripe: return "full stripe";
    case WriteWay::read_modify_write: return "read-modify-write";
    case WriteWay::reconstruct_write: return "reconstruct-write";
    case WriteWay::rebuild_write: return "rebuild-write";
  }
  return "unknown way";
}

std::optional<Level> level_from_number(int number) noexcept {
  for (Level level :
       {Level::linear, Level::raid0, Level::raid1, Level::raid4, Level::raid5, Level::raid6, Level::raid10}) {
    if (number == static_cast<int>(level)) return level;
  }
  return std::nullopt;
}

namespace {

struct Numbered {
  Layout layout;
  int number;
};
// The first six are RAID 5's, too.
constexpr Numbered kParityLayouts[] = {
    {Layout::left_symmetric, 2},      {Layout::left_asymmetric, 0},    {Layout::right_symmetric, 3},
    {Layout::right_asymmetric, 1},    {Layout::parity_first, 4},       {Layout::parity_last, 5},
    {Layout::left_symmetric_6, 18},   {Layout::left_asymmetric_6, 16}, {Layout::right_symmetric_6, 19},
    {Layout::right_asymmetric_6, 17}, {Layout::parity_first_6, 20},    {Layout::ddf_zero_restart, 8},
    {Layout::ddf_n_restart, 9},       {Layout::ddf_n_continue, 10},
};
constexpr Numbered kStripeLayouts[] = {{Layout::raid0_original, 1}, {Layout::raid0_alternate, 2}};

std::span<const Numbered> layouts_of(Level level) {
  switch (level) {
    case Level::raid0: return kStripeLayouts;
    case Level::raid5: return std::span(kParityLayouts).first(6);
    case Level::raid6: return kParityLayouts;
    case Level::linear:
    case Level::raid1:
    case Level::raid4:
    case Level::raid10: return {};  // RAID 10: by the number of copies
  }
  return {};
}

constexpr int kOneFarCopy = 0x100;

// raid10.c, setup_geo: near copies, far copies << 8, offset flag 1 << 16, far sets from bit 17 on. These say nothing where
// there is one far copy.
Result<Layout> raid10_layout(int number) {
  const int near = number & 0xff;
  const int far = (number >> 8) & 0xff;
  if (number < 0 || (number >> 19) != 0 || near == 0 || far == 0 || near * far < 2) {
    return fail(Errc::bad_input, fmt::format("layout {:#x} of raid10 is unknown", number));
  }
  if (far == 1 && number < 0x10000) return near_layout(static_cast<std::uint32_t>(near));
  const std::string text = fmt::format("{}-{}", (number & 0x10000) != 0 ? "offset" : "far", far);
  return fail(Errc::unsupported, fmt::format("layout {}{} ({:#x}) of raid10 is not offered ({} is)",
                                             near == 1 ? std::string() : fmt::format("near-{} ", near), text, number,
                                             layout_choices(Level::raid10)));
}

}  // namespace

std::optional<Layout> layout_from_name(std::string_view text) noexcept {
  constexpr std::string_view kNear = "near-";
  if (text.starts_with(kNear)) {
    std::uint32_t copies = 0;
    const auto [end, error] = std::from_chars(text.data() + kNear.size(), text.data() + text.size(), copies);
    const bool number = error == std::errc() && end == text.data() + text.size() && text[kNear.size()] != '0';
    return number && copies >= 2 && copies <= kMaxCopies ? std::optional(near_layout(copies)) : std::nullopt;
  }
  for (Level level : {Level::raid0, Level::raid6}) {
    for (const Numbered& offered : layouts_of(level)) {
      if (text == name(offered.layout)) return offered.layout;
    }
  }
  return std::nullopt;
}

Layout default_layout(Level level) noexcept {
  if (level == Level::raid10) return Layout::near_2;
  const auto offered = layouts_of(level);
  return offered.empty() ? Layout::none : offered.front().layout;
}

std::string layout_choices(Level level) {
  if (level == Level::raid10) return "near-2 to near-255";
  std::string text;
  const auto offered = layouts_of(level);
  for (std::size_t i = 0; i < offered.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == offered.size() ? " or " : ", ", name(offered[i].layout));
  }
  return text;
}

int layout_number(Level level, Layout layout) noexcept {
  if (level == Level::raid10) return kOneFarCopy + static_cast<int>(near_copies(layout));
  for (const Numbered& offered : layouts_of(level)) {
    if (offered.layout == layout) return offered.number;
  }
  return 0;
}

Result<Layout> layout_from_number(Level level, int number) {
  if (level == Level::raid10) return raid10_layout(number);
  const auto offered = layouts_of(level);
  if (offered.empty() || (level == Level::raid0 && number == 0)) return Layout::none;
  for (const Numbered& known : offered) {
    if (known.number == number) return known.layout;
  }
  return fail(Errc::bad_input, fmt::format("layout {:#x} of {} is unknown", number, name(level)));
}

}  // namespace resilver::raid
