#include "tools/volume_show.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace resilver::tools {
namespace {

using replica::NodeId;
using replica::Role;

constexpr std::size_t kShownExtents = 8;

double percent(std::uint64_t done, std::uint64_t total) {
  return total == 0 ? 0 : 100.0 * static_cast<double>(std::min(done, total)) / static_cast<double>(total);
}

std::uint64_t rate_to(const VolumeView& view, NodeId id) {
  for (const service::CopyRate& rate : view.nodes[*view.authority]->rates) {
    if (rate.peer == id) return rate.bytes_per_second;
  }
  return 0;
}

std::string copy_words(const VolumeView& view, const replica::PeerStatus& peer) {
  return fmt::format("resyncing {:.0f} % ({} of {}, {}): {}", percent(peer.resync_done_bytes, peer.resync_total_bytes),
                     format_size(peer.resync_done_bytes), format_size(peer.resync_total_bytes),
                     format_rate(rate_to(view, peer.id)), replica::resync_why_name(peer.why));
}

bool is_member(const VolumeView& view, NodeId id) {
  return view.word() != nullptr && view.word()->in_sync.contains(id);
}

bool is_diverged(const VolumeView& view, NodeId id) {
  const replica::PeerStatus* peer = view.peer(id);
  return (peer != nullptr && peer->diverged) || (view.nodes[id] && view.nodes[id]->replica.diverged);
}

std::string state_of(const VolumeView& view, NodeId id) {
  const replica::PeerStatus* peer = view.peer(id);
  if (is_diverged(view, id)) {
    if (peer == nullptr) return "split brain: has writes of its own";
    return fmt::format("split brain: has writes of its own, {} differ{}", format_size(peer->divergent_bytes),
                       peer->resync_done_bytes < peer->resync_total_bytes ? " so far" : "");
  }
  if (peer != nullptr && peer->resyncing) return copy_words(view, *peer);
  const bool member = is_member(view, id);
  if (!view.nodes[id] && view.word() == nullptr) return "state unknown";
  if (!view.nodes[id]) return member ? "still counted as in sync" : "out of date";
  const replica::ReplicaStatus& own = view.nodes[id]->replica;
  if (own.device_failed) return "its device failed";
  if (own.role == Role::primary && own.serving && !own.writable) return "serves reads; writes wait";
  if (own.role == Role::primary && own.serving)
    return id == *view.authority ? "serving, in sync" : "serving, on its own";
  if (own.role == Role::primary) return "not serving now";
  if (own.inconsistent) return "half copied";
  if (own.role == Role::idle) return "hears no primary";
  if (!view.has_primary()) return "not in sync";
  // They are asked one after the other, and a new record takes a message's time: the primary's word counts.
  if (member) return own.role == Role::joining ? "in sync; it has not heard so yet" : "in sync";
  return own.role == Role::secondary ? "not in sync; it has not heard so yet" : "not in sync";
}

// By the word of the primary, where that is ahead of the node's own.
std::string role_of(const VolumeView& view, NodeId id) {
  if (!view.nodes[id]) return "unreachable";
  const Role own = view.nodes[id]->replica.role;
  const bool follows = own == Role::joining || own == Role::secondary;
  if (!follows || !view.has_primary()) return replica::role_name(own);
  return replica::role_name(is_member(view, id) ? Role::secondary : Role::joining);
}

// Further lines of a node.
std::vector<std::string> details(const service::VolumeConfig& config, const VolumeView& view, NodeId id) {
  std::vector<std::string> lines;
  const replica::PeerStatus* peer = view.peer(id);
  if (peer != nullptr && peer->behind_bytes > 0) lines.push_back(format_size(peer->behind_bytes) + " behind");
  if (peer != nullptr && peer->diverged) {
    for (std::size_t i = 0; i < std::min(peer->divergent.size(), kShownExtents); ++i) {
      lines.push_back(
          fmt::format("differs: {} at byte {}", format_size(peer->divergent[i].length), peer->divergent[i].offset));
    }
    if (peer->divergent.size() > kShownExtents) lines.push_back("differs: … (all with --json)");
  }
  if (!view.nodes[id]) {
    lines.push_back(view.nodes[id].error().what.empty() ? config.nodes[id].control + ": no answer"
                                                        : view.nodes[id].error().what);
    return lines;
  }
  const replica::ReplicaStatus& own = view.nodes[id]->replica;
  if (own.lost_bytes > 0) {
    lines.push_back(fmt::format("{} are unreadable on every copy; writing them heals", format_size(own.lost_bytes)));
  }
  if (own.verifying) {
    lines.push_back(fmt::format("verify {:.0f} %", percent(own.verify_done_bytes, own.verify_total_bytes)));
  }
  if (view.nodes[id]->array) {
    const service::ArrayReport& array = *view.nodes[id]->array;
    lines.push_back("on " + array.state);
    if (!array.recovery.empty()) {
      lines.back() += fmt::format(", {} {:.0f} %", array.recovery, percent(array.done_bytes, array.total_bytes));
    }
  }
  return lines;
}

std::string redundancy_words(const replica::ReplicaStatus& word) {
  if (!word.writable) return word.serving ? "writes wait" : "";
  if (word.ack == replica::AckMode::async) return "a failure of the primary loses the newest writes";
  const unsigned more = word.redundancy;
  return fmt::format("survives {} more node failure{}", more == 0 ? "no" : std::to_string(more), more == 1 ? "" : "s");
}

std::string headline(const service::VolumeConfig& config, const VolumeView& view) {
  if (view.word() == nullptr)
    return fmt::format("{}  {}  nobody answers\n", config.name, format_size(config.size_bytes));
  const replica::ReplicaStatus& word = *view.word();
  std::string line = fmt::format("{}  {}", config.name, format_size(view.nodes[*view.authority]->size_bytes));
  if (!view.has_primary()) return line + fmt::format("  no primary answers, epoch {}\n", word.epoch);
  if (config.nodes.size() == 1) return line + "  stand-alone\n";
  line += fmt::format("  ack {}  epoch {}  primary {}{}  in sync {} of {}", replica::ack_mode_name(word.ack),
                      word.epoch, config.nodes[*view.authority].name, word.serving ? "" : " (not serving)",
                      word.in_sync.count(), config.nodes.size());
  const std::string words = redundancy_words(word);
  return line + (words.empty() ? "" : "  " + words) + "\n";
}

// Two that serve at once: somebody forced one, and they do not reach each other.
std::vector<std::string> served_twice(const service::VolumeConfig& config, const VolumeView& view) {
  std::vector<std::string> lines;
  for (NodeId id = 0; id < view.nodes.size(); ++id) {
    if (!view.nodes[id] || id == *view.authority || !view.nodes[id]->replica.serving) continue;
    lines.push_back(fmt::format("{} and {} both serve: they do not reach each other; join them, then choose a side",
                                config.nodes[id].name, config.nodes[*view.authority].name));
  }
  return lines;
}

}  // namespace

NodeWords node_words(const service::VolumeConfig&, const VolumeView& view, NodeId id) {
  return {role_of(view, id), state_of(view, id)};
}

std::string status_text(const service::VolumeConfig& config, const VolumeView& view,
                        const std::vector<service::Told>& reasons) {
  std::string text = headline(config, view);
  for (NodeId id = 0; id < view.nodes.size(); ++id) {
    const NodeWords words = node_words(config, view, id);
    text += fmt::format("  {:<8} {:<12} {}\n", config.nodes[id].name, words.role, words.state);
    for (const std::string& line : details(config, view, id)) text += fmt::format("  {:<8} {:<12} {}\n", "", "", line);
  }
  for (const std::string& line : served_twice(config, view)) text += "to do: " + line + "\n";
  for (const service::Told& told : reasons) {
    text += fmt::format("{}: {}\n", replica::reason_name(told.reason), told.text);
    text += fmt::format("  to do: {}\n", service::to_do(told));
  }
  return text;
}

}  // namespace resilver::tools
