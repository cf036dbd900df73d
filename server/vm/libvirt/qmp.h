// QEMU's own commands to a domain of ours, through libvirt. Only what libvirt has no call for.
#pragma once

#include <google/protobuf/struct.pb.h>
#include <libvirt/libvirt.h>

#include <string_view>

#include "absl/status/statusor.h"

namespace kdbg::vm {

// What `command` returned; empty for one that returns nothing or no object.
//   FAILED_PRECONDITION  kHypervisorRefused: QEMU's own words why it did not
absl::StatusOr<google::protobuf::Struct> RunQmp(virDomainPtr domain, std::string_view command,
                                                const google::protobuf::Struct& arguments = {});

// The text under `key`; empty when there is none.
std::string_view TextOf(const google::protobuf::Struct& object, const char* key);

}  // namespace kdbg::vm
