// Reading and checking a job file. Everything that is wrong is found before anything starts, all of
// it at once, each as one line `file:line: field: what is wrong; what to do`.
//
// Pure functions but for the one read of the file; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "proto/job.pb.h"
#include "proto/status.h"

namespace emporium {

// One fault of a job file.
struct Complaint {
  std::string file;     // as the user named it; empty when the job did not come from a file
  int line = 0;         // from 1; 0: not located
  std::string field;    // "table[1].optimizer.adagrad.epsilon"; positions count from 0
  std::string problem;  // what is wrong
  std::string advice;   // what to do

  std::string ToString() const;
};

// Reads, parses and validates the job file at `path`. An error when it cannot be read, or when
// there are complaints; `complaints` then holds them in the order of lines (none when the file
// could not be read at all). Paths in the job stay as they were written.
Result<spec::Job> LoadJobFile(const std::string& path, std::vector<Complaint>* complaints);

// The same for text that has been read already; `name` stands for the file in complaints.
Result<spec::Job> ParseJob(std::string_view text, const std::string& name,
                           std::vector<Complaint>* complaints);

// Everything that can be said of a job without its data and without its model's code. No lines.
std::vector<Complaint> ValidateJob(const spec::Job& job);

enum class DataRole { kEvents, kItems };
// Compares the columns that the job reads with those that a data file has. No lines.
std::vector<Complaint> CheckColumns(const spec::Job& job, DataRole role,
                                    const std::string& data_file,
                                    const std::vector<std::string>& columns_of_file);

// Fills in file and line of complaints about the job file at `path` by their fields. A field that
// is not in the file has the line of the message that it is missing from.
Status LocateComplaints(const std::string& path, std::vector<Complaint>* complaints);

// The candidate nearest to `word` when one is near enough to be a slip of the pen, else "".
std::string NearestName(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace emporium
