// All short orderings of what may happen (orderings.h), and the rules that must be there for them to end well: switched off,
// each of them is missed. RESILVER_ORDERINGS_STEPS=n: longer ones. RESILVER_ORDERING="B C w A r0 B": that one alone, in
// each mode.
#include "tests/replica/orderings.h"

#include <cstdio>
#include <cstdlib>

#include "base/planted_bug.h"
#include "tests/support/under_asan.h"

namespace resilver::replica {
namespace {

constexpr std::size_t kFewer = kUnderAsan ? 1 : 0;  // steps
constexpr unsigned kEvery = kUnderAsan ? 7 : 1;

void expect_none(Search what) {
  if (const char* only = std::getenv("RESILVER_ORDERING")) {
    EXPECT_EQ(Trial(ordering_from(only), what.ack).run(), "");
    return;
  }
  if (const char* more = std::getenv("RESILVER_ORDERINGS_STEPS")) what.steps += std::strtoull(more, nullptr, 10);
  what.steps -= kFewer;
  what.every = kEvery;
  const Found found = search(what);
  EXPECT_EQ(found.complaint, "") << "replay: RESILVER_ORDERING=\"" << found.ordering
                                 << "\" build/release/tests/replica --gtest_filter=Orderings.*";
  std::printf("%llu orderings, %.1f s\n", static_cast<unsigned long long>(found.trials), found.seconds);
}

TEST(Orderings, OfTwoWritesAndOneRestoreOfTheArbiterLoseNothing) { expect_none({}); }
TEST(Orderings, UnderQuorum) { expect_none({.ack = AckMode::quorum, .steps = 4}); }
TEST(Orderings, WhereCopiesArePutBackOrCloned) { expect_none({.steps = 3, .records = false, .copies = true}); }
TEST(Orderings, AfterTheSetHasChangedSides) { expect_none({.steps = 3, .begin = "A B A"}); }

TEST(Orderings, AsTextAndBack) {
  const std::string text = "A B! w r0 r-! r12! B@2 C+11!";
  const Ordering ordering = ordering_from(text);
  ASSERT_EQ(ordering.size(), 8u);
  EXPECT_EQ(to_text(ordering), text);
  EXPECT_EQ(ordering_from(to_text(ordering)), ordering);
}

struct Rule {
  const char* name;
  PlantedBug off;
  const char* ordering;  // finds it
  Search otherwise;      // if it does not any more
};

class OrderingsFindTheRuleThatIsOff : public ::testing::TestWithParam<Rule> {
 protected:
  void TearDown() override { planted_bug_now = PlantedBug::none; }
};

TEST_P(OrderingsFindTheRuleThatIsOff, ByTheShortest) {
  const Rule& rule = GetParam();
  EXPECT_EQ(Trial(ordering_from(rule.ordering), AckMode::durable).run(), "") << "without the bug";
  planted_bug_now = rule.off;
  if (!Trial(ordering_from(rule.ordering), AckMode::durable).run().empty()) return;
  Search what = rule.otherwise;
  what.most_seconds = 120;
  const Found found = search(what);
  ASSERT_NE(found.complaint, "") << rule.name << ": not found any more";
  std::printf("%s: %s finds it (%s), %s does not any more: store it\n", rule.name, found.ordering.c_str(),
              found.complaint.c_str(), rule.ordering);
}

const Search kCopies{.steps = 4, .records = false, .copies = true};
const Rule kRules[] = {
    {"older_record_obeyed", PlantedBug::older_record_obeyed, "A B C r-", {}},
    {"fork_obeyed", PlantedBug::fork_obeyed, "A B w C A r0", {}},
    {"only_members_asked", PlantedBug::only_members_asked, "A B A w r1! C B", {.steps = 3, .begin = "A B A"}},
    {"veto_ignored", PlantedBug::veto_ignored, "A B r1!", {}},
    {"marks_ignored", PlantedBug::marks_ignored, "w A@0", kCopies},
    {"loss_ignored", PlantedBug::loss_ignored, "A w B C@0", kCopies},
    {"bits_dropped_unprepared", PlantedBug::bits_dropped_unprepared, "w A", {}},
    {"second_life_accepted", PlantedBug::second_life_accepted, "w C+1", kCopies},
};
INSTANTIATE_TEST_SUITE_P(Replica, OrderingsFindTheRuleThatIsOff, ::testing::ValuesIn(kRules),
                         [](const auto& info) { return std::string(info.param.name); });

// What no ordering reaches: two files and cut cables. C, cut off from A and B, is promoted at the arbiter that was there;
// then A and B reach one on an older state. True: A and C serve at the same time.
bool both_serve_at_two_arbiters() {
  Cluster cluster(9);
  cluster.start_all();
  EXPECT_TRUE(cluster.wait_full());
  const auto older = cluster.arbiter_image();
  cluster.node(2).crash();
  EXPECT_TRUE(cluster.run_until([&] { return cluster.status(0).in_sync.count() == 2; }));
  cluster.start_node(2, false);
  EXPECT_TRUE(cluster.wait_full());
  const auto cut = [&](std::initializer_list<const char*> ends, bool drop) {
    sim::Fabric& network = cluster.world.network();
    for (const char* from : ends) {
      for (const char* to : ends) {
        if (from != to) drop ? network.drop(from, to) : network.restore(from, to);
      }
    }
  };
  cut({"A", "C"}, true);
  cut({"B", "C"}, true);
  cut({"A", "arbiter"}, true);
  cut({"B", "arbiter"}, true);
  EXPECT_TRUE(cluster.run_until([&] { return cluster.status(2).serving; }));
  cut({"C", "arbiter"}, true);
  cluster.arbiter_node().crash();
  cluster.restore_arbiter(older);
  cluster.start_arbiter();
  cut({"A", "arbiter"}, false);
  cut({"B", "arbiter"}, false);
  return cluster.run_until([&] { return cluster.status(0).serving && cluster.status(2).serving; }, 5 * kSecond);
}

TEST(TwoArbiters, ARecordIsPutBackOnlyUnderAllLeases) {
  EXPECT_FALSE(both_serve_at_two_arbiters());
  planted_bug_now = PlantedBug::reinstalled_without_leases;
  EXPECT_TRUE(both_serve_at_two_arbiters());
  planted_bug_now = PlantedBug::none;
}

}  // namespace
}  // namespace resilver::replica
