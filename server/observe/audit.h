// Who did what: one record for each action, in systemd's journal where it hears us, else in the
// log.
//
// Thread-safe. A record says who, what, on what, from where and how it ended, and nothing else that
// a request held; it is bounded, whatever its caller wrote.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace kdbg::observe {

struct AuditRecord {
  std::string action;                  // "BuildService/CreateBuild", "gdb port"
  std::string user;                    // empty: nobody knows
  std::string from;                    // "unix", "10.0.0.7:41234"
  std::string result;                  // "OK", "PERMISSION_DENIED"
  std::string why;                     // when it is not OK
  std::vector<std::string> resources;  // what it was about: "builds/b-7"
  std::string request;                 // the id its caller gave it, if any
};

class AuditSink {
 public:
  virtual ~AuditSink() = default;
  virtual void Write(const AuditRecord& record) = 0;
};

// In one line, for people.
std::string ToLine(const AuditRecord& record);
// As the journal keeps it: "USER=alice", "BUILD=b-7", ..., with the line as MESSAGE.
std::vector<std::string> JournalFields(const AuditRecord& record);

// The journal if stderr leads there, with fields; else lines of the log, at any level.
std::unique_ptr<AuditSink> OpenAudit();

}  // namespace kdbg::observe
