#include "tests/walk/walker.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "tests/walk/interrupt.h"

namespace resilver::test {
namespace {

constexpr double kOrderSeconds = 40;
constexpr double kLongOrder = 12;  // resync and verify wait as long as it takes: then SIGINT

// What one write puts into one block: of its own, wherever and whenever it is found.
std::string content_of(std::uint64_t seed, std::uint64_t write, std::uint64_t block) {
  Random random(seed * 0x9e3779b97f4a7c15ull ^ write << 32 ^ block);
  std::string bytes(kWalkBlock, '\0');
  for (std::size_t at = 0; at < bytes.size(); at += 8) {
    const std::uint64_t word = random.next();
    std::memcpy(bytes.data() + at, &word, 8);
  }
  return bytes;
}

std::string last_lines(const std::string& text, std::size_t count) {
  std::vector<std::string> lines = lines_of(text);
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  std::string last;
  for (const std::string& line : lines) last += "  " + line + "\n";
  return last;
}

}  // namespace

Walker::Walker(const Plan& plan)
    : plan_(plan), lab_(plan_), journal_(lab_), judge_(plan_, lab_, journal_), operator_(plan_, lab_, judge_, journal_) {}

void Walker::begin() {
  if (plan_.array != '-') {
    const std::string folder = lab_.path(fmt::format("array{}", plan_.array));
    const Ran ran = lab_.run(
        {"create", folder, "--level", "1", "--disks", "2", "--size", fmt::format("{}M", kArrayDiskBytes >> 20)});
    if (!ran.good()) return journal_.complain(ran.ended.all());
  }
  const Ran made = lab_.volume({"create"});
  if (!made.good()) return journal_.complain(made.ended.all());
  start_all();
}

void Walker::take(const Step& step) {
  if (!journal_.good() || interrupted()) return;
  const bool taken = carry_out(step);
  journal_.note(text_of(step) + (taken ? "" : "   (not possible)"));
  judge_.deaths();
  if (!client_) judge_.images();
}

bool Walker::carry_out(const Step& step) {
  if (step.who >= 'A' && step.who <= 'Z' && step.who != kArbiter && !lab_.is_node(step.who)) return false;
  if (step.verb <= Verb::read) return take_client_step(step);
  if (step.verb != Verb::wait && step.verb != Verb::settle) unserved_ = false;
  if (step.verb <= Verb::settle) return take_process_step(step);
  if (step.verb <= Verb::advice) return take_order(step);
  if (step.verb <= Verb::reid) return take_offline_order(step);
  if (step.verb <= Verb::second_arbiter) return take_state_step(step);
  if (step.verb <= Verb::free_disk) return take_image_step(step);
  return take_file_step(step);
}

// ---- the client ------------------------------------------------------------------------------------------------------

bool Walker::take_client_step(const Step& step) {
  switch (step.verb) {
    case Verb::write: return write(step);
    case Verb::begin_write: return begin_write(step);
    case Verb::begin_load: return begin_load(step);
    case Verb::end_client: return client_ ? end_client(), true : false;
    default: return read();
  }
}

bool Walker::write(const Step& step) {
  if (!begin_write(step)) return false;
  end_client();
  return true;
}

bool Walker::begin_write(const Step& step) {
  end_client();
  if (unserved_) return false;
  std::string bytes;
  const std::uint64_t number = ++writes_;
  for (std::uint64_t i = 0; i < step.b; ++i) bytes += content_of(plan_.seed, number, step.a + i);
  write_text(lab_.path("in"), bytes);
  Words words =
      lab_.volume_words({"attach", "--import", lab_.path("in"), "--offset", std::to_string(step.a * kWalkBlock)});
  Client client{nullptr, std::move(words), judge_.about_to_write(step.a, image_of(bytes))};
  client.program = lab_.begin(client.words);
  client_ = std::move(client);
  return true;
}

// Its verdict is that of a mode that loses nothing.
bool Walker::begin_load(const Step& step) {
  end_client();
  if (!judge_.firm() || !judge_.innocent() || unserved_) return false;
  judge_.forget_all();
  Words words = lab_.volume_words({"attach", "--load", fmt::format("{}ms", step.a), "--json", "--yes-destroy-data"});
  client_ = Client{lab_.begin(words), words, std::nullopt};
  return true;
}

void Walker::end_client() {
  if (!client_) return;
  Client client = std::move(*client_);
  client_.reset();
  const Ran ran = lab_.await(*client.program, client.words, kOrderSeconds);
  if (ran.interrupted) journal_.complain(fmt::format("{} does not end in {} s", ran.line, kOrderSeconds));
  if (client.writing) {
    judge_.command(ran);
    judge_.wrote(*client.writing, ran.good());
    unserved_ = !ran.good();
  } else {
    judge_.loaded(ran);
  }
  journal_.note(fmt::format("{} in {:.3f} s: {}", client.writing ? "write" : "load", ran.seconds,
                            ran.good() ? "acknowledged" : ran.ended.all()));
}

bool Walker::read() {
  end_client();
  if (unserved_) return false;
  const std::string file = lab_.path("out");
  const Ran ran = lab_.volume({"attach", "--export", file, "--length", std::to_string(kWalkBlocks * kWalkBlock)});
  judge_.command(ran);
  if (ran.good()) judge_.exported(read_text(file));
  unserved_ = !ran.good();
  journal_.note(fmt::format("read in {:.3f} s: {}", ran.seconds, ran.good() ? "done" : ran.ended.all()));
  return true;
}

// ---- processes -------------------------------------------------------------------------------------------------------

std::vector<char> Walker::those(char who) const {
  if (who == kArbiter || lab_.is_node(who)) return {who};
  std::vector<char> all = lab_.nodes();
  all.push_back(kArbiter);
  return all;
}

bool Walker::take_process_step(const Step& step) {
  switch (step.verb) {
    case Verb::flap: flap(step); return true;
    case Verb::wait: usleep(static_cast<useconds_t>(step.a * 1000)); return true;
    case Verb::settle: settle(static_cast<double>(step.a) / 1000); return true;
    default: break;
  }
  bool any = false;
  for (const char who : those(step.who)) {
    if (step.verb == Verb::start) {
      any = any || !lab_.running(who);
      lab_.start(who);
      continue;
    }
    if (!lab_.running(who) || (step.verb == Verb::thaw && !lab_.frozen(who))) continue;
    any = true;
    if (step.verb == Verb::kill) lab_.kill(who);
    if (step.verb == Verb::freeze) lab_.freeze(who);
    if (step.verb == Verb::thaw) lab_.thaw(who);
    if (step.verb == Verb::stop && !lab_.stop(who))
      journal_.complain(fmt::format("{} does not stop as it should", who));
    judge_.failed(who);
  }
  return any;
}

void Walker::flap(const Step& step) {
  const double until = lab_.now() + static_cast<double>(step.a) / 1000;
  while (lab_.now() < until && !interrupted()) {
    lab_.freeze(step.who);
    usleep(static_cast<useconds_t>(step.b * 1000));
    lab_.thaw(step.who);
    usleep(static_cast<useconds_t>(step.b * 1000));
    judge_.failed(step.who);
  }
}

void Walker::settle(double seconds) {
  const double until = lab_.now() + (unserved_ ? std::min(seconds, 1.0) : seconds);
  while (lab_.now() < until && !interrupted()) {
    const VolumeStatus status = lab_.status();
    judge_.status(status);
    if (status.serving) {
      unserved_ = false;
      return;
    }
    usleep(50'000);
  }
}

// ---- the operator ----------------------------------------------------------------------------------------------------

bool Walker::order(const Words& words, double limit) {
  const Ran ran = lab_.volume(words, limit);
  judge_.command(ran);
  const bool may_wait = words[0] == "resync" || words[0] == "verify";
  if (ran.interrupted && !may_wait) journal_.complain(fmt::format("{} does not end in {} s", ran.line, limit));
  journal_.note(fmt::format("{} in {:.3f} s: {}", ran.line, ran.seconds, ran.ended.all()));
  return ran.good();
}

bool Walker::order_named(const Step& step, const char* verb) {
  order({verb, std::string(1, step.who)});
  return true;
}

bool Walker::take_order(const Step& step) {
  end_client();
  const std::string recover = "resilver volume recover --config " + lab_.config();
  switch (step.verb) {
    case Verb::status: judge_.status(lab_.status()); return true;
    case Verb::promote: return order_named(step, "promote");
    case Verb::force: judge_.may_be_outdated(); return order({"promote", std::string(1, step.who), "--force"}), true;
    case Verb::demote: return order({"demote"}), true;
    case Verb::ack:
      if (step.a >= 2) judge_.soft_mode();
      return order({"ack", kAckNames[step.a]}), true;
    case Verb::verify:
    case Verb::repair: {
      Words words = {"verify", "--json"};
      if (step.verb == Verb::repair) words.push_back("--repair");
      const Ran ran = lab_.volume(words, kLongOrder);
      judge_.verified(ran);
      journal_.note(fmt::format("{}: {}", ran.line, ran.ended.code));
      return true;
    }
    case Verb::resync:
    case Verb::resync_full: return resync(step);
    case Verb::resolve: return operator_.resolve(std::string(1, step.who)), true;
    case Verb::recover: return operator_.recover(recover), true;
    case Verb::recover_from: return operator_.recover(fmt::format("{} --from {}", recover, step.who)), true;
    case Verb::abort: return order({"recover", "--abort"}), true;
    default: return operator_.follow_once(), true;
  }
}

bool Walker::resync(const Step& step) {
  Words words = {"resync", std::string(1, step.who)};
  if (step.verb == Verb::resync_full) words.push_back("--full");
  const Ran ran = lab_.volume(words, kLongOrder);
  judge_.command(ran);
  journal_.note(fmt::format("{} in {:.3f} s: {}", ran.line, ran.seconds, ran.ended.all()));
  if (ran.good() || ran.interrupted) judge_.give_up({step.who});
  return true;
}

void Walker::stop_all() {
  end_client();
  lab_.kill(kClone);
  for (const char who : those('*')) {
    if (!lab_.stop(who)) journal_.complain(fmt::format("{} does not stop as it should", who));
    judge_.failed(who);
  }
}

void Walker::start_all() {
  lab_.start(kArbiter);
  for (const char who : lab_.nodes()) lab_.start(who);
}

bool Walker::take_offline_order(const Step& step) {
  stop_all();
  judge_.deaths();
  for (const char who : lab_.nodes()) lab_.give_same_file(who);  // they change the one file, which is copied then
  bool done = true;
  if (step.verb == Verb::grow_volume) {
    order({"grow", "--size", fmt::format("{}MiB", (lab_.volume_bytes() >> 20) + step.a)});
  } else if (step.verb == Verb::reid) {
    done = exists(lab_.state()) && order({"reid", "--state", lab_.state()});
  } else {
    const char other = lab_.nodes()[static_cast<std::size_t>(step.who - 'A' + 1) % lab_.nodes().size()];
    done = !lab_.image(step.who).empty() && !lab_.image(other).empty() && !lab_.small_disk();
    if (done) {
      lab_.swap_images(step.who, other);
      for (const char who : {step.who, other}) order({"adopt", "--name", std::string(1, who)});
    }
  }
  start_all();
  return done;
}

// ---- the arbiter's state ---------------------------------------------------------------------------------------------

bool Walker::take_state_step(const Step& step) {
  const std::string state = lab_.state(), kept = lab_.path("kept-state");
  if (step.verb == Verb::keep_state) return exists(state) && (copy_bytes(state, kept), true);
  if (step.verb == Verb::second_arbiter) {
    judge_.may_be_outdated();
    lab_.start_second_arbiter();
    return true;
  }
  if (lab_.running(kArbiter) || (step.verb != Verb::lose_state && !exists(state))) return false;
  if (step.verb == Verb::restore_state && !exists(kept)) return false;
  if (step.verb == Verb::foreign_state && !lab_.make_foreign_state()) return false;
  judge_.may_be_outdated();
  const FileLock lock(state);
  switch (step.verb) {
    case Verb::lose_state: std::filesystem::remove(state); return true;
    case Verb::restore_state: copy_bytes(kept, state); return true;
    case Verb::foreign_state:
      copy_bytes(state, lab_.path("own"));
      copy_bytes(lab_.path("foreign"), state);
      return true;
    default: journal_.note("damage:" + damage(state, 0, static_cast<Damage>(step.a % kDamages), step.b)); return true;
  }
}

// ---- images ----------------------------------------------------------------------------------------------------------

bool Walker::take_image_step(const Step& step) {
  if (step.verb == Verb::stop_clone) {
    const bool runs = lab_.running(kClone);
    lab_.kill(kClone);
    return runs;
  }
  if (step.verb == Verb::free_disk || step.verb == Verb::fill_disk) {
    SmallFileSystem* const disk = lab_.small_disk();
    if (disk == nullptr || !disk->good()) return false;
    step.verb == Verb::fill_disk ? disk->fill() : disk->free();
    return true;
  }
  const std::string image = lab_.image(step.who), kept = lab_.path(fmt::format("kept-{}", step.who));
  if (step.verb == Verb::lose_disk) {
    if (!lab_.on_array(step.who) || lab_.running(step.who) || !lab_.lose_disk(step.who)) return false;
    judge_.destroyed();
    return true;
  }
  if (image.empty() || !exists(image)) return false;
  if (step.verb == Verb::keep_image) return judge_.kept(step.who), copy_bytes(image, kept), true;
  if (step.verb == Verb::start_clone) {
    if (lab_.running(kClone)) return false;
    judge_.may_be_outdated();
    judge_.cloned(step.who);
    lab_.start_clone(step.who);
    return true;
  }
  if (lab_.running(step.who) || (step.verb == Verb::restore_image && !exists(kept))) return false;
  const FileLock lock(image);
  const std::uint64_t size = std::filesystem::file_size(image);
  switch (step.verb) {
    case Verb::restore_image:
      copy_bytes(kept, image);
      judge_.put_back(step.who);
      return true;
    case Verb::damage_tail:
      judge_.not_innocent();
      journal_.note("damage:" + damage(image, lab_.volume_bytes(), static_cast<Damage>(step.a % kDamages), step.b));
      return true;
    case Verb::grow_image: std::filesystem::resize_file(image, size + step.a); return true;
    case Verb::cut_image: std::filesystem::resize_file(image, size - std::min(size, step.a)); break;
    default: put_bytes(image, 0, std::string(size, '\0')); break;
  }
  judge_.destroyed();
  return true;
}

// ---- the volume's file -----------------------------------------------------------------------------------------------

bool Walker::take_file_step(const Step& step) {
  if (step.verb == Verb::meddle) {
    put_bytes(lab_.image(step.who), step.a * kWalkBlock, std::string(step.b * kWalkBlock, 'x'));
    return true;
  }
  const bool differs = step.verb == Verb::other_file;
  if (!differs && !lab_.has_other_file(step.who)) return false;
  if (differs && step.a == 3 && lab_.nodes().size() < 3) return false;
  differs ? lab_.give_other_file(step.who, step.a) : lab_.give_same_file(step.who);
  const bool ran = lab_.running(step.who);
  if (!lab_.stop(step.who)) journal_.complain(fmt::format("{} does not stop as it should", step.who));
  judge_.failed(step.who);
  if (ran) lab_.start(step.who);
  return true;
}

// ---- the end ---------------------------------------------------------------------------------------------------------

void Walker::lift_faults() {
  end_client();
  lab_.kill(kClone);
  if (lab_.small_disk()) lab_.small_disk()->free();
  for (const char who : those('*')) {
    lab_.thaw(who);
    if (lab_.has_other_file(who)) take_file_step({Verb::same_file, who});
  }
  start_all();
}

void Walker::end() {
  if (!journal_.good() || interrupted()) return;
  lift_faults();
  unserved_ = false;
  journal_.note("faults are lifted");
  operator_.bring_back();
  if (!journal_.good() || interrupted()) return;
  journal_.note("whole");
  judge_.images();
  read();
  judge_rest();
}

void Walker::judge_rest() {
  const Ran verified = lab_.volume({"verify", "--json"});
  judge_.verified(verified);
  if (!verified.good()) journal_.complain("verify of a whole volume: " + verified.ended.all());
  stop_all();
  judge_.deaths();
  judge_.all_equal();
  judge_.images();
  judge_.nothing_left();
}

Outcome Walker::outcome() {
  Outcome outcome;
  outcome.good = journal_.good();
  for (const std::string& complaint : journal_.complaints()) outcome.complaints += complaint + "\n";
  outcome.report = text_of(plan_) + "\n" + journal_.text();
  if (outcome.good) return outcome;
  outcome.report += "last status:\n" + lab_.volume({"status"}).ended.all();
  std::vector<char> all = those('*');
  all.push_back(kClone);
  for (const char who : all) outcome.report += fmt::format("log of {}:\n{}", who, last_lines(lab_.log_of(who), 60));
  outcome.report += fmt::format("again: make walk N=1 SEED={}\n", plan_.seed);
  return outcome;
}

Outcome walk(const Plan& plan) {
  Walker walker(plan);
  walker.begin();
  for (const Step& step : plan.steps) walker.take(step);
  walker.end();
  return walker.outcome();
}

}  // namespace resilver::test
