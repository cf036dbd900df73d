// How bytes reach one client: a TCP connection or a stream through the daemon. For the I/O thread.
#pragma once

#include <string>

namespace kdbg::gdb {

class Transport {
 public:
  virtual ~Transport() = default;
  // Never blocks. A client that does not take its bytes is cut off when too many wait; it then
  // vanishes (Client).
  virtual void Send(std::string bytes) = 0;
  // No more bytes will be sent; the end comes after the last of them.
  virtual void Finish() = 0;
  // The end, now.
  virtual void Abort() = 0;
};

}  // namespace kdbg::gdb
