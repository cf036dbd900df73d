// What a FAILED resource says on stderr: place, reason and excerpt. Pure.
#pragma once

#include <string>

#include "kdbg/v1/common.pb.h"

namespace kdbg::client {

// "builds/b-7 failed: mm/mmap.c:12: message\n", the excerpt indented, and a hint by whose fault it
// is.
std::string FailureReport(const std::string& name, const v1::Failure& failure);

}  // namespace kdbg::client
