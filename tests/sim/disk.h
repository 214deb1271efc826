// The disk that checkpoints of the simulator are written to. Files are real; what stands between
// them and the disk is not: a file is safe when it was synced, a name when its directory was. A
// process whose machine loses its power takes along what is not safe of what it wrote, whole or
// torn, and can do so in the midst of writing: at a sync.
//
// While one lives, fsync and rename of this program go through it. One at a time, one thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace emporium::sim {

class Disk {
 public:
  Disk(World* world, std::string root);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // The process dies at its sync number `syncs` from now (1: the next), just before or after it;
  // `power`: its machine with it.
  void DieAtSync(const Process* process, int syncs, bool before, bool power);
  void NobodyDies() { deaths_.clear(); }
  // Some syncs fail, and what was to be synced is lost though the system thinks that it is clean.
  bool syncs_fail = false;
  // Who makes the directories of checkpoints.
  const Process* maker_of_dirs = nullptr;
  // Somebody dies in the midst of writing.
  std::function<void()> dies;
  // What the process wrote and is not safe is lost as chance will have it.
  void LosePower(const Process* process);
  // Of a file that was whole a bit is another now, or its end is gone.
  void Damage(const std::string& path, bool flip_one);

  int Sync(int fd);
  int Rename(const char* from, const char* to);

 private:
  struct File {
    const Process* writer = nullptr;
    bool safe = false, lost = false;
  };
  struct Renamed {
    const Process* writer = nullptr;
    std::string dir, from, to;
  };
  struct Death {
    int syncs = 0;
    bool before = false, power = false;
  };
  bool IsHere(const std::string& path) const { return path.starts_with(root_); }
  [[noreturn]] void Die();
  void SyncDir(const std::string& path);
  void Tear(const std::string& path);

  World& world_;
  const std::string root_;
  std::map<ino_t, File> files_;   // that were written while somebody looked
  std::vector<Renamed> renamed_;  // whose directory was not synced since
  std::set<ino_t> safe_dirs_;
  std::map<const Process*, Death> deaths_;
};

}  // namespace emporium::sim
