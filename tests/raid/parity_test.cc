// Parity against a slow implementation of GF(2^8) that shares nothing with ISA-L: bit by bit, polynomial 0x11d.
#include "raid/parity.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <vector>

namespace resilver::raid {
namespace {

constexpr std::size_t kLen = 192;

std::uint8_t slow_mul(std::uint8_t a, std::uint8_t b) {
  unsigned product = 0;
  for (int bit = 0; bit < 8; ++bit) {
    if ((b >> bit) & 1) product ^= static_cast<unsigned>(a) << bit;
  }
  for (int bit = 14; bit >= 8; --bit) {
    if ((product >> bit) & 1) product ^= 0x11du << (bit - 8);
  }
  return static_cast<std::uint8_t>(product);
}

std::uint8_t slow_power(std::uint32_t exponent) {
  std::uint8_t value = 1;
  while (exponent-- > 0) value = slow_mul(value, 2);
  return value;
}

// Columns on the heap with the alignment parity asks for.
class Columns {
 public:
  Columns(std::uint32_t data, std::uint32_t parity, std::uint64_t seed, std::size_t len = kLen)
      : data_(data), len_(len) {
    for (std::uint32_t i = 0; i < data + parity; ++i) {
      pointers_.push_back(static_cast<std::byte*>(std::aligned_alloc(64, len)));
      for (std::size_t at = 0; at < len; ++at) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        pointers_.back()[at] = static_cast<std::byte>(seed >> 56);
      }
    }
  }
  ~Columns() {
    for (std::byte* pointer : pointers_) std::free(pointer);
  }
  Columns(const Columns&) = delete;
  Columns& operator=(const Columns&) = delete;

  std::byte* operator[](std::uint32_t column) const { return pointers_[column]; }
  std::span<std::byte* const> all() const { return pointers_; }
  std::span<const std::byte* const> sources() const { return {pointers_.data(), pointers_.size()}; }
  std::span<const std::byte* const> data() const { return {pointers_.data(), data_}; }
  std::vector<std::byte> copy(std::uint32_t column) const { return {pointers_[column], pointers_[column] + len_}; }

  // Fills P (and Q) by the definition.
  void slow_parity() {
    for (std::size_t at = 0; at < len_; ++at) {
      std::uint8_t p = 0;
      std::uint8_t q = 0;
      for (std::uint32_t d = 0; d < data_; ++d) {
        const auto byte = static_cast<std::uint8_t>(pointers_[d][at]);
        p ^= byte;
        q ^= slow_mul(slow_power(d), byte);
      }
      pointers_[data_][at] = std::byte{p};
      if (pointers_.size() == data_ + 2) pointers_[data_ + 1][at] = std::byte{q};
    }
  }

