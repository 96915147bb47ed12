// Levels and layouts by name and by md's numbers.
#include <fmt/format.h>

#include <span>

#include "raid/geometry.h"

namespace resilver::raid {

const char* name(Level level) noexcept {
  switch (level) {
    case Level::raid0: return "raid0";
    case Level::raid1: return "raid1";
    case Level::raid4: return "raid4";
    case Level::raid5: return "raid5";
    case Level::raid6: return "raid6";
    case Level::raid10: return "raid10";
  }
  return "unknown level";
}

const char* name(Layout layout) noexcept {
  switch (layout) {
    case Layout::left_asymmetric: return "left-asymmetric";
    case Layout::right_asymmetric: return "right-asymmetric";
    case Layout::left_symmetric: return "left-symmetric";
    case Layout::right_symmetric: return "right-symmetric";
    case Layout::parity_first: return "parity-first";
    case Layout::parity_last: return "parity-last";
    case Layout::near_2: return "near-2";
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
  for (Level level : {Level::raid0, Level::raid1, Level::raid4, Level::raid5, Level::raid6, Level::raid10}) {
    if (number == static_cast<int>(level)) return level;
  }
  return std::nullopt;
}

namespace {

struct Numbered {
  Layout layout;
  int number;
};
constexpr Numbered kParityLayouts[] = {
    {Layout::left_symmetric, 2},   {Layout::left_asymmetric, 0}, {Layout::right_symmetric, 3},
    {Layout::right_asymmetric, 1}, {Layout::parity_first, 4},    {Layout::parity_last, 5},
};
constexpr Numbered kMirrorLayouts[] = {{Layout::near_2, 0x102}};
constexpr Numbered kStripeLayouts[] = {{Layout::raid0_original, 1}, {Layout::raid0_alternate, 2}};

std::span<const Numbered> layouts_of(Level level) {
  switch (level) {
    case Level::raid0: return kStripeLayouts;
    case Level::raid5:
    case Level::raid6: return kParityLayouts;
    case Level::raid10: return kMirrorLayouts;
    case Level::raid1:
    case Level::raid4: return {};
  }
  return {};
}

// md's name of a layout that is not offered; empty if md does not know the number.
std::string foreign_raid6(int number) {
  switch (number) {
    case 8: return "ddf-zero-restart";
    case 9: return "ddf-N-restart";
    case 10: return "ddf-N-continue";
    case 16: return "left-asymmetric-6";
    case 17: return "right-asymmetric-6";
    case 18: return "left-symmetric-6";
    case 19: return "right-symmetric-6";
    case 20: return "parity-first-6";
    default: return "";
  }
}

// raid10.c, setup_geo: near copies, far copies << 8, offset flag 1 << 16, far sets from bit 17 on.
std::string foreign_raid10(int number) {
  const int near = number & 0xff;
  const int far = (number >> 8) & 0xff;
  if (number < 0 || (number >> 19) != 0 || near == 0 || far == 0) return "";
  if (far == 1) return fmt::format("near-{}", near);
  const std::string text = fmt::format("{}-{}", (number & 0x10000) != 0 ? "offset" : "far", far);
  return near == 1 ? text : fmt::format("near-{} {}", near, text);
}

}  // namespace

std::optional<Layout> layout_from_name(std::string_view text) noexcept {
  for (Level level : {Level::raid0, Level::raid6, Level::raid10}) {
    for (const Numbered& offered : layouts_of(level)) {
      if (text == name(offered.layout)) return offered.layout;
    }
  }
  return std::nullopt;
}

Layout default_layout(Level level) noexcept {
  const auto offered = layouts_of(level);
  return offered.empty() ? Layout::none : offered.front().layout;
}

std::string layout_choices(Level level) {
  std::string text;
  const auto offered = layouts_of(level);
  for (std::size_t i = 0; i < offered.size(); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : i + 1 == offered.size() ? " or " : ", ", name(offered[i].layout));
  }
  return text;
}

int layout_number(Level level, Layout layout) noexcept {
  for (const Numbered& offered : layouts_of(level)) {
    if (offered.layout == layout) return offered.number;
  }
  return 0;
}

Result<Layout> layout_from_number(Level level, int number) {
  const auto offered = layouts_of(level);
  if (offered.empty() || (level == Level::raid0 && number == 0)) return Layout::none;
  for (const Numbered& known : offered) {
    if (known.number == number) return known.layout;
  }
  const std::string foreign = level == Level::raid6    ? foreign_raid6(number)
                              : level == Level::raid10 ? foreign_raid10(number)
                                                       : "";
  if (foreign.empty()) return fail(Errc::bad_input, fmt::format("layout {:#x} of {} is unknown", number, name(level)));
  return fail(Errc::unsupported, fmt::format("layout {} ({:#x}) of {} is not offered ({} is)", foreign, number,
                                             name(level), layout_choices(level)));
}

}  // namespace resilver::raid
