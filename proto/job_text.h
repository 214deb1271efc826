// The text of a job file as a message, with every fault of the text and the line of every field.
// Part of proto/job_file.h: only this folder includes it. Pure functions; safe from any thread.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "proto/job_file.h"

namespace emporium {

// Line of every field that occurs in the text, by its path.
using FieldLines = std::map<std::string, int>;

struct Parsed {
  spec::Job job;
  FieldLines lines;
  std::vector<Complaint> complaints;
  std::set<std::string> spoiled;  // fields that a fault hides: not to be called missing
  bool complete = true;           // false: the text could not be parsed to its end
};

// `name` stands for the file in complaints.
Parsed ParseText(std::string text, const std::string& name);

// "a, b, c"
std::string ListNames(const std::vector<std::string>& names);

}  // namespace emporium
