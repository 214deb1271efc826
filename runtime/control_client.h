// The way to the scheduler: a SchedulerIf that speaks to a remote one, and the helpers that turn
// its exceptions into Status. In one process the scheduler's own handler is used instead, through
// the same interface.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "proto/Scheduler.h"
#include "proto/status.h"
#include "runtime/route.h"

namespace emporium::runtime {

// A scheduler behind host:port (framed Thrift, binary protocol). No connection is made before the
// first call. Every method may be called from any thread, also side by side: each call in progress
// has a connection of its own, and idle ones are kept. When a call fails because of its connection
// it throws (see CallScheduler), and the next call connects again. InvalidArgument for a port that
// is none.
Result<std::unique_ptr<control::SchedulerIf>> ConnectScheduler(const std::string& host, int port);

// Runs `call`, which calls a SchedulerIf: what it throws becomes a Status. Refused keeps its code
// and message; a broken or refused connection is Unavailable, no answer in time DeadlineExceeded.
Status CallScheduler(const std::function<void()>& call);

// The refusal that tells a caller about `status`; for handlers to throw.
control::Refused RefusedFrom(const Status& status);

// Routes on the control plane. InvalidArgument when the numbers do not fit together: a partition
// count that is no power of two, a shard without an endpoint.
Result<Route> RouteFromControl(const control::Route& route);
control::Route RouteToControl(const Route& route);

}  // namespace emporium::runtime
