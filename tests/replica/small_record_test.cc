// Small records: every state that six copies can be in, against the rule as docs/on-disk-volume.md and the design say it.
#include "replica/small_record.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/crc32c.h"
#include "base/endian.h"
#include "tests/replica/test_device.h"

namespace resilver::replica {
namespace {

constexpr std::uint64_t kMagic = 0x1122'3344'5566'7788;
constexpr std::uint64_t kCopies = SmallRecord::kCopies;
using Mend = SmallRecord::Mend;
using Place = SmallRecord::Place;

constexpr Place kTight{kBlockBytes, kBlockBytes, kBlockBytes};
constexpr Place kRoomy{8192, 1 << 20, SmallRecord::kMostRoom};

std::vector<std::byte> text(unsigned number, std::size_t bytes = 1200) {
  std::vector<std::byte> content(bytes);
  for (std::size_t i = 0; i < bytes; ++i) content[i] = static_cast<std::byte>(number * 37 + i * number);
  return content;
}

// One record on one content, as long as power stays.
class Rig {
 public:
  explicit Rig(Content& content) : device(env.scheduler(), content) { renew(); }
  void renew() { record.emplace(env.scheduler(), env.buffers(), device, kMagic); }

  Errc load(Place place, Mend mend) {
    Errc code = Errc::ok;
    EXPECT_TRUE(env.scheduler().run([](Rig& rig, Place where, Mend how, Errc& out) -> Task<void> {
      const Status loaded = co_await rig.record->load(where, how);
      out = loaded ? Errc::ok : loaded.error().code;
    }(*this, place, mend, code)));
    return code;
  }
  Errc format(Place place, std::span<const std::byte> content) {
    return env.scheduler().get(record->format(place, content));
  }
  Errc store(std::span<const std::byte> content) { return env.scheduler().get(record->store(content)); }

  TestEnv env;
  TestDevice device;
  std::optional<SmallRecord> record;
};

bool holds(const SmallRecord& record, std::span<const std::byte> content) {
  return std::ranges::equal(record.content(), content);
}

// What a fresh reader finds; nothing: an error.
std::optional<std::vector<std::byte>> read_back(Content content, Place place, Mend mend = Mend::yes) {
  Rig rig(content);
  if (rig.load(place, mend) != Errc::ok) return std::nullopt;
  return std::vector(rig.record->content().begin(), rig.record->content().end());
}

// A record after four stores: the content of each moment. At the last one set 1 has text(5) and set 0 has text(4).
struct Story {
  explicit Story(Place p, std::size_t bytes = 1200) : place(p) {
    Content content(p.end() + kBlockBytes);
    Rig rig(content);
    EXPECT_EQ(rig.format(place, text(2, bytes)), Errc::ok);
    moments.push_back(content);
    for (unsigned number = 3; number <= 5; ++number) {
      EXPECT_EQ(rig.store(text(number, bytes)), Errc::ok);
      moments.push_back(content);
    }
  }
  const Content& at(unsigned number) const { return moments[number - 2]; }
  std::vector<std::byte> copy(unsigned number, std::uint64_t i) const {
    return at(number).get(place.copy(i), place.room);
  }

