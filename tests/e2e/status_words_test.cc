// A node and its primary are asked one after the other: what is printed of it is one place, by the word of the primary.
#include <gtest/gtest.h>

#include "tools/volume_show.cc"

namespace resilver::tools {
namespace {

using replica::Role;

VolumeView view(Role own, bool member) {
  service::NodeStatus primary, other;
  primary.replica.role = Role::primary;
  primary.replica.serving = primary.replica.writable = true;
  primary.replica.in_sync.add(0);
  if (member) primary.replica.in_sync.add(1);
  other.replica.role = own;
  return service::view_of({primary, other});
}

TEST(StatusWords, TheWordOfThePrimaryCounts) {
  const service::VolumeConfig config;
  NodeWords words = node_words(config, view(Role::joining, true), 1);
  EXPECT_EQ(words.role, "secondary");
  EXPECT_EQ(words.state, "in sync; it has not heard so yet");
  words = node_words(config, view(Role::secondary, true), 1);
  EXPECT_EQ(words.role, "secondary");
  EXPECT_EQ(words.state, "in sync");
  words = node_words(config, view(Role::secondary, false), 1);
  EXPECT_EQ(words.role, "joining");
  EXPECT_EQ(words.state, "not in sync; it has not heard so yet");
  words = node_words(config, view(Role::joining, false), 1);
  EXPECT_EQ(words.role, "joining");
  EXPECT_EQ(words.state, "not in sync");
}

}  // namespace
}  // namespace resilver::tools
