// A job small enough to run many times in tests: the made-up shop, two-tower with every part, both
// stages, validation, evaluation and export.
#pragma once

#include <string>

#include "tests/cluster/command.h"

namespace emporium::cluster {

class SmallJob {
 public:
  // Writes data and job file into a directory of its own. `epochs` of pretrain: its length; `more`:
  // what else it says.
  explicit SmallJob(int epochs = 2, int checkpoint_every_steps = 0, const std::string& more = "");

  const TempDir& dir() const { return dir_; }
  std::string job_path() const { return dir_ / "small.textproto"; }
  // The arguments of a verb on this job with a work directory of that name.
  std::vector<std::string> Arguments(const std::string& verb, const std::string& work_dir,
                                     const std::vector<std::string>& flags = {}) const;
  std::string work_dir(const std::string& name) const { return dir_ / name; }
  // Content digest of the newest checkpoint, as its manifest says; empty when there is none.
  std::string Digest(const std::string& work_dir) const;
  // Directory of the newest checkpoint that has a manifest.
  std::string NewestCheckpoint(const std::string& work_dir) const;

 private:
  TempDir dir_;
};

}  // namespace emporium::cluster
