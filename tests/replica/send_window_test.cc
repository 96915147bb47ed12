// How much a session gives to its connection follows the round trips of its beacons; what overtakes what.
#include <gtest/gtest.h>

#include <string>

#include "base/units.h"
#include "replica/session.h"
#include "tests/support/test_scheduler.h"

namespace resilver::replica {
namespace {

constexpr Nanos kMost = 20 * kMillisecond;

class Recorder final : public Connection {
 public:
  explicit Recorder(std::string& sent) : sent_(sent) {}
  Task<Status> send(Message message, Nanos) override {
    sent_ += static_cast<char>(message.head.front());
    co_return Status();
  }
  Task<Result<Message>> receive(Nanos) override { co_return fail(Errc::closed); }
  void close() noexcept override {}

 private:
  std::string& sent_;
};

class SessionsSendWindow : public testing::Test {
 protected:
  Message message(char name, std::uint64_t bytes) {
    Message message;
    message.head = {static_cast<std::byte>(name)};
    if (bytes != 0) message.body = buffers_.allocate(bytes);
    return message;
  }
  void beacons(int count, Nanos took, bool filled = false) {
    for (int i = 0; i < count; ++i, now_ += 100 * kMillisecond)
      session_.send_window().note_round_trip(now_ - took, filled, now_, kMost);
  }
  // Lets the session send what it can.
  void pump() {
    (void)scheduler_.run([](SessionsSendWindow& self) -> Task<void> {
      TaskGroup group(self.scheduler_);
      group.spawn(self.session_.pump());
      co_await sleep_for(self.scheduler_, kMillisecond);
      self.session_.close();
      co_await group.join();
    }(*this));
  }