  Place place;
  std::vector<Content> moments;
};

// ---- every state of every copy ---------------------------------------------------------------------------------------

enum class State : std::uint8_t {
  present,     // what belongs there: 5 in set 1, 4 in set 0
  stale,       // what was there before: 3, 2
  torn,        // some sectors of one, some of the other
  rotten,      // a bit flipped
  zeroed,      //
  unreadable,  // a medium error
  foreign,     // whole, of a later version of the program
};
constexpr std::uint64_t kStates = 7;

bool valid(State s) { return s == State::present || s == State::stale; }

// Whom to believe, from the states alone: the content's number, or the error.
struct Verdict {
  unsigned number = 0;
  Errc error = Errc::ok;
  unsigned bad = 0;
  std::uint64_t set = 0;
};

// Take the highest valid copy (older valid ones are not bad). Trust it if fewer than two of the other set are bad, or its
// own set is whole; else damaged.
Verdict judge(const std::array<State, kCopies>& states) {
  Verdict verdict;
  std::array<unsigned, 2> bad{};
  const auto number = [&](std::uint64_t i) {
    return static_cast<unsigned>(5 - (i % 2 == 0 ? 1 : 0) - (states[i] == State::stale ? 2 : 0));
  };
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    if (valid(states[i]) && number(i) > verdict.number) verdict.number = number(i), verdict.set = i % 2;
    if (!valid(states[i])) ++bad[i % 2], ++verdict.bad;
  }
  const auto any = [&](State s) { return std::ranges::find(states, s) != states.end(); };
  if (verdict.number == 0) {
    verdict.error = any(State::foreign)                      ? Errc::unsupported
                    : any(State::torn) || any(State::rotten) ? Errc::corrupt
                    : any(State::unreadable)                 ? Errc::medium
                                                             : Errc::not_found;
    return verdict;
  }
  unsigned own = 0;
  for (std::uint64_t i = verdict.set; i < kCopies; i += 2) own += valid(states[i]) && number(i) == verdict.number;
  if (bad[1 - verdict.set] >= 2 && own < 3) verdict.error = Errc::corrupt;
  return verdict;
}

class Copies {
 public:
  explicit Copies(const Story& story) : story_(story) {}

  void put(Content& content, std::uint64_t i, State state) const {
    const unsigned present = i % 2 == 0 ? 4 : 5;
    const std::uint64_t at = story_.place.copy(i);
    std::vector<std::byte> bytes = story_.copy(state == State::stale ? present - 2 : present, i);
    if (state == State::torn)
      std::ranges::copy_n(story_.copy(present - 2, i).begin(), 512 + 512 * (i % 2), bytes.begin());
    if (state == State::rotten) bytes[48 + 200 * i] ^= std::byte{0x10};
    if (state == State::zeroed) std::ranges::fill(bytes, std::byte{0});
    if (state == State::foreign) make_foreign(bytes);
    content.write(at, bytes);
    content.unreadable.erase(at / kBlockBytes);
    if (state == State::unreadable) content.unreadable.insert(at / kBlockBytes);
  }

 private:
  static void make_foreign(std::vector<std::byte>& bytes) {
    const auto length = load_le<std::uint32_t>(bytes.data() + 44);
    store_le<std::uint32_t>(bytes.data() + 8, 99);
    const auto all = std::span<const std::byte>(bytes);
    store_le<std::uint32_t>(bytes.data() + 12, crc32c(all.subspan(16, 32 + length), crc32c(all.first(12))));
  }

