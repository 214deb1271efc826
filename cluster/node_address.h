// "host:port", and the file in which a job's scheduler says where it listens.
#pragma once

#include <memory>
#include <string>

#include "proto/Scheduler.h"
#include "proto/status.h"

namespace emporium::cluster {

// Connects to "host:port". InvalidArgument when it is none.
Result<std::unique_ptr<control::SchedulerIf>> ConnectTo(const std::string& address);

// The file says {"control": "host:port", "http": "host:port", "pid": n}.
Status WriteSchedulerAddress(const std::string& path, const std::string& control,
                             const std::string& http);
// "host:port" of the service. NotFound when no scheduler has written it.
Result<std::string> ReadSchedulerAddress(const std::string& path);

}  // namespace emporium::cluster