 private:
  std::uint32_t data_;
  std::size_t len_;
  std::vector<std::byte*> pointers_;
};

std::vector<std::vector<std::byte>> contents(const Columns& columns) {
  std::vector<std::vector<std::byte>> all;
  for (std::uint32_t i = 0; i < columns.all().size(); ++i) all.push_back(columns.copy(i));
  return all;
}

TEST(Parity, GeneratesWhatTheDefinitionSays) {
  for (std::uint32_t parity = 1; parity <= 2; ++parity) {
    for (std::uint32_t d = 2; d <= 16; ++d) {
      Columns columns(d, parity, d);
      columns.slow_parity();
      const auto expected = contents(columns);
      std::memset(columns[d], 0xee, kLen);
      if (parity == 2) std::memset(columns[d + 1], 0xee, kLen);
      ParityCode code(d, parity);
      code.generate(columns.data(), columns[d], parity == 2 ? columns[d + 1] : nullptr, kLen);
      ASSERT_EQ(contents(columns), expected) << d;
      ASSERT_TRUE(code.consistent(columns.sources(), kLen));
      if (parity == 1) continue;
      std::memset(columns[d], 0, kLen);
      std::memset(columns[d + 1], 0, kLen);
      code.generate(columns.data(), nullptr, columns[d + 1], kLen);
      ASSERT_EQ(columns.copy(d + 1), expected[d + 1]);
      code.generate(columns.data(), columns[d], nullptr, kLen);
      ASSERT_EQ(columns.copy(d), expected[d]);
    }
  }
}

TEST(Parity, RecoversEveryOneAndEveryTwoLostColumns) {
  for (std::uint32_t d = 2; d <= 16; ++d) {
    Columns columns(d, 2, 100 + d);
    columns.slow_parity();
    const auto expected = contents(columns);
    ParityCode code(d, 2);
    for (std::uint32_t a = 0; a < d + 2; ++a) {
      for (std::uint32_t b = a; b < d + 2; ++b) {
        std::memset(columns[a], 0xa5, kLen);
        std::memset(columns[b], 0x5a, kLen);
        code.recover(columns.all(), ColumnSet{a, b}, kLen);
        ASSERT_EQ(contents(columns), expected) << "D " << d << " lost " << a << ", " << b;
      }
    }
  }
}

TEST(Parity, RecoversOneOfTwoLostColumnsWithoutBufferForTheOther) {
  for (std::uint32_t d : {2u, 4u, 7u}) {
    Columns columns(d, 2, 200 + d);
    columns.slow_parity();
    const auto expected = contents(columns);
    ParityCode code(d, 2);
    for (std::uint32_t a = 0; a < d + 2; ++a) {
      for (std::uint32_t b = 0; b < d + 2; ++b) {
        if (a == b) continue;
        std::vector<std::byte*> pointers(columns.all().begin(), columns.all().end());
        pointers[b] = nullptr;
        std::memset(columns[a], 0, kLen);
        code.recover(pointers, ColumnSet{a, b}, kLen);
        ASSERT_EQ(contents(columns), expected) << "D " << d << " lost " << a << ", " << b;
      }
    }
  }
}

TEST(Parity, RecoversWithOneParity) {
  for (std::uint32_t d = 2; d <= 16; ++d) {
    Columns columns(d, 1, 300 + d);
    columns.slow_parity();
    const auto expected = contents(columns);
    ParityCode code(d, 1);
    for (std::uint32_t a = 0; a <= d; ++a) {
      std::memset(columns[a], 0, kLen);
      code.recover(columns.all(), ColumnSet{a}, kLen);
      ASSERT_EQ(contents(columns), expected);
    }
  }
}

TEST(Parity, ASumHasAsManyColumnsAsAnArrayHasMembers) {
  constexpr std::uint32_t kData = kMaxColumns - 1;
  Columns columns(kData, 1, 17);
  ParityCode code(kData, 1);
  code.generate(columns.data(), columns[kData], nullptr, kLen);
  for (std::size_t at = 0; at < kLen; ++at) {
    std::byte sum{};
    for (std::uint32_t d = 0; d < kData; ++d) sum ^= columns[d][at];
    ASSERT_EQ(columns[kData][at], sum);
  }
  EXPECT_TRUE(code.consistent(columns.sources(), kLen));
  const auto expected = contents(columns);
  for (const std::uint32_t lost : {0u, 1000u, kData - 1, kData}) {
    std::memset(columns[lost], 0, kLen);
    code.recover(columns.all(), ColumnSet{lost}, kLen);
    ASSERT_EQ(contents(columns), expected);
  }
}

TEST(Parity, ASingleLostDataColumnNeedsNoQ) {
  Columns columns(4, 2, 7);
  columns.slow_parity();
  const auto expected = columns.copy(2);
  std::memset(columns[5], 0x77, kLen);  // Q was never read
  std::memset(columns[2], 0, kLen);
  ParityCode(4, 2).recover(columns.all(), ColumnSet{2}, kLen);
  EXPECT_EQ(columns.copy(2), expected);
}

TEST(Parity, UpdateEqualsGeneratingAnew) {
  for (std::uint32_t parity = 1; parity <= 2; ++parity) {
    for (std::uint32_t d = 2; d <= 16; ++d) {
      ParityCode code(d, parity);
      for (std::uint32_t changed = 0; changed < d; ++changed) {
        Columns columns(d, parity, 400 + d);
        columns.slow_parity();
        Columns delta(1, 0, 500 + changed);
        xor_into(columns[changed], delta[0], kLen);
        code.update(changed, delta[0], columns[d], parity == 2 ? columns[d + 1] : nullptr, kLen);
        const auto got = contents(columns);
        columns.slow_parity();
        ASSERT_EQ(got, contents(columns)) << d << " " << changed;
        if (parity == 2) {  // P's member is lost: Q alone
          xor_into(columns[changed], delta[0], kLen);
          code.update(changed, delta[0], nullptr, columns[d + 1], kLen);
          const auto q = columns.copy(d + 1);
          columns.slow_parity();
          ASSERT_EQ(q, columns.copy(d + 1));
        }
      }
    }
  }
}

TEST(Parity, NullColumnsCountAsZeroes) {
  constexpr std::size_t kLong = 100 * 1024 + 64;  // more than the stand-in for zeroes
  for (std::uint64_t nulls = 0; nulls < 32; ++nulls) {
    Columns columns(5, 2, 600 + nulls, kLong);
    std::vector<std::byte*> pointers(columns.all().begin(), columns.all().end());
    for (std::uint32_t d : ColumnSet::from_bits(nulls)) {
      std::memset(columns[d], 0, kLong);
      pointers[d] = nullptr;
    }
    columns.slow_parity();
    const auto p = columns.copy(5);
    const auto q = columns.copy(6);
    ParityCode code(5, 2);
    const std::vector<const std::byte*> data(pointers.begin(), pointers.begin() + 5);
    code.generate(data, columns[5], columns[6], kLong);
    ASSERT_EQ(columns.copy(5), p);
    ASSERT_EQ(columns.copy(6), q);
    const std::vector<const std::byte*> sources(pointers.begin(), pointers.end());
    ASSERT_TRUE(code.consistent(sources, kLong));
    if ((nulls & 3) != 0) continue;
    const auto first = columns.copy(0);
    const auto second = columns.copy(1);
    std::memset(columns[0], 1, kLong);
    std::memset(columns[1], 1, kLong);
    code.recover(pointers, ColumnSet{0, 1}, kLong);
    ASSERT_EQ(columns.copy(0), first);
    ASSERT_EQ(columns.copy(1), second);
    std::memset(columns[1], 1, kLong);
    code.recover(pointers, ColumnSet{1}, kLong);
    ASSERT_EQ(columns.copy(1), second);
  }
}

TEST(Parity, ManyLostSetsInTurnDoNotConfuseTheCache) {
  Columns columns(16, 2, 9);
  columns.slow_parity();
  const auto expected = contents(columns);
  ParityCode code(16, 2);
  for (int round = 0; round < 2; ++round) {
    for (std::uint32_t a = 0; a < 16; ++a) {
      const std::uint32_t b = (a * 7 + 3) % 18;
      std::memset(columns[a], 0, kLen);
      std::memset(columns[b], 0, kLen);
      code.recover(columns.all(), ColumnSet{a, b}, kLen);
      ASSERT_EQ(contents(columns), expected);
    }
  }
}

TEST(Parity, WorksAtTheWidestArray) {
  Columns columns(30, 2, 11);
  columns.slow_parity();
  const auto expected = contents(columns);
  ParityCode code(30, 2);
  std::memset(columns[29], 0, kLen);
  std::memset(columns[0], 0, kLen);
  code.recover(columns.all(), ColumnSet{0, 29}, kLen);
  EXPECT_EQ(contents(columns), expected);
}

TEST(Locate, NamesEverySingleWrongColumn) {
  for (std::uint32_t d = 2; d <= 16; ++d) {
    Columns columns(d, 2, 700 + d);
    columns.slow_parity();
    ParityCode code(d, 2);
    EXPECT_EQ(code.locate(columns.sources(), kLen), Located{});
    for (std::uint32_t wrong = 0; wrong < d + 2; ++wrong) {
      columns[wrong][3] ^= std::byte{0x40};
      EXPECT_FALSE(code.consistent(columns.sources(), kLen));
      EXPECT_EQ(code.locate(columns.sources(), kLen), (Located{Located::Verdict::single, wrong}));
      columns[wrong][kLen - 1] ^= std::byte{0x81};
      EXPECT_EQ(code.locate(columns.sources(), kLen), (Located{Located::Verdict::single, wrong}));
      columns[wrong][3] ^= std::byte{0x40};
      columns[wrong][kLen - 1] ^= std::byte{0x81};
    }
  }
}

TEST(Locate, DoesNotAccuseWhenTwoColumnsAreWrong) {
  Columns columns(6, 2, 13);
  columns.slow_parity();
  ParityCode code(6, 2);
  for (std::uint32_t a = 0; a < 8; ++a) {
    for (std::uint32_t b = 0; b < a; ++b) {
      columns[a][0] ^= std::byte{1};
      columns[b][100] ^= std::byte{1};
      EXPECT_EQ(code.locate(columns.sources(), kLen).verdict, Located::Verdict::unknown);
      columns[a][0] ^= std::byte{1};
      columns[b][100] ^= std::byte{1};
    }
  }
}

TEST(Locate, OneParityCanOnlyTellThatItDiffers) {
  Columns columns(4, 1, 14);
  columns.slow_parity();
  ParityCode code(4, 1);
  EXPECT_EQ(code.locate(columns.sources(), kLen).verdict, Located::Verdict::consistent);
  columns[1][0] ^= std::byte{1};
  EXPECT_EQ(code.locate(columns.sources(), kLen).verdict, Located::Verdict::unknown);
}

TEST(Parity, IsZeroSeesEveryByte) {
  std::vector<std::byte> bytes(1000);
  EXPECT_TRUE(is_zero(bytes.data(), bytes.size()));
  for (std::byte& byte : bytes) {
    byte = std::byte{1};
    EXPECT_FALSE(is_zero(bytes.data(), bytes.size()));
    byte = std::byte{0};
  }
}

}  // namespace
}  // namespace resilver::raid
