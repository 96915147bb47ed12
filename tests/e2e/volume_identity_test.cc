// Who is who, and nothing goes back: records, images and files that are restored, lost, copied, exchanged or damaged. Whatever
// happens, nothing acknowledged is overwritten unasked, and whoever waits says why.
#include <signal.h>
#include <unistd.h>

#include <chrono>

#include "tests/e2e/volume.h"

namespace resilver::test {
namespace {

class VolumeIdentity : public VolumeTest {
 protected:
  static void copy(const std::string& from, const std::string& to) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  }
  std::string state() const { return directory_ / "arbiter"; }

  // B dies, A goes on alone with `newer`; then A and the arbiter stop. The arbiter's state of before is kept in "backup".
  void leave_a_alone(const std::string& older, const std::string& newer) {
    import(older);
    copy(state(), directory_ / "backup");
    kill("B");
    ASSERT_TRUE(eventually_in_sync(1));
    import(newer);
    stop("A");
    stop_arbiter();
  }
};

const std::size_t kBytes = 100'000;

// ---- the arbiter's record --------------------------------------------------------------------------------------------

// B cannot know that A went on: it may serve. A knows: then there are two histories, and nobody overwrites the other.
TEST_F(VolumeIdentity, ARestoredRecordOverwritesNothing) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string older = noise(kBytes, 1), newer = noise(kBytes, 2);
  ASSERT_NO_FATAL_FAILURE(leave_a_alone(older, newer));
  copy(directory_ / "backup", state());
  start_arbiter();
  start("B");
  ASSERT_TRUE(eventually_in_sync(1));
  EXPECT_TRUE(export_text(kBytes) == older);
  import(noise(4096, 3));
  start("A");
  ASSERT_TRUE(eventually_has("fork", "A"));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "diverged") == "true"; }));
  const State shown = status();
  EXPECT_EQ(shown.at("primary"), "B");
  EXPECT_NE(shown.command_of("fork").find("volume resolve --config " + config_ + " --discard "), std::string::npos)
      << shown.text();
  stop("A");
  EXPECT_TRUE(held_by("A", kBytes) == newer) << "the newest acknowledged data was overwritten";
  start("A");
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "diverged") == "true"; }));
  done({"resolve", "--discard", "B"});
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == newer);
  stop_all();
  expect_equal(names_);
}

// As above, but the newest copy starts first, or with the other: it knows more than the arbiter, which is told.
TEST_F(VolumeIdentity, ARestoredRecordIsNotObeyedByWhoKnowsMore) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string newer = noise(kBytes, 2);
  ASSERT_NO_FATAL_FAILURE(leave_a_alone(noise(kBytes, 1), newer));
  copy(directory_ / "backup", state());
  start_arbiter();
  start("A");
  ASSERT_TRUE(eventually_has("older_record", "A"));
  start("B");
  ASSERT_TRUE(eventually_has("newer_elsewhere", "B"));
  const State waiting = status();
  EXPECT_EQ(waiting.at("serving"), "false");
  EXPECT_EQ(waiting.command_of("older_record"), "resilver volume recover --config " + config_);
  const Ended recovered = done({"recover"});
  EXPECT_NE(recovered.out.find("A is the newest: all that could know better have answered"), std::string::npos)
      << recovered.out;
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == newer);
}

TEST_F(VolumeIdentity, ADamagedRecordIsMended) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string newer = noise(kBytes, 2);
  ASSERT_NO_FATAL_FAILURE(leave_a_alone(noise(kBytes, 1), newer));
  // One byte of each copy in turn that differs from the backup: of one copy at a time.
  const std::string now = read_text(state()), before = read_text(directory_ / "backup");
  std::size_t changed = 0;
  for (std::size_t at = 0; at < now.size(); at += 4096) {
    if (now.compare(at, 4096, before, at, 4096) == 0) continue;
    ++changed;
    std::string damaged = now;
    damaged[at + 40] = static_cast<char>(damaged[at + 40] ^ 1);
    write_text(state(), damaged);
    start_arbiter();
    start("B");
    ASSERT_TRUE(eventually_has("no_primary", "B")) << "B is not in sync by the newest record";
    EXPECT_EQ(status().at("serving"), "false");
    kill("B");
    stop_arbiter();
  }
  EXPECT_GE(changed, 3u);
  start_arbiter();
  start("A");
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == newer);
}

TEST_F(VolumeIdentity, ARecordRestoredUnderRunningNodesIsPutRight) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  copy(state(), directory_ / "backup");
  kill("C");
  ASSERT_TRUE(eventually_in_sync(2));
  const std::string text = noise(kBytes, 5);
  import(text);
  const std::uint64_t epoch = status().number("epoch");
  stop_arbiter();
  copy(directory_ / "backup", state());
  start_arbiter();
  ASSERT_TRUE(eventually_status([epoch](const State& now) { return now.number("epoch") > epoch; }));
  kill("A");
  ASSERT_TRUE(eventually_in_sync(1));
  EXPECT_TRUE(export_text(kBytes) == text);
  start("A");
  start("C");
  ASSERT_TRUE(eventually_in_sync(3));
  stop_all();
  expect_equal(names_);
}

