#include "server/vm/libvirt/qmp.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <libvirt/libvirt-qemu.h>

#include <string>

#include "proto/contract/error.h"
#include "server/vm/libvirt/libvirt_handles.h"

namespace kdbg::vm {

using google::protobuf::Struct;
using google::protobuf::util::JsonStringToMessage;
using google::protobuf::util::MessageToJsonString;

absl::StatusOr<Struct> RunQmp(virDomainPtr domain, std::string_view command,
                              const Struct& arguments) {
  Struct request;
  (*request.mutable_fields())["execute"].set_string_value(std::string(command));
  if (arguments.fields_size() > 0) {
    *(*request.mutable_fields())["arguments"].mutable_struct_value() = arguments;
  }
  std::string text;
  if (!MessageToJsonString(request, &text).ok()) {
    return absl::InternalError(fmt::format("{} cannot be written as JSON", command));
  }
  char* answer = nullptr;
  if (virDomainQemuMonitorCommand(domain, text.c_str(), &answer, 0) != 0) {
    return LastLibvirtError(fmt::format("sending {}", command));
  }
  const LibvirtString owned(answer);
  Struct reply;
  if (!JsonStringToMessage(answer, &reply).ok()) {
    return absl::InternalError(fmt::format("QEMU answered {} with no JSON", command));
  }
  const auto error = reply.fields().find("error");
  if (error != reply.fields().end()) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, Reason::kHypervisorRefused,
        fmt::format("QEMU refused {}: {}", command, TextOf(error->second.struct_value(), "desc")));
  }
  const auto result = reply.fields().find("return");
  return result == reply.fields().end() ? Struct() : result->second.struct_value();
}

std::string_view TextOf(const Struct& object, const char* key) {
  const auto found = object.fields().find(key);
  return found == object.fields().end() ? std::string_view() : found->second.string_value();
}

}  // namespace kdbg::vm
