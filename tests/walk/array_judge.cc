#include "tests/walk/array_judge.h"

#include <fmt/format.h>

#include <cstdlib>
#include <set>
#include <sstream>

namespace resilver::test::array_walk {
namespace {

constexpr int kInterrupted = 130;
constexpr int kKilled = 128 + 9;

bool is_mistake_of_ours(const std::string& text) {
  for (const char* word : {"CHECK", "Sanitizer", "runtime error:", "terminate called", "Assertion"}) {
    if (text.find(word) != std::string::npos) return true;
  }
  return false;
}

// RESILVER_WALK_KNOWN="TEXT|TEXT": a complaint with one of these texts does not end a round, so that it finds what else
// there is.
bool is_known(const std::string& complaint) {
  const char* known = std::getenv("RESILVER_WALK_KNOWN");
  std::istringstream texts(known == nullptr ? "" : known);
  for (std::string text; std::getline(texts, text, '|');) {
    if (complaint.find(text) != std::string::npos) return true;
  }
  return false;
}

// Commands that either do what they were asked for or leave everything as it was. Those that change who is a member are
// judged by the members: what only the running array can refuse has started and stopped it, which counts its events.
// (An import without room may have written some stripes.)
const std::set<std::string> kAllOrNothing = {"import", "create"};
const std::set<std::string> kNeverWrite = {"status", "examine", "export", "stop"};

std::string letters_of_text(const std::string& text) {
  const std::size_t begin = text.find("] [");
  if (begin == std::string::npos) return "";
  return text.substr(begin + 3, text.find(']', begin + 3) - begin - 3);
}

}  // namespace

void Judge::note(const std::string& what) { story_ += fmt::format("{:8.3f}  {}\n", lab_.now(), what); }

void Judge::complain(const std::string& what) {
  if (is_known(what)) return note("KNOWN: " + what);
  complaints_ += what + "\n";
  note("WRONG: " + what);
}

void Judge::command(const Ran& ran) {
  const Ended& ended = ran.ended;
  const std::string all = fmt::format("{}: {}", ran.line, ended.all());
  if (ran.hung) return complain("does not end by itself: " + ran.line);
  if (is_mistake_of_ours(ended.out + ended.err)) complain("a mistake of its own: " + all);
  std::set<int> codes = {0, 1};
  if (ran.cut) codes.insert({kInterrupted, kKilled});
  if (!codes.contains(ended.code)) complain("no code that it is documented to end with: " + all);
  if (ended.code == 1 && (ended.out + ended.err).empty()) complain("fails without a word: " + all);
  const bool refused = ended.code == 1 && (kAllOrNothing.contains(ran.command) ||
                                           ended.err.find("nothing was written") != std::string::npos);
  if (ran.changed && refused && !ran.cut && !ran.cramped) complain("refused, but changed an image: " + all);
  if (ran.changed && kNeverWrite.contains(ran.command)) complain("changed an image: " + all);
}

void Judge::status(const Seen& seen, bool members) {
  const std::string all = fmt::format("{}{}--test: {}", seen.json.all(), seen.text.all(), seen.test.all());
  for (const Ended* one : {&seen.text, &seen.json, &seen.test}) {
    if (is_mistake_of_ours(one->out + one->err)) complain("a mistake of its own: " + all);
  }
  if (seen.changed) complain("status changed an image: " + all);
  if (seen.text.code > 1 || seen.json.code > 1) complain("status ends with no documented code: " + all);
  if (members && !seen.told) return complain("status tells nothing: " + all);
  if (!seen.told) return;
  // One array, three times the same.
  if (seen.text.code != seen.json.code) complain("status and status --json end differently: " + all);
  if (seen.runs() && seen.size > 0 && !seen.slots.empty() && seen.text.out.find(" raid0 ") == std::string::npos &&
      letters_of_text(seen.text.out) != seen.slots)
    complain("status and status --json differ in the slots: " + all);
  if (seen.runs() == (seen.text.out.find(" : inactive") != std::string::npos))
    complain("status and status --json differ in whether it runs: " + all);
  const int expected = !seen.runs() ? 2 : seen.lacks() || seen.lacks_journal ? 1 : 0;
  if (seen.test.code != expected)
    complain(fmt::format("status --test ends with {}, not {}: {}", seen.test.code, expected, all));
  if (seen.runs() && seen.lacks() && seen.next.empty())
    complain("redundancy is missing, and status does not say what is to be done: " + all);
}

}  // namespace resilver::test::array_walk
