// `volume recover` in virtual time: against a live primary, against another one, and killed at each step.
#include "service/recover.h"

#include "tests/service/town.h"

namespace resilver::service {
namespace {

using replica::Reason;

// Block 1 has version 1 on all, version 2 on A and B. All are down; the arbiter's record is gone.
void lose_record(Town& town) {
  town.start_all();
  ASSERT_TRUE(town.run_until([&] { return town.all_in_sync(); }));
  ASSERT_EQ(town.write(1, 1), Errc::ok);
  town.node(2).crash();
  ASSERT_EQ(town.write(1, 2), Errc::ok);
  town.node(0).crash();
  town.node(1).crash();
  town.arbiter().crash();
  town.new_arbiter();
  town.start_arbiter();
}

void start_nodes(Town& town) {
  for (int i = 0; i < Town::kNodes; ++i) town.start_node(i);
  ASSERT_TRUE(town.run_until([&] { return town.tells(0, Reason::no_record) && town.tells(1, Reason::no_record); }));
}

void expect_whole(Town& town) {
  ASSERT_TRUE(town.run_until([&] { return town.all_in_sync(); }));
  EXPECT_EQ(town.read(1), 2u);
  for (int i = 0; i < Town::kNodes; ++i) {
    const auto now = town.status(i);
    ASSERT_TRUE(now.has_value());
    EXPECT_FALSE(now->replica.diverged);
    EXPECT_TRUE(now->replica.findings.empty()) << reason_name(now->replica.findings.front().reason);
    EXPECT_EQ(town.facts(i)->super.promise.run, 0u) << "nobody waits for a recovery";
  }
}

TEST(Recover, ALostRecordGoesOnFromTheNewestCopies) {
  Town town(1);
  lose_record(town);
  start_nodes(town);
  const std::uint64_t before = town.facts(0)->super.epoch();
  Status done;
  town.recover(0, &done);
  ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
  ASSERT_TRUE(done.has_value()) << to_string(done.error());
  expect_whole(town);
  EXPECT_GT(town.facts(0)->super.epoch(), before) << "no epoch is ever lowered";
}

TEST(Recover, IsRefusedWhereAPrimaryLives) {
  Town town(2);
  town.start_all();
  ASSERT_TRUE(town.run_until([&] { return town.all_in_sync(); }));
  ASSERT_EQ(town.write(1, 2), Errc::ok);
  const auto before = town.facts(0)->super.known;
  // Also by one that does not look, or looked before it was one.
  Status done = fail(Errc::cancelled);
  town.operate(0, [&town, &done](Env& env) -> Task<void> {
    return [](Env& e, Town& t, Status& out) -> Task<void> {
      Recovery recovery(e, t.config);
      const Assessment found = co_await recovery.assess();
      EXPECT_EQ(found.live, replica::NodeId{0});
      out = co_await recovery.carry_out(found, 1);
    }(env, town, done);
  });
  ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, Errc::busy) << to_string(done.error());
  EXPECT_EQ(town.facts(0)->super.known, before);
  expect_whole(town);
}

// Whenever it is killed, the next one ends what it began.
TEST(Recover, KilledAtAnyTimeItCanBeRunAgain) {
  for (Nanos after = 0; after < 700 * kMillisecond;
       after += after < 20 * kMillisecond ? kMillisecond : 10 * kMillisecond) {
    SCOPED_TRACE(after / kMillisecond);
    Town town(100 + static_cast<std::uint64_t>(after));
    lose_record(town);
    start_nodes(town);
    Status first, second;
    town.recover(0, &first);
    town.run_for(after);
    town.desk(0).crash();
    town.run_for(kSecond);
    if (!town.serves()) {
      town.recover(1, &second);
      ASSERT_TRUE(town.run_until([&] { return !town.at_work(1); }));
      ASSERT_TRUE(second.has_value()) << to_string(second.error());
    }
    expect_whole(town);
  }
}

// ... and whoever of the others is killed meanwhile, and comes back.
TEST(Recover, ANodeOrTheArbiterThatIsKilledMeanwhileCostsNothing) {
  for (int who = 0; who < 3; ++who) {
    for (Nanos after = 0; after < 700 * kMillisecond; after += 20 * kMillisecond) {
      SCOPED_TRACE(std::to_string(who) + " after " + std::to_string(after / kMillisecond));
      Town town(1000 + static_cast<std::uint64_t>(after) + static_cast<std::uint64_t>(who));
      lose_record(town);
      start_nodes(town);
      Status done;
      town.recover(0, &done);
      town.run_for(after);
      who < 2 ? town.node(who).power_loss() : town.arbiter().power_loss();
      town.run_for(100 * kMillisecond);
      who < 2 ? town.start_node(who) : town.start_arbiter();
      ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
      town.run_for(2 * kSecond);
      if (!town.serves()) {
        town.recover(1, &done);
        ASSERT_TRUE(town.run_until([&] { return !town.at_work(1); }));
        ASSERT_TRUE(done.has_value()) << to_string(done.error());
      }
      expect_whole(town);
    }
  }
}

TEST(Recover, TwoAtOnceAreNotBothRight) {
  for (Nanos between = 0; between < 600 * kMillisecond; between += 10 * kMillisecond) {
    SCOPED_TRACE(between / kMillisecond);
    Town town(2000 + static_cast<std::uint64_t>(between));
    lose_record(town);
    start_nodes(town);
    std::array<Status, 2> done;
    town.recover(0, &done[0]);
    town.run_for(between);
    town.recover(1, &done[1]);
    ASSERT_TRUE(town.run_until([&] { return !town.at_work(0) && !town.at_work(1); }));
    EXPECT_FALSE(done[0].has_value() && done[1].has_value());
    town.run_for(2 * kSecond);
    if (!town.serves()) {
      town.recover(0, &done[0]);
      ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
      ASSERT_TRUE(done[0].has_value()) << to_string(done[0].error());
    }
    expect_whole(town);
  }
}

// What is not asked keeps what it has, and that shows.
TEST(Recover, WithoutTheNewestSomebodyMustChooseAndTheNewestIsKept) {
  Town town(3);
  lose_record(town);
  town.start_node(2);
  ASSERT_TRUE(town.run_until([&] { return town.tells(2, Reason::no_record); }));
  Status done;
  town.recover(0, &done);
  ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
  ASSERT_FALSE(done.has_value()) << "not proven";
  EXPECT_FALSE(town.serves());
  town.recover(0, &done, replica::NodeId{2});
  ASSERT_TRUE(town.run_until([&] { return !town.at_work(0); }));
  ASSERT_TRUE(done.has_value()) << to_string(done.error());
  ASSERT_TRUE(town.run_until([&] { return town.serves(); }));
  EXPECT_EQ(town.read(1), 1u);
  town.start_node(0);
  town.start_node(1);
  EXPECT_TRUE(town.run_until([&] { return town.tells(0, Reason::fork) && town.tells(1, Reason::fork); }));
  town.run_for(2 * kSecond);
  EXPECT_EQ(town.on_disk(0, 1), 2u) << "nobody has overwritten it";
  EXPECT_EQ(town.on_disk(1, 1), 2u);
}

}  // namespace
}  // namespace resilver::service