  const Story& story_;
};

void check_whole(Content content, const Story& story, const Verdict& verdict) {
  std::vector<std::byte> first = content.get(story.place.copy(verdict.set), story.place.room);
  for (std::uint64_t i = verdict.set; i < kCopies; i += 2) {
    EXPECT_EQ(content.get(story.place.copy(i), story.place.room), first) << "copy " << i;
    EXPECT_FALSE(content.unreadable.contains(story.place.copy(i) / kBlockBytes));
    // One of them may rot now.
    Content rotten = content;
    rotten.flip(story.place.copy(i) + 60);
    EXPECT_EQ(read_back(rotten, story.place, Mend::no), text(verdict.number)) << "copy " << i;
  }
}

TEST(SmallRecord, EveryCombinationOfStatesIsJudgedByTheRule) {
  const Story story(kTight);
  const Copies copies(story);
  Content content = story.at(5);
  Rig rig(content);
  std::uint64_t combinations = 1;
  for (std::uint64_t i = 0; i < kCopies; ++i) combinations *= kStates;
  std::array<State, kCopies> states{}, before;
  before.fill(State::foreign);
  for (std::uint64_t code = 0; code < combinations; ++code) {
    for (std::uint64_t i = 0, rest = code; i < kCopies; ++i, rest /= kStates) {
      states[i] = static_cast<State>(rest % kStates);
      if (states[i] != before[i]) copies.put(content, i, states[i]);
    }
    before = states;
    const Verdict verdict = judge(states);
    rig.renew();
    const Errc code_found = rig.load(story.place, Mend::no);
    ASSERT_EQ(code_found, verdict.error) << "combination " << code;
    if (verdict.error != Errc::ok) continue;
    ASSERT_TRUE(holds(*rig.record, text(verdict.number))) << "combination " << code;
    ASSERT_EQ(rig.record->bad_copies(), verdict.bad) << "combination " << code;
  }
  EXPECT_EQ(rig.device.writes(), 0u) << "only looked at";
}

TEST(SmallRecord, ItIsMadeWholeBeforeAnybodyActsOnIt) {
  const Story story(kTight);
  const Copies copies(story);
  Random random(3);
  int mended = 0;
  for (int round = 0; round < 3000; ++round) {
    std::array<State, kCopies> states;
    for (State& s : states) s = random.percent(40) ? State::present : static_cast<State>(random.below(kStates));
    const Verdict verdict = judge(states);
    Content content = story.at(5);
    for (std::uint64_t i = 0; i < kCopies; ++i) copies.put(content, i, states[i]);
    const Content as_it_was = content;
    Rig rig(content);
    ASSERT_EQ(rig.load(story.place, Mend::yes), verdict.error) << "round " << round;
    if (verdict.error != Errc::ok) {
      ASSERT_TRUE(content == as_it_was) << "what is damaged stays as it is, round " << round;
      continue;
    }
    ++mended;
    check_whole(content, story, verdict);
    ASSERT_EQ(rig.store(text(9)), Errc::ok);
    ASSERT_EQ(read_back(content, story.place), text(9)) << "round " << round;
    if (HasFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(mended, 1000);
}

// Sectors of a write are old or new each, whatever the order in which the disk took them.
TEST(SmallRecord, AStoreThatIsTornAnywhereIsTheOldOrTheNew) {
  const Story story(kTight);
  const auto before = [&](std::uint64_t i) { return story.copy(3, i); };
  for (unsigned masks = 0; masks < 512; ++masks) {
    Content content = story.at(4);  // set 1 has text(3), and text(5) was being written over it
    bool whole = false;
    for (std::uint64_t c = 0; c < 3; ++c) {
      const unsigned mask = masks >> (3 * c) & 7;  // of three sectors those that are new
      whole = whole || mask == 7;
      std::vector<std::byte> bytes = before(2 * c + 1);
      const auto next = story.copy(5, 2 * c + 1);
      for (unsigned s = 0; s < 3; ++s) {
        if ((mask >> s & 1) != 0) std::copy_n(next.begin() + 512 * s, 512, bytes.begin() + 512 * s);
      }
      content.write(story.place.copy(2 * c + 1), bytes);
    }
    ASSERT_EQ(read_back(content, story.place), text(whole ? 5 : 4)) << masks;
  }
}

TEST(SmallRecord, AStoreOfMaximalSizeThatIsTornAtEachSectorIsTheOldOrTheNew) {
  const Story story(kRoomy, kRoomy.most_bytes());
  Random random(8);
  for (unsigned round = 0; round < 24 * 4; ++round) {
    Content content = story.at(4);
    bool whole = false;
    for (std::uint64_t i = 1; i < kCopies; i += 2) {
      const unsigned front = i == 1 ? round % 24 : static_cast<unsigned>(random.below(25));
      const bool back = random.percent(50);
      whole = whole || front == 24;
      const std::vector<std::byte> next = story.copy(5, i);
      const std::size_t n = 512 * front, at = back ? next.size() - n : 0;
      content.write(story.place.copy(i) + at, std::span(next).subspan(at, n));
    }
    ASSERT_EQ(read_back(content, story.place), text(whole ? 5 : 4, kRoomy.most_bytes())) << round;
  }
}

// ---- interrupted -----------------------------------------------------------------------------------------------------

DeviceWork storing(Place place, unsigned number, std::size_t bytes = 1200) {
  return [=](TestEnv& env, TestDevice& device) -> Task<void> {
    SmallRecord record(env.scheduler(), env.buffers(), device, kMagic);
    EXPECT_TRUE((co_await record.load(place, Mend::yes)).has_value());
    EXPECT_EQ(co_await record.store(text(number, bytes)), Errc::ok);
  };
}
DeviceWork loading(Place place) {
  return [=](TestEnv& env, TestDevice& device) -> Task<void> {
    SmallRecord record(env.scheduler(), env.buffers(), device, kMagic);
    EXPECT_TRUE((co_await record.load(place, Mend::yes)).has_value());
  };
}

class SmallRecordPlaces : public ::testing::TestWithParam<Place> {};
INSTANTIATE_TEST_SUITE_P(All, SmallRecordPlaces,
                         ::testing::Values(kTight, kRoomy, Place{0, 3 * kBlockBytes, 3 * kBlockBytes},
                                           Place{kBlockBytes, 5 * kBlockBytes, 2 * kBlockBytes}));

TEST_P(SmallRecordPlaces, AnInterruptedStoreIsTheOldOrTheNewAndTheNewStays) {
  const Place place = GetParam();
  const std::size_t bytes = place.most_bytes();
  const Story story(place, bytes);
  int old = 0, fresh = 0;
  at_every_cut(story.at(5), storing(place, 6, bytes), [&](Content& left) {
    const auto found = read_back(left, place);
    ASSERT_TRUE(found == text(5, bytes) || found == text(6, bytes));
    const unsigned number = found == text(6, bytes) ? 6 : 5;
    ++(number == 6 ? fresh : old);
    // Interrupted while it is mended, it stays what it is, also if one copy rots then.
    at_every_cut(left, loading(place), [&](Content& again) { ASSERT_EQ(read_back(again, place), text(number, bytes)); });
    ASSERT_TRUE(run_on(left, loading(place)));
    for (std::uint64_t i = 0; i < kCopies; ++i) {
      Content rotten = left;
      rotten.flip(place.copy(i) + 100);
      ASSERT_EQ(read_back(rotten, place), text(number, bytes)) << "copy " << i;
    }
  });
  EXPECT_GT(old, 0);
  EXPECT_GT(fresh, 0);
}

TEST_P(SmallRecordPlaces, AStoreAfterAnInterruptedOneIsInterruptedToo) {
  const Place place = GetParam();
  const Story story(place);
  at_every_cut(story.at(4), storing(place, 5), [&](Content& left) {
    const auto first = read_back(left, place);
    ASSERT_TRUE(first == text(4) || first == text(5));
    at_every_cut(left, storing(place, 6), [&](Content& again) {
      const auto found = read_back(again, place);
      ASSERT_TRUE(found == first || found == text(6));
    });
  });
}

TEST(SmallRecord, AnInterruptedFormatIsNothingOrDamagedOrNew) {
  const DeviceWork format = [](TestEnv& env, TestDevice& device) -> Task<void> {
    SmallRecord record(env.scheduler(), env.buffers(), device, kMagic);
    EXPECT_EQ(co_await record.format(kTight, text(1)), Errc::ok);
  };
  at_every_cut(Content(kTight.end()), format, [](Content& left) {
    Rig rig(left);
    const Errc code = rig.load(kTight, Mend::no);
    ASSERT_TRUE(code == Errc::ok || code == Errc::not_found || code == Errc::corrupt);
    if (code == Errc::ok) ASSERT_TRUE(holds(*rig.record, text(1)));
  });
  // Over another one: that stays, or is gone for good.
  const Story story(kTight);
  const DeviceWork again = [](TestEnv& env, TestDevice& device) -> Task<void> {
    SmallRecord record(env.scheduler(), env.buffers(), device, kMagic);
    EXPECT_EQ(co_await record.format(kTight, text(9)), Errc::ok);
  };
  at_every_cut(story.at(5), again, [&](Content& left) {
    const auto found = read_back(left, kTight);
    ASSERT_TRUE(found == text(5) || found == text(9));
    ASSERT_TRUE(run_on(left, loading(kTight)));
    for (std::uint64_t i = 0; i < kCopies; ++i) {
      Content rotten = left;
      rotten.flip(kTight.copy(i) + 100);
      ASSERT_EQ(read_back(rotten, kTight), found) << "copy " << i;
    }
  });
}

// ---- blocks that cannot be written -----------------------------------------------------------------------------------

TEST(SmallRecord, OneBlockThatCannotBeWrittenStopsNothing) {
  for (std::uint64_t bad = 0; bad < kCopies; ++bad) {
    Content content = Story(kTight).at(5);
    content.unwritable = {kTight.copy(bad) / kBlockBytes};
    Rig rig(content);
    ASSERT_EQ(rig.load(kTight, Mend::yes), Errc::ok);
    for (unsigned number = 6; number < 12; ++number) {
      ASSERT_EQ(rig.store(text(number)), Errc::ok);
      ASSERT_EQ(read_back(content, kTight), text(number)) << bad;
      // The block is read again as what it was long ago, or not at all.
      Content worse = content;
      worse.unreadable = content.unwritable;
      ASSERT_EQ(read_back(worse, kTight, Mend::no), text(number)) << bad;
    }
  }
}

TEST(SmallRecord, TwoBlocksOfASetThatCannotBeWrittenAreAnError) {
  for (std::uint64_t set = 0; set < 2; ++set) {
    Content content = Story(kTight).at(5);
    Rig rig(content);
    ASSERT_EQ(rig.load(kTight, Mend::yes), Errc::ok);
    content.unwritable = {kTight.copy(set) / kBlockBytes, kTight.copy(set + 4) / kBlockBytes};
    unsigned number = 5;
    if (set == 1) ASSERT_EQ(rig.store(text(++number)), Errc::ok);  // into the other one
    for (int again = 0; again < 3; ++again) {
      ASSERT_EQ(rig.store(text(20)), Errc::medium);
      ASSERT_TRUE(holds(*rig.record, text(number)));
      const auto found = read_back(content, kTight, Mend::no);
      ASSERT_TRUE(found == text(number) || found == text(20));
    }
    content.unwritable.clear();
    ASSERT_EQ(rig.store(text(21)), Errc::ok);
    ASSERT_EQ(read_back(content, kTight), text(21));
  }
}

TEST(SmallRecord, ADeviceThatRefusesEveryWriteSaysWhy) {
  for (const Errc why : {Errc::no_space, Errc::read_only, Errc::io}) {
    Content content = Story(kTight).at(5);
    Rig rig(content);
    ASSERT_EQ(rig.load(kTight, Mend::yes), Errc::ok);
    rig.device.refuse_writes = why;
    EXPECT_EQ(rig.store(text(6)), why);
    rig.device.refuse_writes = Errc::ok;
    EXPECT_EQ(rig.store(text(7)), Errc::ok);
    EXPECT_EQ(read_back(content, kTight), text(7));
  }
}

// A block that could not be written when the record was made anew keeps what was there.
TEST(SmallRecord, AFormerRecordNeverComesBackAfterAFormat) {
  for (std::uint64_t bad = 0; bad < kCopies; ++bad) {
    Content content = Story(kTight).at(5);
    content.unwritable = {kTight.copy(bad) / kBlockBytes};
    Rig rig(content);
    ASSERT_EQ(rig.format(kTight, text(30)), Errc::ok);
    ASSERT_EQ(read_back(content, kTight), text(30)) << "copy " << bad;
    ASSERT_EQ(rig.store(text(31)), Errc::ok);
    ASSERT_EQ(read_back(content, kTight), text(31)) << "copy " << bad;
  }
}

// ---- places ----------------------------------------------------------------------------------------------------------

TEST(SmallRecord, ThePlaceIsToldByTheFirstCopyAlone) {
  for (const Place place : {kTight, kRoomy, Place{4096, 5 * kBlockBytes, 2 * kBlockBytes}}) {
    const Story story(place);
    Content content = story.at(5);
    Rig rig(content);
    const auto told = rig.env.scheduler().get(rig.record->place_told_at(place.at));
    ASSERT_TRUE(told.has_value());
    EXPECT_EQ(*told, place);
    // Moved elsewhere, with all its copies, it is not the record of that place.
    Content moved(content.size_bytes() + kBlockBytes);
    for (std::uint64_t i = 0; i < kCopies; ++i) moved.write(place.copy(i) + kBlockBytes, story.copy(5, i));
    Rig other(moved);
    EXPECT_FALSE(other.env.scheduler().get(other.record->place_told_at(place.at + kBlockBytes)).has_value());
    Place beside = place;
    beside.at += kBlockBytes;
    EXPECT_EQ(other.load(beside, Mend::no), Errc::corrupt);
  }
}

TEST(SmallRecord, NothingIsFoundWhereTheDeviceEndsBefore) {
  Content content(kTight.end() - kBlockBytes);
  Rig rig(content);
  EXPECT_EQ(rig.load(kTight, Mend::no), Errc::not_found);
}

}  // namespace
}  // namespace resilver::replica
