// Serves a SchedulerIf on a TCP port: framed Thrift, binary protocol, one thread per connection.
// Bytes that are no such frames end their connection and touch nothing else.
//
// Start, Stop and the destructor belong to one thread; the handler is called from many.
#pragma once

#include <memory>
#include <string>

#include "proto/Scheduler.h"
#include "proto/status.h"

namespace emporium::runtime {

class ThriftServer {
 public:
  // Port 0: chosen by the system. Unavailable when the port is in use; FailedPrecondition for an
  // address that is not loopback. `handler` is shared because Thrift's processor holds it so.
  static Result<std::unique_ptr<ThriftServer>> Start(std::shared_ptr<control::SchedulerIf> handler,
                                                     const std::string& host, int port);
  virtual ~ThriftServer() = default;
  virtual int port() const = 0;
  // Refuses new connections, ends idle ones and waits for the calls that are inside the handler:
  // the handler's owner has told it to let them go. May be called again; the destructor does it.
  virtual void Stop() = 0;
};

}  // namespace emporium::runtime
