#include "service/device_words.h"

#include <fmt/format.h>

#include "base/units.h"
#include "service/diagnosis.h"

namespace resilver::service {

using replica::Held;

std::string held_words(const VolumeConfig& config, const Held& held) {
  switch (held.kind) {
    case Held::Kind::nothing: return {};
    case Held::Kind::copy: {
      const replica::Superblock& s = *held.super;
      const bool ours = s.volume == config.id;
      const std::string what = s.inconsistent ? "half of a copy"
                               : s.fresh()    ? "a new copy, which holds nothing yet,"
                                              : "a copy";
      return fmt::format("{} of {} (id {}, node {}, epoch {})", what,
                         ours ? fmt::format("volume '{}'", config.name) : "another volume", short_text(s.volume),
                         s.node, s.epoch());
    }
    case Held::Kind::other_size:
      return fmt::format("a copy of a volume of {} (id {})", format_size(held.anchor->volume_bytes),
                         short_text(held.anchor->volume));
    case Held::Kind::old_copy:
      return fmt::format("a copy of a volume of {}, made by an older resilver", format_size(held.old->volume_bytes));
    case Held::Kind::damaged: return "a copy of a volume with damaged metadata";
    case Held::Kind::newer: return "a copy of a volume, made by a newer resilver";
  }
  return {};
}

Status is_ours(const VolumeConfig& config, const Held& held) {
  if (held.kind == Held::Kind::copy && held.super->volume == config.id) return {};
  const std::string holds = held_words(config, held);
  return fail(Errc::bad_input, holds.empty() ? "holds no copy of this volume" : "holds " + holds);
}

namespace {

std::string new_disk(const VolumeConfig& config, const std::string& name) {
  return fmt::format("a new disk in its place: resilver volume create --config {} --node {}", config.file, name);
}

std::string for_copy(const VolumeConfig& config, const std::string& name, const Held& held) {
  const replica::Superblock& s = *held.super;
  if (s.volume != config.id) {
    return fmt::format(
        "is {} in the file the right id? A clone of the whole cluster gets ids of its own by: resilver volume "
        "reid --config {}",
        short_text(config.id), config.file);
  }
  if (s.growing_from != 0)
    return fmt::format("go on with it: resilver volume grow --config {} --node {}", config.file, name);
  if (s.node != name)
    return fmt::format("if it is to be {}'s from now on: resilver volume adopt --config {} --name {}", name,
                       config.file, name);
  return "start it again";
}

}  // namespace

Task<std::string> why_no_copy(Env& env, const VolumeConfig& config, replica::NodeId node, BlockDevice& device,
                              std::string label, Error error) {
  const std::string& name = config.nodes[node].name;
  const auto held = co_await replica::look_at(env, device, config.size_bytes);
  if (!held) co_return fmt::format("{}: {}", label, to_string(held.error()));
  const std::string holds = held_words(config, *held);
  switch (held->kind) {
    case Held::Kind::copy:
      co_return fmt::format("{}: {}: {}; {}", label, error.what, holds, for_copy(config, name, *held));
    case Held::Kind::other_size:
      co_return fmt::format(
          "{}: holds {}, and the file says {}: correct size in {}, or make the volume larger: resilver volume "
          "grow --config {} --size SIZE",
          label, holds, format_size(config.size_bytes), config.file, config.file);
    case Held::Kind::old_copy:
      co_return fmt::format(
          "{}: holds {}; bring the volume over, with its nodes and its arbiter stopped: resilver volume upgrade "
          "--config {}",
          label, holds, config.file);
    case Held::Kind::newer: co_return fmt::format("{}: holds {}", label, holds);
    case Held::Kind::damaged:
      co_return fmt::format(
          "{}: holds {}: {}; if the other copies are whole, put it aside and let a new one be made from them; {}",
          label, holds, error.what, new_disk(config, name));
    case Held::Kind::nothing: break;
  }
  if (device.size_bytes() < least_device_bytes(config)) {
    co_return fmt::format(
        "{}: {} bytes, and the volume with its metadata needs {}: it was cut, or is another device; if it was "
        "cut, what it held is incomplete: put it aside, and let a new copy be made from the others; {}",
        label, device.size_bytes(), least_device_bytes(config), new_disk(config, name));
  }
  co_return fmt::format(
      "{}: holds no copy of a volume of {} (looked for behind its byte {}): if size was changed in {}, put it "
      "back; {}",
      label, format_size(config.size_bytes), config.size_bytes, config.file, new_disk(config, name));
}

std::string what_helps_without(const VolumeConfig& config, replica::NodeId node, const Error& error) {
  const bool gone = error.code == Errc::not_found || error.code == Errc::bad_input;
  if (!gone || config.nodes[node].device.empty()) return {};
  return fmt::format("; if what was there is gone for good, put aside what is left of it; {}",
                     new_disk(config, config.nodes[node].name));
}

std::string told_line(const VolumeConfig& config, replica::NodeId at, const replica::Finding& finding) {
  const Told told = tell(config, at, finding);
  return told.text + "; " + to_do(told);
}

}  // namespace resilver::service