  TestScheduler scheduler_;
  BufferPool buffers_{8 * kMiB};
  std::string sent_;
  Session session_{scheduler_, std::make_unique<Recorder>(sent_)};
  Nanos now_ = kSecond;
  std::uint64_t tag_ = 0;
};

TEST_F(SessionsSendWindow, WritesOvertakePiecesButNotForEver) {
  for (int i = 0; i < 3; ++i) session_.send_piece(++tag_, message('p', 4096));
  for (std::uint64_t i = 1; i <= 20; ++i) session_.send_numbered(i, message('w', 1024), 0);
  session_.send(message('c', 0));
  session_.send_urgent(message('u', 0));
  pump();
  EXPECT_EQ(sent_, "u" + std::string(16, 'w') + "p" + std::string(4, 'w') + "c" + "pp");
}

TEST_F(SessionsSendWindow, WhatDoesNotFitWaitsAndBeaconsDoNot) {
  session_.send_piece(++tag_, message('p', 96 * kKiB));
  session_.send_piece(++tag_, message('p', 96 * kKiB));
  session_.send_numbered(1, message('w', 64 * kKiB), 0);
  session_.send_numbered(2, message('w', 128 * kKiB), 0);
  session_.send_urgent(message('u', 0));
  pump();
  EXPECT_EQ(sent_, "uw") << "the second write does not fit, and what stands behind it waits";
}

TEST_F(SessionsSendWindow, OneMessageAlwaysFits) {
  session_.send_piece(++tag_, message('p', kMiB));
  session_.send_piece(++tag_, message('p', kMiB));
  pump();
  EXPECT_EQ(sent_, "p");
}

TEST_F(SessionsSendWindow, GrowsByBeaconsThatAllLeftBehindAFilledWindow) {
  const int round = static_cast<int>(SendWindow::kRound);
  beacons(10 * round, kMillisecond);
  EXPECT_EQ(session_.send_window().bytes(), SendWindow::kFirst);
  EXPECT_FALSE(session_.send_window().thin());
  beacons(round - 1, kMillisecond, true);
  beacons(1, kMillisecond);
  EXPECT_EQ(session_.send_window().bytes(), SendWindow::kFirst) << "a burst shows less than it may seem to";
  beacons(round, kMillisecond, true);
  EXPECT_EQ(session_.send_window().bytes(), 2 * SendWindow::kFirst);
}

TEST_F(SessionsSendWindow, IsFilledByHalfOfIt) {
  const SendWindow window;
  EXPECT_FALSE(window.filled(window.part() - kBlockBytes));
  EXPECT_TRUE(window.filled(window.part()));
  session_.send_piece(++tag_, message('p', SendWindow::kFirst / 2 - 4096));
  session_.send_numbered(1, message('w', 4096), 0);
  EXPECT_FALSE(session_.send_window_filled()) << "nothing has left";
  pump();
  EXPECT_TRUE(session_.send_window_filled());
}

TEST_F(SessionsSendWindow, GrowsByPiecesThatAreStoredAtOnce) {
  for (const auto& [took, grown] : {std::pair{kMost / 2 - 1, std::uint64_t{96} * kKiB}, {kMost / 2, std::uint64_t{0}}}) {
    Session session(scheduler_, std::make_unique<Recorder>(sent_));
    session.send_piece(1, message('p', 96 * kKiB));
    session.send_piece(2, message('p', 96 * kKiB));
    const auto answer = [&]() -> Task<void> {
      TaskGroup group(scheduler_);
      group.spawn(session.pump());
      co_await sleep_for(scheduler_, took);
      session.answered_piece(1, scheduler_.now(), kMost);
      session.close();
      co_await group.join();
    };
    EXPECT_TRUE(scheduler_.run(answer()));
    EXPECT_EQ(session.send_window().bytes(), SendWindow::kFirst + grown);
  }
}

TEST_F(SessionsSendWindow, DoesNotGrowByWhatDoesNotFillIt) {
  SendWindow window;
  EXPECT_TRUE(window.takes(0, 4096));
  window.note_stored(4096, 4096, 0, kMost);
  EXPECT_EQ(window.bytes(), SendWindow::kFirst);
}

TEST_F(SessionsSendWindow, IsHalvedOnceForWhatWasSentBefore) {
  session_.send_window().set(8 * kMiB);
  beacons(SendWindow::kRound, kMillisecond);
  now_ += kSecond;
  for (int i = 0; i < 2 * static_cast<int>(SendWindow::kRound); ++i)
    session_.send_window().note_round_trip(now_ + i, false, now_ + 50 * kMillisecond + i, kMost);
  EXPECT_EQ(session_.send_window().bytes(), 4 * kMiB) << "all were behind the same";
  EXPECT_TRUE(session_.send_window().thin());
  now_ += kSecond;
  beacons(20 * static_cast<int>(SendWindow::kRound), 50 * kMillisecond);
  EXPECT_EQ(session_.send_window().bytes(), SendWindow::kLeast);
}

TEST_F(SessionsSendWindow, OneLateBeaconTellsOfABusyMachineAlone) {
  session_.send_window().set(8 * kMiB);
  for (int i = 0; i < 100; ++i) {
    beacons(1, kMillisecond);
    beacons(static_cast<int>(SendWindow::kRound) - 1, 90 * kMillisecond);  // the one that ends the round, too
  }
  EXPECT_EQ(session_.send_window().bytes(), 8 * kMiB);
  EXPECT_FALSE(session_.send_window().thin());
}

TEST_F(SessionsSendWindow, AWayThatHasBecomeLongerIsNotTakenForAQueueForEver) {
  beacons(10, kMillisecond);
  beacons(2 * SendWindow::kHistory, 80 * kMillisecond);
  EXPECT_EQ(session_.send_window().bytes(), SendWindow::kLeast);
  beacons(static_cast<int>(SendWindow::kRound), 80 * kMillisecond, true);
  EXPECT_EQ(session_.send_window().bytes(), 2 * SendWindow::kLeast);
}

}  // namespace
}  // namespace resilver::replica
