// With a journal nothing that was durable is lost, whatever members are missing before the power loss, or after it; and a
// replay can itself be cut.
#include "tests/crash/experiment.h"

namespace resilver::raid {
namespace {

constexpr auto kJournal = Consistency::journal;

void expect_safe(const Verdict& verdict) {
  EXPECT_GT(verdict.cuts, 20u) << verdict.text();
  EXPECT_EQ(verdict.wrong(), 0u) << verdict.text();
  EXPECT_EQ(verdict.refused, 0u) << verdict.text();
}
void cut_work(const Case& which) {
  for_seeds(which, [](const Case& each) { expect_safe(Experiment(each).cut_everywhere()); });
}
void cut_replay(const Case& which) {
  for_seeds(which, [](const Case& each) { expect_safe(Experiment(each).cut_recovery(13, full_matrix() ? 1 : 6)); });
}

TEST(Journal, Raid4) { cut_work({.level = Level::raid4, .consistency = kJournal}); }
TEST(Journal, Raid5) { cut_work({.consistency = kJournal}); }
TEST(Journal, Raid6) { cut_work({.level = Level::raid6, .members = 5, .consistency = kJournal}); }

TEST(Journal, Raid4WithoutAMember) { cut_work({.level = Level::raid4, .consistency = kJournal, .lost = 1}); }
TEST(Journal, Raid5WithoutAMember) { cut_work({.consistency = kJournal, .lost = 1}); }
TEST(Journal, Raid6WithoutAMember) {
  cut_work({.level = Level::raid6, .members = 5, .consistency = kJournal, .lost = 1});
}
TEST(Journal, Raid6WithoutTwoMembers) {
  cut_work({.level = Level::raid6, .members = 5, .consistency = kJournal, .lost = 2});
}
TEST(Journal, Raid5Rebuilding) { cut_work({.consistency = kJournal, .lost = 1, .added = 1, .stripes = 18}); }
TEST(Journal, Raid5WhenOnlyTheProcessDies) { cut_work({.consistency = kJournal, .lost = 1, .power = false}); }
TEST(Journal, Raid5WhoseLogWraps) { cut_work({.consistency = kJournal, .lost = 1, .fills = 12}); }

// A member dies in the middle of the work and is there again after the cut, with what it missed (rule 2).
TEST(Journal, AMemberThatDiesMeanwhileIsNotTrustedAfterTheCut) {
  for (const Level level : {Level::raid5, Level::raid6}) {
    for (const Nanos after : {200, 700, 1500}) {
      cut_work({.level = level, .members = 5, .consistency = kJournal, .dies_after = after * kMicrosecond});
    }
  }
}

TEST(JournalReplay, CutOnRaid5) { cut_replay({.consistency = kJournal}); }
TEST(JournalReplay, CutOnRaid5WithoutAMember) { cut_replay({.consistency = kJournal, .lost = 1}); }
TEST(JournalReplay, CutOnRaid6WithoutTwoMembers) {
  cut_replay({.level = Level::raid6, .members = 5, .consistency = kJournal, .lost = 2});
}

}  // namespace
}  // namespace resilver::raid
