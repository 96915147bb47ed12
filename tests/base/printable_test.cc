#include "base/printable.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace resilver {
namespace {

TEST(Printable, ControlCharactersAreTold) {
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable("disk 0.img"), "disk 0.img");
  EXPECT_EQ(printable("\x1b[31mred\n\x7f"), "\\x1b[31mred\\x0a\\x7f");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(printable("\xc3\xa4"), "\xc3\xa4") << "UTF-8 stays";
}

TEST(Printable, AnErrorIsOneLine) { EXPECT_EQ(to_string(Error{Errc::not_found, "a\nb"}), "a\\x0ab (not found)"); }

}  // namespace
}  // namespace resilver
