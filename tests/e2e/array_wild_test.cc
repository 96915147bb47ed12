// Arrays as they are found: superblocks with fields that we do not use, members without a bad-block log, data that begins
// where old programs put it, halves of a mirror that went on alone, bitmaps that are damaged.
#include <cstdlib>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

// Offsets in a superblock.
constexpr std::size_t kFeatures = 8, kDataOffset = 128, kDataSize = 136, kDevflags = 184, kLogShift = 185,
                      kLogSize = 186, kLogOffset = 188, kPadding = 224;

class ArrayInTheWild : public ArrayTest {
 protected:
  // The block at sector 24 of an image: one range of bad blocks.
  static void set_bad(const std::string& path, std::uint64_t sector, std::uint64_t sectors) {
    overwrite(path, 24 * 512, le(sector << 10 | sectors, 8) + std::string(4096 - 8, '\xff'));
    set_field(path, kFeatures, le(field(path, kFeatures, 4) | 8, 4));
  }
  std::string all() { return export_text(0, std::stoull(status_of("size"))); }
};

TEST_F(ArrayInTheWild, WhatIsOfOneMemberStaysThere) {
  create(1, 2);
  set_field(image(1), kDevflags, le(1, 1));            // write-mostly
  set_field(image(0), kPadding, le(0x1234567890, 8));  // whatever that is
  set_field(image(0), 164, le(7, 4));                  // cnt_corrected_read
  set_field(image(1), kLogShift, le(9, 1));            // mdadm's, of a log that was never used
  set_field(image(0), 32 + 20, "behind");              // behind the end of the name
  for (const Words& command : {Words{"assemble", vm_}, Words{"scrub", vm_}}) {
    done(command);
    EXPECT_EQ(field(image(0), kDevflags, 1), 0u);
    EXPECT_EQ(field(image(1), kDevflags, 1), 1u);
    EXPECT_EQ(field(image(0), kPadding, 8), 0x1234567890u);
    EXPECT_EQ(field(image(1), kPadding, 8), 0u);
    EXPECT_EQ(field(image(0), 164, 4), 7u);
    EXPECT_EQ(field(image(1), 164, 4), 0u);
    EXPECT_EQ(field(image(1), kLogShift, 1), 9u);
    EXPECT_EQ(read_text(image(0)).substr(4096 + 32 + 20, 6), "behind");
  }
  import(noise(100'000));
  done({"fail", vm_, "disk1"});
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
  EXPECT_EQ(field(image(0), kPadding, 8), 0x1234567890u);
  EXPECT_EQ(field(image(1), kDevflags, 1), 0u) << "a new disk";
}

// What a member has no log for costs that row, not the member.
TEST_F(ArrayInTheWild, AMemberWithoutABadBlockLogIsNotGivenUp) {
  for (const bool no_offset : {false, true}) {
    SCOPED_TRACE(no_offset);
    fs::remove_all(vm_);
    create(5, 4, {}, "9M");
    const std::string old = noise(3 << 20);
    import(old);
    for (const int i : {1, 2, 3}) set_field(image(i), no_offset ? kLogOffset : kLogSize, le(0, no_offset ? 4 : 2));
    const std::uint64_t data = field(image(0), kDataOffset, 8);
    set_bad(image(0), data + 8, 8);
    done({"fail", vm_, "disk1"});
    // The row of the bad block, one sector of each other chunk in turn: refused or written, never a member lost.
    for (int chunk = 0; chunk < 3; ++chunk) {
      write_text(file_, std::string(4096, 'x'));
      const Ended ended = run({"import", vm_, file_, "--offset", std::to_string(chunk * 65536 + 4096)});
      EXPECT_TRUE(ended.code == 0 || ended.code == 1) << ended.all();
      EXPECT_EQ(slots(), "U_UU") << ended.all();
      EXPECT_EQ(field(image(2), 0, 4), 0xa92b4efcu);
    }
    EXPECT_TRUE(export_text(1 << 20, 2 << 20) == old.substr(1 << 20));
  }
}

TEST_F(ArrayInTheWild, AFullBadBlockLogCostsTheRowNotTheMember) {
  create(5, 4, {}, "9M");
  const std::uint64_t data = field(image(0), kDataOffset, 8);
  for (const int i : {1, 2, 3}) {  // 512 single rows, far from the one that is written
    std::string log;
    for (std::uint64_t k = 0; k < 512; ++k) log += le((data + 1024 + 16 * k) << 10 | 8, 8);
    overwrite(image(i), 24 * 512, log);
    set_field(image(i), kFeatures, le(8, 4));
  }
  set_bad(image(0), data + 8, 8);
  done({"fail", vm_, "disk1"});
  for (int chunk = 0; chunk < 3; ++chunk) {
    write_text(file_, std::string(4096, 'x'));
    run({"import", vm_, file_, "--offset", std::to_string(chunk * 65536 + 4096)});
    EXPECT_EQ(slots(), "U_UU");
  }
}

// mdadm of 2010: the data begins at sector 272; of still older ones at 16 and 24.
TEST_F(ArrayInTheWild, MetadataIsPlacedBeforeTheDataWhereverThatBegins) {
  for (const std::uint64_t offset : {272u, 144u, 32u, 24u, 16u}) {
    for (const bool bitmap : {false, true}) {
      SCOPED_TRACE(std::to_string(offset) + (bitmap ? " bitmap" : ""));
      if (bitmap && offset < 24) continue;
      fs::remove_all(vm_);
      create(5, 3, bitmap ? Words{"--consistency", "bitmap"} : Words{});
      for (int i = 0; i < 3; ++i) {
        set_field(image(i), kLogSize, le(0, 2));
        set_field(image(i), kDataOffset, le(offset, 8));
        set_field(image(i), kDataSize, le((16 << 11) - offset, 8));
      }
      const std::string text = noise(1 << 20);
      import(text);
      done({"add", vm_, "disk3", "--size", "300G"});
      done({"assemble", vm_});
      done({"fail", vm_, "disk0"});
      done({"rebuild", vm_});
      EXPECT_EQ(slots(), "UUU");
      EXPECT_EQ(field(vm_ + "/disk3.img", kDataOffset, 8), offset);
      fs::remove(image(1));
      EXPECT_TRUE(export_text(0, 1 << 20) == text);
    }
  }
}

// ---- halves that went on alone ----

class ASplitMirror : public ArrayInTheWild {
 protected:
  void split(const Words& more) {
    create(1, 2, more);
    import(noise(4 << 20));
    done({"assemble", vm_});
    write_text(file_, noise(4096, 7));
    done({"import", image(0), file_});
    done({"import", image(1), file_, "--offset", "1M"});
  }
};

TEST_F(ASplitMirror, IsNamedAndNeverPickedByChance) {
  for (const char* policy : {"resync", "bitmap"}) {
    for (const bool one_is_ahead : {false, true}) {
      SCOPED_TRACE(policy);
      fs::remove_all(vm_);
      split({"--consistency", policy});
      if (one_is_ahead) done({"import", image(1), file_, "--offset", "2M"});
      write_text(file_, "x");
      for (const Words& words :
           {Words{"assemble", vm_}, Words{"import", vm_, file_}, Words{"rebuild", vm_},
            Words{"export", vm_, directory_ / "out"}, Words{"scrub", vm_, "--repair"},
            Words{"assemble", vm_, "--force"}, Words{"export", vm_, directory_ / "out", "--force"}}) {
        refuses(words, {"disk0.img (events", "disk1.img (events", "neither is newer"});
      }
      EXPECT_EQ(run({"status", vm_, "--test"}).code, 4);
      done({"export", image(0), directory_ / "a", "--length", "4096"});  // each side can be looked at
      EXPECT_TRUE(read_text(directory_ / "a") == noise(4096, 7));
      done({"export", image(1), directory_ / "a", "--length", "4096"});
      EXPECT_TRUE(read_text(directory_ / "a") == noise(4 << 20).substr(0, 4096));
    }
  }
}

TEST_F(ASplitMirror, IsJoinedByAFullCopy) {
  split({});
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UU");
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  EXPECT_TRUE(export_text(0, 4096) == noise(4096, 7));
  EXPECT_TRUE(export_text(1 << 20, 4096) == noise(4 << 20).substr(1 << 20, 4096));
}

TEST_F(ASplitMirror, IsJoinedByBothBitmapsIfThatIsAskedFor) {
  split({"--consistency", "bitmap"});
  refuses({"re-add", vm_, "disk1"}, {"disk1.img", "without the others", "--force", "add"});
  done({"re-add", vm_, "disk1", "--force"});
  done({"rebuild", vm_});
  EXPECT_EQ(slots(), "UU");
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  EXPECT_TRUE(export_text(0, 4096) == noise(4096, 7));
  EXPECT_TRUE(export_text(1 << 20, 4096) == noise(4 << 20).substr(1 << 20, 4096));
}

// Bits of our side were cleared since the two parted: they do not tell any more what the other lacks.
TEST_F(ASplitMirror, IsNotJoinedByBitmapsThatForgot) {
  create(1, 3, {"--consistency", "bitmap"});
  import(noise(1 << 20));
  done({"fail", vm_, "disk2"});
  done({"fail", vm_, "disk1"});
  write_text(file_, noise(4096, 7));
  done({"import", image(2), file_, "--force"});  // alone: it never heard that the others failed it
  done({"import", image(0), file_, "--offset", "64K"});
  done({"re-add", image(0), image(1)});
  run({"rebuild", image(0), image(1)});  // a third is still missing
  done({"add", image(0), image(1), directory_ / "new.img", "--size", "16M"});
  done({"rebuild", image(0), image(1), directory_ / "new.img"});
  done({"import", image(0), image(1), directory_ / "new.img", file_, "--offset", "128K"});
  done({"fail", image(0), image(1), directory_ / "new.img", directory_ / "new.img"});
  const Ended ended = run({"re-add", image(0), image(1), image(2), "--force"});
  EXPECT_EQ(ended.code, 1) << ended.all();
  EXPECT_NE(ended.err.find("add it as a new disk"), std::string::npos) << ended.err;
}

TEST_F(ASplitMirror, OfFour) {
  create(10, 4);
  import(noise(1 << 20));
  write_text(file_, noise(4096, 7));
  done({"import", image(0), image(2), file_});
  done({"import", image(1), image(3), file_, "--offset", "64K"});
  refuses({"assemble", vm_}, {"neither is newer"});
}

// ---- force ----

TEST_F(ArrayInTheWild, OnlyAssembleTakesStaleMembersBackAndNeverWhatWasFailedByHand) {
  create(5, 3);
  import(noise(1 << 20));
  done({"fail", vm_, "disk1"});
  import(noise(1 << 20, 2));
  const std::string away = directory_ / "away.img";
  fs::rename(image(2), away);
  write_text(file_, "x");
  for (const Words& words : {Words{"export", vm_, directory_ / "out", "--force"}, Words{"import", vm_, file_, "--force"},
                             Words{"rebuild", vm_, "--force"}, Words{"assemble", vm_, "--force"}}) {
    refuses(words, {"1 of 3"});
  }
  fs::rename(away, image(2));
  EXPECT_TRUE(export_text(0, 1 << 20) == noise(1 << 20, 2));

  // One that is merely behind: an old copy, put back.
  fs::remove_all(vm_);
  create(5, 3);
  import(noise(1 << 20));
  fs::copy_file(image(1), directory_ / "old");
  import(noise(4096, 3), 9 << 20);
  fs::remove(image(1));
  fs::copy_file(directory_ / "old", image(1));
  fs::remove(image(2));
  EXPECT_EQ(run({"export", vm_, directory_ / "out", "--force"}).code, 1);
  EXPECT_EQ(run({"import", vm_, file_, "--force"}).code, 1);
  const Ended forced = done({"assemble", vm_, "--force"});
  EXPECT_NE(forced.out.find("taken back by force"), std::string::npos) << forced.out;
  EXPECT_TRUE(export_text(0, 1 << 20) == noise(1 << 20));
}

TEST_F(ArrayInTheWild, WhatIsDirtyAndDegradedIsNotExportedUnasked) {
  for (const char* policy : {"resync", "journal"}) {
    SCOPED_TRACE(policy);
    fs::remove_all(vm_);
    create(5, 4, {"--consistency", policy}, "9M");
    import(noise(1 << 20));
    const bool journal = std::string(policy) == "journal";
    for (int i = 0; i < 4; ++i) {
      if (!journal) set_field(image(i), 208, le(0, 8));
    }
    fs::remove(image(2));
    if (journal) {  // clean: nothing waits in it
      done({"export", vm_, directory_ / "out"});
      continue;
    }
    refuses({"export", vm_, directory_ / "out"}, {"vm: ", "dirty and degraded", "--force"});
    const Ended forced = done({"export", vm_, directory_ / "out", "--force", "--length", "4096"});
    EXPECT_NE(forced.err.find("dirty and degraded"), std::string::npos);
  }
}

TEST_F(ArrayInTheWild, FailGuardsWhatStartsTheArray) {
  for (const int level : {5, 6}) {
    fs::remove_all(vm_);
    create(level, 5);
    import(noise(1 << 20));
    for (int i = 0; i < 5; ++i) set_field(image(i), 208, le(0, 8));
    refuses({"fail", vm_, "disk1"}, {"disk1.img", "dirty"});
    done({"assemble", vm_});
    done({"fail", vm_, "disk1"});
  }
}

// (F), whether or not another disk has its number by now.
TEST_F(ArrayInTheWild, AFormerMemberIsNoRefusal) {
  create(5, 3);
  import(noise(1 << 20));
  const std::string away = directory_ / "away.img";
  fs::rename(image(1), away);
  import(noise(4096, 2));
  done({"add", vm_, "disk9", "--size", "16M"});
  done({"rebuild", vm_});
  fs::rename(away, image(1));
  EXPECT_EQ(slots(), "UUU");
  EXPECT_NE(done({"status", vm_}).out.find("disk1.img["), std::string::npos);
  done({"assemble", vm_});
  import(noise(4096, 3));
}

// ---- bitmaps ----

// What can be computed anew does not stand between a user and his data.
TEST_F(ArrayInTheWild, ADestroyedBitmapIsMadeAnew) {
  const auto destroy = [this](int disks, const std::string& bytes) {
    for (int i = 0; i < disks; ++i) overwrite(image(i), 8192, bytes);
  };
  const std::string zeroes(4096, '\0');
  for (const int level : {1, 5, 10}) {
    SCOPED_TRACE(level);
    fs::remove_all(vm_);
    create(level, 3, {"--consistency", "bitmap"});
    import(noise(1 << 20));
    destroy(3, zeroes);
    const auto before = snapshot();
    done({"status", vm_});
    EXPECT_TRUE(export_text(0, 1 << 20) == noise(1 << 20));
    EXPECT_EQ(snapshot(), before) << "reading writes nothing";
    const Ended told = done({"assemble", vm_});
    EXPECT_NE(told.err.find("bitmap: magic"), std::string::npos) << told.all();
    EXPECT_NE(told.err.find("made anew; nothing was being written"), std::string::npos) << told.all();
    EXPECT_EQ(done({"assemble", vm_}).err, "");
    done({"fail", vm_, "disk1"});
    import(noise(1 << 20, 2));
    done({"re-add", vm_, "disk1"});
    done({"rebuild", vm_});
    EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);

    // Dirty, and the bits that say where are gone: everywhere.
    overwrite(image(1), 4 << 20, noise(4096, 5));
    destroy(3, zeroes);
    for (int i = 0; i < 3; ++i) set_field(image(i), 208, le(0, 8));
    const Ended resynced = done({"assemble", vm_});
    EXPECT_NE(resynced.err.find("everything is resynced"), std::string::npos) << resynced.all();
    EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  }
}

TEST_F(ArrayInTheWild, ALocklessBitmapIsNotTrustedToSayThatAllIsInSync) {
  create(5, 3, {"--consistency", "bitmap"});
  import(noise(1 << 20));
  overwrite(image(1), 4 << 20, noise(4096, 5));
  for (int i = 0; i < 3; ++i) overwrite(image(i), 8192 + 4, le(6, 4));
  const Ended told = done({"assemble", vm_});
  EXPECT_NE(told.err.find("version 6"), std::string::npos) << told.all();
  EXPECT_NE(told.err.find("everything is resynced"), std::string::npos) << told.all();
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
}

// One that was away comes back by a bitmap that forgot what it missed: it is copied whole, or refused.
TEST_F(ArrayInTheWild, ANewBitmapDoesNotCatchUpWhoLeftBefore) {
  create(1, 2, {"--consistency", "bitmap"});
  import(noise(1 << 20));
  done({"fail", vm_, "disk1"});
  import(noise(1 << 20, 2));
  overwrite(image(0), 8192, std::string(4096, '\0'));
  const Ended refused = run({"re-add", vm_, "disk1"});
  EXPECT_EQ(refused.code, 1) << refused.all();
  EXPECT_NE(refused.err.find("add"), std::string::npos);
  // Half-way through a catch-up by bits.
  done({"add", vm_, "disk1"});
  done({"rebuild", vm_});
  done({"fail", vm_, "disk1"});
  import(noise(1 << 20, 3));
  done({"re-add", vm_, "disk1"});
  for (int i = 0; i < 2; ++i) overwrite(image(i), 8192, std::string(4096, '\0'));
  done({"rebuild", vm_});
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  EXPECT_TRUE(export_text(0, 1 << 20) == noise(1 << 20, 3));
}

// ---- assemble --update, --read-only; add --write-mostly ----

TEST_F(ArrayInTheWild, UpdatesAsMdadmNamesThem) {
  create(5, 3);
  import(noise(1 << 20));
  done({"assemble", vm_, "--update=no-bbl"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(field(image(i), kLogSize, 2), 0u);
  done({"assemble", vm_, "--update=bbl"});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(field(image(i), kLogSize, 2), 8u);
  set_bad(image(0), field(image(0), kDataOffset, 8) + 8, 8);
  refuses({"assemble", vm_, "--update=no-bbl"}, {"disk0.img", "not empty"});
  done({"assemble", vm_, "--update=force-no-bbl"});
  EXPECT_EQ(field(image(0), kFeatures, 4), 0u);
  done({"assemble", vm_, "--update=name", "--name", "other"});
  EXPECT_EQ(read_text(image(2)).substr(4096 + 32, 6), std::string("other\0", 6));
  done({"assemble", vm_, "--update=uuid", "--uuid", "01234567:89abcdef:01234567:89abcdef"});
  EXPECT_EQ(status_of("array_uuid"), "01234567:89abcdef:01234567:89abcdef");
  done({"assemble", vm_, "--update=bitmap"});
  EXPECT_EQ(field(image(0), kFeatures, 4), 1u);
  done({"fail", vm_, "disk1"});
  import(noise(1 << 20, 2));
  done({"re-add", vm_, "disk1"});
  done({"rebuild", vm_});
  done({"assemble", vm_, "--update=no-bitmap"});
  EXPECT_EQ(field(image(0), kFeatures, 4), 0u);
  overwrite(image(1), 4 << 20, noise(4096, 5));
  done({"assemble", vm_, "--update=resync"});
  EXPECT_NE(done({"scrub", vm_}).out.find("mismatch_cnt 0"), std::string::npos);
  fs::resize_file(image(2), 32 << 20);
  done({"assemble", vm_, "--update=devicesize"});
  EXPECT_EQ(field(image(2), kDataSize, 8), (32 << 11) - field(image(2), kDataOffset, 8));
  EXPECT_TRUE(export_text(0, 1 << 20) == noise(1 << 20, 2));
  expect_refusal(run({"assemble", vm_, "--update=colour"}), "--update: expected", 2);
  expect_refusal(run({"assemble", vm_, "--update=name"}), "--name", 2);
  expect_refusal(run({"assemble", vm_, "--update=uuid", "--uuid", "12"}), "--uuid: expected", 2);
}

// With another uuid than the array's it would be a stranger there.
TEST_F(ArrayInTheWild, AnUpdateReachesASpareThatWasAway) {
  create(5, 3, {"--spares", "1"});
  const std::string spare = vm_ + "/spare0.img", away = directory_ / "away";
  fs::rename(spare, away);
  import(noise(1 << 20));
  import(noise(1 << 20, 2));
  fs::rename(away, spare);
  done({"assemble", vm_, "--update=uuid", "--uuid", "01234567:89abcdef:01234567:89abcdef"});
  EXPECT_EQ(slots(), "UUU");
  EXPECT_NE(done({"status", vm_}).out.find("spare0.img["), std::string::npos);
}

// A log that cannot be read keeps a member out; dropping it is a choice.
TEST_F(ArrayInTheWild, ADamagedBadBlockLogIsDroppedWhereThatIsAskedFor) {
  create(5, 3);
  import(noise(1 << 20));
  overwrite(image(1), 24 * 512, std::string(4096, '\0'));
  set_field(image(1), kFeatures, le(8, 4));
  refuses({"assemble", vm_}, {"disk1.img", "bad-block log"});
  done({"assemble", vm_, "--update=force-no-bbl"});
  EXPECT_EQ(slots(), "UUU");
}

TEST_F(ArrayInTheWild, AssembledReadOnlyItSaysWhatIsWhatAndWritesNothing) {
  create(5, 3, {"--spares", "1"});
  import(noise(1 << 20));
  fs::remove(image(1));
  for (const int i : {0, 2}) set_field(image(i), 208, le(0, 8));
  const auto before = snapshot();
  const Ended ended = done({"assemble", vm_, "--read-only"});
  EXPECT_NE(ended.out.find("disk0.img"), std::string::npos);
  EXPECT_NE(ended.out.find("[U_U]"), std::string::npos) << ended.out;
  EXPECT_NE(ended.out.find("spare"), std::string::npos);
  EXPECT_EQ(snapshot(), before);
}

TEST_F(ArrayInTheWild, ADiskIsAddedWriteMostly) {
  create(1, 2);
  import(noise(1 << 20));
  done({"fail", vm_, "disk1"});
  done({"add", vm_, "disk1", "--write-mostly"});
  done({"rebuild", vm_});
  EXPECT_EQ(field(image(1), kDevflags, 1), 1u);
  EXPECT_EQ(field(image(0), kDevflags, 1), 0u);
  EXPECT_NE(done({"status", vm_}).out.find("(W)"), std::string::npos);
}

// ---- partitions ----

TEST_F(ArrayInTheWild, PartitionsOfAnImageAreMembers) {
  fs::create_directories(vm_);
  const auto disk = [this](const char* name) { return vm_ + "/" + name; };
  for (const char* name : {"a.img", "b.img", "c.img"}) {
    write_text(disk(name), "");
    fs::resize_file(disk(name), 40 << 20);
    std::string table(66, '\0');
    for (int i = 0; i < 2; ++i) {  // two of 16 MiB
      table.replace(16 * i + 4, 1, "\xfd");
      table.replace(16 * i + 8, 8, le(2048 + i * 32768, 4) + le(32768, 4));
    }
    table.replace(64, 2, "\x55\xaa");
    overwrite(disk(name), 446, table);
  }
  const std::string one = disk("a.img") + ":1", two = disk("b.img") + ":2", three = disk("a.img") + ":2";
  done({"create", "--level", "1", "--devices", one, two});
  write_text(file_, noise(1 << 20));
  done({"import", one, two, file_});
  done({"fail", one, two, one});
  done({"add", one, two, disk("c.img") + ":1"});
  done({"rebuild", one, two, disk("c.img") + ":1"});
  done({"export", disk("c.img") + ":1", directory_ / "out", "--length", "1M"});
  EXPECT_TRUE(read_text(directory_ / "out") == noise(1 << 20));
  done({"create", "--level", "0", "--devices", one, three, "--force"});  // two of one file
  done({"import", one, three, file_});
  done({"export", three, one, directory_ / "out", "--length", "1M"});
  EXPECT_TRUE(read_text(directory_ / "out") == noise(1 << 20));
  EXPECT_NE(done({"examine", three}).out.find("raid0"), std::string::npos);
  EXPECT_EQ(read_text(disk("a.img")).substr(510, 2), "\x55\xaa");
  expect_refusal(run({"examine", disk("a.img") + ":3"}), "no partition 3", 1);
  expect_refusal(run({"examine", one, one}), "named twice", 1);
  expect_refusal(run({"examine", disk("none.img") + ":1"}), "none.img", 1);
}

TEST_F(ArrayInTheWild, AnUpdateIsTriedOutFirst) {
  create(5, 3);
  import(noise(1 << 20));
  const auto before = snapshot();
  const Ended tried = done({"assemble", vm_, "--update=name", "--name", "other", "--dry-run"});
  EXPECT_NE(tried.out.find("would: vm: --update=name"), std::string::npos) << tried.out;
  EXPECT_EQ(snapshot(), before);
}

}  // namespace
}  // namespace resilver::test
