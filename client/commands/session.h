// `kdbgctl session ...`: guests on lease.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "client/commands/build.h"
#include "client/commands/context.h"

namespace kdbg::client {

struct SessionCreateOptions {
  std::string kernel;     // build id or name; empty: the newest
  std::string initramfs;  // the same, or "none"
  std::optional<int> cpus;
  std::string memory;
  std::string append;
  std::string stop_at;
  std::string accelerator;
  std::string ttl;
  std::string on_panic;   // "stay", "dump", "reset"
  std::string on_expiry;  // "end", "dump"
  bool net = false;
  std::vector<int> forwards;  // the guest's ports
  std::string disk;           // an image's name
  std::string folder;         // a directory, or a tar
  std::vector<std::string> devices;
  bool kaslr = false;
  bool no_wait = false;
  bool queue = false;
};

enum class Ended { kLeaveOut, kInclude };

CommandEnd SessionCreate(Context& context, const SessionCreateOptions& options);
CommandEnd SessionList(Context& context, Owners owners, Ended ended);
CommandEnd SessionShow(Context& context, const std::string& session);
CommandEnd SessionWatch(Context& context, const std::string& session);
CommandEnd SessionRenew(Context& context, const std::string& session, const std::string& ttl);
CommandEnd SessionPause(Context& context, const std::string& session);
CommandEnd SessionResume(Context& context, const std::string& session);
CommandEnd SessionReset(Context& context, const std::string& session);
CommandEnd SessionDelete(Context& context, const std::vector<std::string>& sessions);

struct SessionShareOptions {
  std::string session;
  std::string user;
  bool control = false;  // else only to read
  bool take_back = false;
};
CommandEnd SessionShare(Context& context, const SessionShareOptions& options);

struct SessionDumpOptions {
  std::string session;
  std::string format;       // "elf", "kdump-zlib"
  std::string destination;  // a directory for the files; empty: they stay on the server
};
CommandEnd SessionDump(Context& context, const SessionDumpOptions& options);

CommandEnd SessionSave(Context& context, const std::string& session);

struct SessionRestoreOptions {
  std::string artifact;
  std::string ttl;
  bool no_wait = false;
  bool queue = false;
};
CommandEnd SessionRestore(Context& context, const SessionRestoreOptions& options);

Details SessionDetails(const v1::Session& session);

}  // namespace kdbg::client