TEST_F(VolumeIdentity, ALostRecordCostsAHealthyVolumeNothing) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes, 5);
  import(text);
  const std::uint64_t epoch = status().number("epoch");
  stop_arbiter();
  ASSERT_TRUE(eventually_has("arbiter_away"));
  std::filesystem::remove(state());
  start_arbiter();
  ASSERT_TRUE(eventually_status([epoch](const State& now) { return now.number("epoch") > epoch; }));
  kill("A");
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == text);
  start("A");
  ASSERT_TRUE(eventually_in_sync(3));
}

TEST_F(VolumeIdentity, ALostRecordIsRecoveredFromTheCopies) {
  configure(3);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes, 5);
  import(text);
  stop_all();
  std::filesystem::remove(state());
  start_arbiter();
  start("B");
  ASSERT_TRUE(eventually_has("no_record", "B"));
  EXPECT_EQ(status().command_of("no_record"), "resilver volume recover --config " + config_);
  const Ended doubted = volume({"recover"});
  EXPECT_EQ(doubted.code, 1) << doubted.all();
  EXPECT_NE(doubted.out.find("did not answer, and may know more"), std::string::npos) << doubted.out;
  EXPECT_NE(doubted.err.find("--from B"), std::string::npos) << doubted.err;
  start("A");
  start("C");
  for (const std::string& name : names_)
    ASSERT_TRUE(eventually_status([&](const State& now) { return now.of(name, "reachable") == "true"; }));
  done({"recover"});
  ASSERT_TRUE(eventually_in_sync(3));
  EXPECT_TRUE(export_text(kBytes) == text);
  const Ended live = volume({"recover"});
  EXPECT_EQ(live.code, 1);
  EXPECT_NE(live.err.find("is the primary: there is nothing to recover"), std::string::npos) << live.err;
}

// Also where both sides were forced at an arbiter that knew nothing.
TEST_F(VolumeIdentity, ForcedWithoutARecordNobodyIsIdleForEver) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes, 1));
  stop_all();
  std::filesystem::remove(state());
  start_arbiter();
  start("A");
  ASSERT_TRUE(eventually_has("no_record", "A"));
  done({"promote", "A", "--force"});
  const std::string ours = noise(kBytes, 2);
  import(ours);
  stop("A");
  stop_arbiter();
  std::filesystem::remove(state());
  start_arbiter();
  start("B");
  ASSERT_TRUE(eventually_has("no_record", "B"));
  done({"promote", "B", "--force"});
  import(noise(kBytes, 3));
  start("A");
  ASSERT_TRUE(eventually_has("fork", "A"));
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("A", "diverged") == "true"; }));
  done({"resolve", "--discard", "B"});
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == ours);
}

// ---- names -----------------------------------------------------------------------------------------------------------

// A test system's file is a copy of production's, in which B's addresses were forgotten.
TEST_F(VolumeIdentity, TwoVolumesOfOneNameDoNotTouchEachOther) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  const std::string text = noise(kBytes, 1);
  import(text);
  const std::string folder = directory_ / "test";
  std::filesystem::create_directory(folder);
  std::string file = read_text(config_);
  const auto id = file.find("\nid = ");
  file.erase(id, file.find('\n', id + 1) - id);
  for (const int port : {7400, 7401, 7501}) file = with(address(port), address(port + 2000), file);
  const std::string config = folder + "/web.toml";
  write_text(config, file);
  ASSERT_EQ(run_program({"volume", "create", "--config", config}).code, 0);
  Program arbiter({"arbiter", "--state", folder + "/arbiter", "--listen", address(9400)});
  Program other({"node", "--config", config, "--name", "A"});
  const auto shown = [&] { return State(run_program({"volume", "status", "--config", config, "--json"}).out); };
  ASSERT_TRUE(eventually([&] { return shown().has("other_volume", "B"); })) << shown().text();
  ASSERT_TRUE(eventually_in_sync(2)) << "production goes on";
  kill("A");
  EXPECT_TRUE(export_text(kBytes) == text);
}

// ---- copies ----------------------------------------------------------------------------------------------------------

