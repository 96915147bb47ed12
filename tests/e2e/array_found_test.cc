// Arrays on disks of any size in sectors, with data anywhere, and of md's other metadata versions: superblocks are rewritten.
#include <filesystem>

#include "tests/e2e/array.h"

namespace resilver::test {
namespace {

namespace fs = std::filesystem;

std::string le(std::uint64_t value, std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

class ArrayFound : public ArrayTest {
 protected:
  void set_all(int disks, std::size_t at, const std::string& bytes) {
    for (int i = 0; i < disks; ++i) set_field(image(i), at, bytes);
  }
  std::string export_all() {
    const std::string out = directory_ / "all";
    done({"export", vm_, out});
    return read_text(out);
  }
  // Whole, without each member, and after a rebuild it holds what is written to the last byte.
  void lives(int disks, std::uint64_t bytes) {
    const std::string text = noise(bytes);
    import(text);
    EXPECT_TRUE(export_all() == text);
    done({"scrub", vm_});
    for (int i = 0; i < disks; ++i) {
      fs::rename(image(i), away_);
      EXPECT_TRUE(export_all() == text) << i;
      fs::rename(away_, image(i));
    }
    done({"fail", vm_, "disk1"});
    const std::string other = noise(bytes, 2);
    import(other);
    done({"add", vm_, "disk1"});
    done({"rebuild", vm_});
    done({"scrub", vm_});
    fs::rename(image(0), away_);
    EXPECT_TRUE(export_all() == other);
    fs::rename(away_, image(0));
    write_text(file_, "xy");
    refuses({"import", vm_, file_, "--offset", std::to_string(bytes - 1)}, {"do not fit"});
  }

  std::string away_ = directory_ / "away";  // in the array's folder it would still be a member
};

constexpr std::uint64_t kDataOffset = 2048;

TEST_F(ArrayFound, AMirrorIsUsedToItsLastSector) {
  create(1, 2, {}, "4M");
  constexpr std::uint64_t kBytes = (4u << 20) + 3 * 512 + 100;  // no whole number of sectors either
  constexpr std::uint64_t kSectors = kBytes / 512 - kDataOffset;
  for (int i : {0, 1}) fs::resize_file(image(i), kBytes);
  set_all(2, 80, le(kSectors, 8));
  set_all(2, 136, le(kSectors, 8));
  EXPECT_NE(done({"status", vm_}).out.find(std::to_string(kSectors / 2) + " blocks"), std::string::npos);
  lives(2, kSectors * 512);
  EXPECT_NE(done({"examine", image(0)}).out.find("Avail Dev Size : " + std::to_string(kSectors)), std::string::npos);
}

TEST_F(ArrayFound, DataMayBeginAtAnySector) {
  create(1, 3, {}, "4M");
  set_all(3, 128, le(kDataOffset + 3, 8));
  set_all(3, 136, le(6144 - 3, 8));
  set_all(3, 80, le(6001, 8));
  lives(3, 6001 * 512);
  fs::remove_all(vm_);
  create(5, 3, {}, "4M");
  set_all(3, 128, le(kDataOffset + 3, 8));
  set_all(3, 136, le(6144 - 3, 8));
  set_all(3, 80, le(6016, 8));
  lives(3, 2 * 6016 * 512);
  EXPECT_NE(done({"examine", image(2)}).out.find("Data Offset : 2051 sectors"), std::string::npos);
}

TEST_F(ArrayFound, BadBlocksAreSectors) {
  create(1, 2, {}, "4M");
  const std::string text = noise(3 << 20);
  import(text);
  // Three sectors from the fifth of the data on, and the last ones of the disk.
  std::string log = le((kDataOffset + 5) << 10 | 3, 8) + le((8192ull - 1) << 10 | 1, 8);
  log.resize(4096, '\xff');
  overwrite(image(0), 24 * 512, log);
  set_field(image(0), 8, le(8, 4));
  overwrite(image(0), (kDataOffset + 5) * 512, std::string(3 * 512, 'x'));
  EXPECT_TRUE(export_text(0, text.size()) == text);
  import(text);
  fs::remove(image(1));
  EXPECT_TRUE(export_text(0, text.size()) == text);
}

TEST_F(ArrayFound, Raid0HasChunksOfAnySectors) {
  create(0, 3, {"--chunk", "5K"}, "4M");
  const std::uint64_t bytes = std::stoull(status_of("size"));
  const std::string text = noise(bytes);
  import(text);
  EXPECT_TRUE(export_all() == text);
  import("precious", 5 * 1024 - 3);
  EXPECT_EQ(export_text(5 * 1024 - 3, 8), "precious");
}

// Member by member, each to its last sector, or to the last whole chunk of its rounding.
TEST_F(ArrayFound, LinearIsOneMemberAfterTheOther) {
  for (const std::uint64_t chunk_sectors : {0, 10}) {
    fs::remove_all(vm_);
    done({"create", vm_, "--level", "linear", "--disks", "3", "--size", "4M,6M,5M"});
    const std::uint64_t sectors[] = {6144 - 3, 10240 - 9, 8192 - 2};
    set_all(3, 88, le(chunk_sectors, 4));
    for (int i = 0; i < 3; ++i) set_field(image(i), 136, le(sectors[i], 8));
    std::string expected[3];
    std::string text;
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t used = chunk_sectors == 0 ? sectors[i] : sectors[i] / chunk_sectors * chunk_sectors;
      text += expected[i] = noise(used * 512, static_cast<std::uint32_t>(i + 1));
    }
    EXPECT_EQ(status_of("size"), std::to_string(text.size()));
    import(text);
    EXPECT_TRUE(export_all() == text);
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(read_text(image(i)).substr(kDataOffset * 512, expected[i].size()) == expected[i]) << i;
    }
    import("precious", expected[0].size() - 3);
    EXPECT_EQ(export_text(expected[0].size() - 3, 8), "precious");
    write_text(file_, "xy");
    refuses({"import", vm_, file_, "--offset", std::to_string(text.size() - 1)}, {"do not fit"});
  }
}

// ---- other versions ----

class ArrayOtherVersions : public ArrayFound {
 protected:
  void only_read(const std::string& version, const std::string& text) {
    EXPECT_TRUE(export_text(0, text.size()) == text);
    const std::string words = "metadata " + version + " is only read here";
    EXPECT_NE(done({"examine", image(0)}).out.find("Version : " + version), std::string::npos);
    EXPECT_EQ(status_of("state"), "clean");
    refuses({"assemble", vm_}, {words});
    refuses({"fail", vm_, "disk0"}, {words});
    refuses({"scrub", vm_}, {words});
    refuses({"import", vm_, file_}, {words});
    fs::rename(image(1), away_);
    EXPECT_TRUE(export_text(0, text.size()) == text);
    fs::rename(away_, image(1));
  }
};

TEST_F(ArrayOtherVersions, V11) {
  create(5, 3, {}, "4M");
  const std::string text = noise(5 << 20);
  import(text);
  for (int i = 0; i < 3; ++i) {
    set_field(image(i), 144, le(0, 8));
    const std::string block = read_text(image(i)).substr(4096, 4096);
    overwrite(image(i), 0, block + std::string(4096, '\0'));
  }
  only_read("1.1", text);
}

TEST_F(ArrayOtherVersions, V10) {
  create(1, 2, {}, "4M");
  const std::string text = noise(2 << 20);
  import(text);
  for (int i = 0; i < 2; ++i) {
    set_field(image(i), 144, le(8176, 8));
    set_field(image(i), 136, le(6000, 8));
    set_field(image(i), 80, le(6000, 8));
    set_field(image(i), 188, le(static_cast<std::uint64_t>(-8), 4));
    const std::string block = read_text(image(i)).substr(4096, 4096);
    overwrite(image(i), 8176 * 512, block);
    overwrite(image(i), 4096, std::string(4096, '\0'));
  }
  only_read("1.0", text);
}

// A mirror of two of 4 MiB: data from byte 0 on, the superblock 64 KiB before the end.
std::string superblock_090(std::uint32_t number, bool big_endian) {
  std::vector<std::uint32_t> words(1024);
  words[0] = 0xa92b4efc;
  words[2] = 90;
  words[5] = 0x11223344;
  words[13] = words[14] = words[15] = 0x55667788;
  words[7] = 1;                      // level
  words[8] = 4096 - 64;              // KiB
  words[9] = words[10] = 2;          // disks
  words[33] = 1;                     // clean
  words[big_endian ? 40 : 39] = 17;  // events
  for (std::uint32_t disk : {0u, 1u}) {
    words[128 + 32 * disk] = words[128 + 32 * disk + 3] = disk;
    words[128 + 32 * disk + 4] = 6;  // active, in sync
  }
  words[992] = words[992 + 3] = number;
  words[992 + 4] = 6;
  std::uint64_t sum = 0;
  for (const std::uint32_t word : words) sum += word;
  words[38] = static_cast<std::uint32_t>((sum & 0xffffffff) + (sum >> 32));
  std::string block;
  for (std::uint32_t word : words) {
    if (big_endian) word = __builtin_bswap32(word);
    block += le(word, 4);
  }
  return block;
}

TEST_F(ArrayOtherVersions, V090) {
  for (const bool big_endian : {false, true}) {
    fs::remove_all(vm_);
    fs::create_directory(vm_);
    const std::string text = noise((4096 - 64) * 1024, big_endian ? 3 : 4);
    for (std::uint32_t i : {0u, 1u}) {
      write_text(image(static_cast<int>(i)), text + superblock_090(i, big_endian) + std::string(60 * 1024, '\0'));
    }
    write_text(file_, "precious");
    only_read("0.90", text);
    EXPECT_TRUE(export_all() == text);
    EXPECT_NE(done({"examine", image(1)}).out.find("Array UUID : 11223344:55667788:55667788:55667788"),
              std::string::npos);
    fs::rename(image(0), vm_ + "/named-otherwise");
    EXPECT_TRUE(export_all() == text);
    // Of the whole disk this is a disk with a partition, whose member it is.
    fs::remove(vm_ + "/named-otherwise");
    std::string boot(512, '\0');
    boot.replace(446 + 4, 1, "\xfd");
    boot.replace(446 + 8, 8, le(128, 4) + le(8192 - 128, 4));
    boot.replace(510, 2, "\x55\xaa");
    overwrite(image(1), 0, boot);
    EXPECT_EQ(run({"export", vm_, directory_ / "out"}).code, 1);
  }
}

}  // namespace
}  // namespace resilver::test
