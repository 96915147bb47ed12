#include "base/units.h"

#include <gtest/gtest.h>

#include <utility>

namespace resilver {
namespace {

TEST(Units, SizesArePowersOf1024) {
  for (const auto& [text, bytes] :
       std::initializer_list<std::pair<const char*, std::uint64_t>>{{"0", 0},
                                                                    {"4096", 4096},
                                                                    {"64K", 65536},
                                                                    {"64KiB", 65536},
                                                                    {"64 KiB", 65536},
                                                                    {"256MiB", 256 * kMiB},
                                                                    {"1GiB", kGiB},
                                                                    {"1.5G", 3 * kGiB / 2},
                                                                    {"0.5K", 512},
                                                                    {"1TiB", kTiB},
                                                                    {"16383P", 16383 * 1024 * kTiB},
                                                                    {"9999999999999999999", 9999999999999999999ull}}) {
    const auto size = parse_size(text);
    ASSERT_TRUE(size.has_value()) << text << ": " << size.error().what;
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(Units, WrongSizesAreRefusedWithAHint) {
  for (const char* text :
       {"",     "K",    "64k",  "64KB",  "64kB",  "10B",  "-1K",  "+1",   "1e3",    "1.",
        ".5K",  "1.5",  "0.3K", "1..5K", "64  K", "64K ", " 64K", "64Kx", "16384P", "99999999999999999999",
        "1,5G", "0x10", "64\n"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.has_value()) << text << " -> " << *size;
    EXPECT_EQ(size.error().code, Errc::bad_input);
    EXPECT_TRUE(size.error().what.starts_with("expected a size such as")) << size.error().what;
    EXPECT_EQ(size.error().what.find('\n'), std::string::npos);
  }
  EXPECT_EQ(
      parse_size("64KB").error().what,
      "expected a size such as 4096, 64K, 256MiB or 1TiB (powers of 1024), found \"64KB\": write KiB, MiB, GiB or "
      "TiB, which cannot be mistaken for powers of 1000");
  EXPECT_TRUE(parse_size("1.5").error().what.ends_with("not a whole number of bytes"));
  EXPECT_TRUE(parse_size("16384P").error().what.ends_with("too large"));
  EXPECT_LT(parse_size(std::string(100'000, 'x')).error().what.size(), 200u);
}

TEST(Units, DurationsBecomeNanoseconds) {
  for (const auto& [text, value] : std::initializer_list<std::pair<const char*, Nanos>>{{"5us", 5'000},
                                                                                        {"0.2ms", 200'000},
                                                                                        {"10ms", 10 * kMillisecond},
                                                                                        {"1.5s", 1'500'000'000},
                                                                                        {"0.000000001s", 1},
                                                                                        {"2min", 2 * kMinute},
                                                                                        {"2 min", 2 * kMinute},
                                                                                        {"1h", kHour},
                                                                                        {"0s", 0}}) {
    const auto duration = parse_duration(text);
    ASSERT_TRUE(duration.has_value()) << text << ": " << duration.error().what;
    EXPECT_EQ(*duration, value) << text;
  }
}

TEST(Units, WrongDurationsAreRefused) {
  for (const char* text : {"", "0", "10", "s", "-5s", "5 sec", "5m", "5S", "0.0001us", "3000000h", "1.5.5s", "1e3s"}) {
    const auto duration = parse_duration(text);
    ASSERT_FALSE(duration.has_value()) << text << " -> " << *duration;
    EXPECT_EQ(duration.error().code, Errc::bad_input);
  }
  EXPECT_EQ(parse_duration("10").error().what,
            "expected a duration such as 5us, 10ms, 1.5s, 2min or 1h, found \"10\": the unit is missing");
}

TEST(Units, RatesAreBytesOrDecimalBits) {
  for (const auto& [text, value] :
       std::initializer_list<std::pair<const char*, std::uint64_t>>{{"50MiB/s", 50 * kMiB},
                                                                    {"1.5G/s", 3 * kGiB / 2},
                                                                    {"10Gbit/s", 1'250'000'000},
                                                                    {"100 Mbit/s", 12'500'000},
                                                                    {"8kbit/s", 1000}}) {
    const auto rate = parse_rate(text);
    ASSERT_TRUE(rate.has_value()) << text << ": " << rate.error().what;
    EXPECT_EQ(*rate, value) << text;
  }
}

TEST(Units, WrongRatesAreRefused) {
  for (const char* text :
       {"", "50", "50/s", "50MiB", "50MB/s", "10Gbit", "10gbit/s", "10GBit/s", "0.001kbit/s", "-1K/s"}) {
    EXPECT_FALSE(parse_rate(text).has_value()) << text;
  }
}

TEST(Units, CountsAreDigitsOnly) {
  EXPECT_EQ(parse_count("0").value(), 0u);
  EXPECT_EQ(parse_count("300").value(), 300u);
  EXPECT_EQ(parse_count("18446744073709551615").value(), ~0ull);
  for (const char* text : {"", "1K", "-1", "1.0", " 1", "18446744073709551616", "000000000000000000001"}) {
    EXPECT_FALSE(parse_count(text).has_value()) << text;
  }
}

TEST(Units, SizesReadWithThreeDigits) {
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_size(1), "1 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1024), "1 KiB");
  EXPECT_EQ(format_size(5 * kTiB / 4), "1.25 TiB");
  EXPECT_EQ(format_size(256 * kGiB), "256 GiB");
  EXPECT_EQ(format_size(25 * kMiB / 2), "12.5 MiB");
  EXPECT_EQ(format_size(kMiB - 1), "1 MiB");
  EXPECT_EQ(format_size(10 * kMiB - 1), "10 MiB");
  EXPECT_EQ(format_size(~0ull), "16 EiB");
}

TEST(Units, DurationsReadAsInTheTable) {
  EXPECT_EQ(format_duration(0), "0");
  EXPECT_EQ(format_duration(999), "999 ns");
  EXPECT_EQ(format_duration(2'500), "2.5 us");
  EXPECT_EQ(format_duration(999'999), "1 ms");
  EXPECT_EQ(format_duration(41 * kMillisecond), "41 ms");
  EXPECT_EQ(format_duration(1'060 * kMillisecond), "1.06 s");
  EXPECT_EQ(format_duration(999'600'000), "1 s");
  EXPECT_EQ(format_duration(59'940 * kMillisecond), "59.9 s");
  EXPECT_EQ(format_duration(59'960 * kMillisecond), "1 min");
  EXPECT_EQ(format_duration(11 * kMinute + 30 * kSecond), "11 min 30 s");
  EXPECT_EQ(format_duration(kHour - 1), "1 h");
  EXPECT_EQ(format_duration(2 * kHour + 5 * kMinute), "2 h 5 min");
  EXPECT_EQ(format_duration(-41 * kMillisecond), "-41 ms");
  EXPECT_EQ(format_duration(kNever), "never");
  EXPECT_EQ(format_duration(std::numeric_limits<Nanos>::min()), "-2562047 h 47 min");
}

TEST(Units, RatesReadInBytesOrBits) {
  EXPECT_EQ(format_rate(0), "0");
  EXPECT_EQ(format_rate(50 * kMiB), "50 MiB/s");
  EXPECT_EQ(format_bit_rate(1'250'000'000), "10 Gbit/s");
  EXPECT_EQ(format_bit_rate(12'500'000), "100 Mbit/s");
  EXPECT_EQ(format_bit_rate(0), "0");
}

}  // namespace
}  // namespace resilver