TEST_F(VolumeIdentity, ACloneOfACopyIsNotTakenForIt) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes, 1));
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  const std::string folder = directory_ / "clone";
  std::filesystem::create_directory(folder);
  copy(image("B"), folder + "/B.img");
  std::string file = read_text(config_);
  for (const int port : {7402, 7502}) file = with(address(port), address(port + 2000), file);
  write_text(folder + "/web.toml", file);
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  Program clone({"node", "--config", folder + "/web.toml", "--name", "B"});
  const auto shown = [&] {
    return State(run_program({"volume", "status", "--config", folder + "/web.toml", "--json"}).out);
  };
  ASSERT_TRUE(eventually([&] { return shown().has("no_primary", "B") || shown().has("second_life", "B"); }))
      << shown().text();
  kill("A");
  const std::string text = noise(kBytes, 2);
  ASSERT_TRUE(eventually_in_sync(1));
  import(text);
  ASSERT_TRUE(eventually([&] { return shown().has("second_life", "B"); })) << shown().text();
  EXPECT_NE(shown().of("B", "role"), "primary") << shown().text();
  start("A");
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == text);
}

// Taken live, put back later: it is brought up to date right, by bitmap or by checksum.
TEST_F(VolumeIdentity, ASnapshotThatIsPutBackIsBroughtUpToDate) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes, 1));
  copy(image("B"), directory_ / "snapshot");
  import(noise(kBytes, 2));
  sleep(7);  // bits are cleared five seconds after the last write
  ASSERT_TRUE(eventually_status([](const State& now) { return now.number_of("A", "dirty_bits") == 0; }));
  import(noise(5'000, 3));
  stop("B");
  ASSERT_TRUE(eventually_in_sync(1));
  copy(directory_ / "snapshot", image("B"));
  start("B");
  ASSERT_TRUE(eventually_in_sync(2));
  done({"verify"});
  stop_all();
  expect_equal(names_);
}

// A member that went back and is started first serves old data, which nobody can know; then it shows.
TEST_F(VolumeIdentity, ASnapshotThatStartsFirstRollsNobodyBack) {
  configure(2);
  ASSERT_NO_FATAL_FAILURE(start_all());
  import(noise(kBytes, 1));
  copy(image("B"), directory_ / "snapshot");
  const std::string newest = noise(kBytes, 2);
  import(newest);
  sleep(2);  // marks are kept each second
  kill("A");
  kill("B");
  copy(directory_ / "snapshot", image("B"));
  start("B");
  ASSERT_TRUE(eventually_in_sync(1));
  start("A");
  ASSERT_TRUE(eventually_has("lost_writes", "A"));
  stop("A");
  EXPECT_TRUE(held_by("A", kBytes) == newest) << "the newest copy was rolled back";
  start("A");
  ASSERT_TRUE(eventually_has("lost_writes", "A"));
  done({"resolve", "--discard", "B"});
  ASSERT_TRUE(eventually_in_sync(2));
  EXPECT_TRUE(export_text(kBytes) == newest);
}

// An ordinary crash of everything is none of all that.
TEST_F(VolumeIdentity, ACrashOfAllIsNotTakenForAnOldImage) {
  configure(3, "ack = \"quorum\"\n");
  ASSERT_NO_FATAL_FAILURE(start_all());
  for (int round = 0; round < 3; ++round) {
    const std::string text = noise(kBytes, static_cast<std::uint32_t>(round));
    import(text);
    for (const std::string& name : names_) node(name).signal(SIGKILL);
    arbiter_->signal(SIGKILL);
    nodes_.clear();
    start_arbiter();
    for (const std::string& name : names_) start(name);
    ASSERT_TRUE(eventually_in_sync(3));
    EXPECT_TRUE(export_text(kBytes) == text);
    const State now = status();
    for (const char* code : {"went_back", "lost_writes", "fork", "damaged_metadata", "second_life"})
      EXPECT_FALSE(now.has(code)) << now.text();
  }
}

// ---- files -----------------------------------------------------------------------------------------------------------

// The lease is in the record: a node that is more patient by its own file serves no longer for that.
TEST_F(VolumeIdentity, FilesThatDifferAreToldAndCostNothing) {
  detect_ = "8s";
  configure(2);
  done({"create"});
  const std::string slow = read_text(config_);
  const std::string fast = directory_ / "fast.toml";
  write_text(fast, with("8s", "600ms", slow));
  start_arbiter();
  start("A");
  nodes_["B"] = std::make_unique<Program>(Words{"node", "--config", fast, "--name", "B"});
  ASSERT_TRUE(eventually_in_sync(2));
  ASSERT_TRUE(eventually_has("files_differ", "B"));
  EXPECT_NE(volume({"status"}).out.find("detect"), std::string::npos);
  import(noise(kBytes, 1));
  // A hangs; B may not serve before A's lease of 6.4 s is over.
  node("A").signal(SIGSTOP);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(eventually_status([](const State& now) { return now.of("B", "serving") == "true"; }, 40));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(took.count(), 6.0);
  node("A").signal(SIGCONT);
  ASSERT_TRUE(eventually_in_sync(2));
}

}  // namespace
}  // namespace resilver::test
