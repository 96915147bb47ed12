// What a replica says of itself, in one line: for messages of tests.
#pragma once

#include <string>

#include "replica/replica.h"

namespace resilver::test {

inline std::string words_of(const replica::ReplicaStatus& s) {
  const auto name = [](replica::NodeId id) { return std::string(1, static_cast<char>('A' + id)); };
  std::string text = std::string(role_name(s.role)) + ", epoch " + std::to_string(s.epoch) + ", in sync";
  for (replica::NodeId id = 0; id < replica::kMaxNodes; ++id) text += s.in_sync.contains(id) ? " " + name(id) : "";
  if (s.primary != replica::kNoNode) text += ", primary " + name(s.primary);
  text += std::string(s.serving ? ", serves" : "") + (s.inconsistent ? ", inconsistent" : "") +
          (s.device_failed ? ", device failed" : "") + (s.diverged ? ", diverged" : "");
  for (const replica::Finding& f : s.findings) {
    text += std::string("; ") + reason_name(f.reason) + (f.node == replica::kNoNode ? "" : " " + name(f.node)) +
            (f.detail.empty() ? "" : " (" + f.detail + ")");
  }
  for (const replica::PeerStatus& p : s.peers) {
    text += "; " + name(p.id) + (p.connected ? "" : " not connected") + (p.resyncing ? " resyncing" : "") + ": " +
            resync_why_name(p.why);
  }
  return text;
}

}  // namespace resilver::test
