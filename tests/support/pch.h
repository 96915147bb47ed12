// Precompiled for every file of tests (see the Makefile).
#pragma once

#include <gtest/gtest.h>

#include "base/pch.h"
