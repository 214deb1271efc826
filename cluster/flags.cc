#include "cluster/flags.h"

DEFINE_string(data, "", "directory of the data files that the job names by relative paths");
DEFINE_string(work_dir, "", "directory for converted data, checkpoints, exports and logs");
DEFINE_int32(workers, 0, "workers; 0: as the job file says");
DEFINE_int32(servers, 0, "parameter servers; 0: as the job file says");
DEFINE_int32(shards_per_server, 0, "shards of one server; 0: as the job file says");
DEFINE_int32(lanes, 0,
             "micro-batches that a worker computes side by side; 0: as the job file says");
DEFINE_string(device, "", "cpu or cuda; empty: as the job file says");
DEFINE_int32(first_lane, 0,
             "with --device=cuda: lanes of the workers before this one on this host; each lane "
             "takes the next GPU");
DEFINE_string(bind, "127.0.0.1", "address that is listened on");
DEFINE_int32(port, 0, "port of the scheduler's service; 0: any free one");
DEFINE_int32(http_port, 0, "port of the status page; 0: any free one");
DEFINE_string(scheduler, "", "host:port of the scheduler");
DEFINE_string(name, "",
              "name of the process for whoever starts it again when it dies: the newest process of "
              "a name takes the place of the one before");
DEFINE_bool(rejoin, true,
            "go on with the servers and workers that an earlier scheduler of the job has left");
DEFINE_string(failpoint, "",
              "for tests: the process ends, as if it were killed, where it passes NAME[:N] of "
              "runtime/failpoint.h; of a launch PROCESS=NAME[:N]");
DEFINE_int32(ready_fd, -1, "descriptor that is told when the process is ready");
DEFINE_string(user, "", "id of a user, as the data has it");
DEFINE_string(item, "", "id of an item, as the data has it");
DEFINE_int32(k, 10, "answers that are printed");
DEFINE_bool(parameters, false, "also list the model's dense parameters");
DEFINE_bool(fresh, false, "forget what an earlier run of the job left in its work directory");
DEFINE_int32(users, 2000, "users that are generated");
DEFINE_int32(items, 1000, "items that are generated");
DEFINE_double(days, 120, "days over which events are generated");
DEFINE_int64(seed, 1, "seed of the generator");
