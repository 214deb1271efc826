// Every flag of the command; cluster/verb.h says which verb takes which. Flags say where and how
// large a process runs; what is trained stands in the job file. Read by the main thread.
#pragma once

#include <gflags/gflags.h>

DECLARE_string(data);
DECLARE_string(work_dir);
DECLARE_int32(workers);
DECLARE_int32(servers);
DECLARE_int32(shards_per_server);
DECLARE_int32(lanes);
DECLARE_string(device);
DECLARE_int32(first_lane);
DECLARE_string(bind);
DECLARE_int32(port);
DECLARE_int32(http_port);
DECLARE_string(scheduler);
DECLARE_string(name);
DECLARE_bool(rejoin);
DECLARE_string(failpoint);
DECLARE_int32(ready_fd);
DECLARE_string(user);
DECLARE_string(item);
DECLARE_int32(k);
DECLARE_bool(parameters);
DECLARE_bool(fresh);
DECLARE_int32(users);
DECLARE_int32(items);
DECLARE_double(days);
DECLARE_int64(seed);
