// Contract in the header.
#include "proto/job_file.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "proto/job_text.h"
#include "proto/limits.h"

namespace emporium {
namespace {

std::string Leaf(const std::string& path) {
  const std::string last = path.substr(path.rfind('.') + 1);
  return last.substr(0, last.find('['));
}

int LineOf(const FieldLines& lines, std::string path) {
  while (true) {
    if (const auto found = lines.find(path); found != lines.end()) {
      return found->second;
    }
    if (path.empty()) {
      return 1;
    }
    const size_t dot = path.rfind('.');
    path.resize(dot == std::string::npos ? 0 : dot);
  }
}

void SortByLine(std::vector<Complaint>* complaints) {
  std::stable_sort(complaints->begin(), complaints->end(),
                   [](const Complaint& a, const Complaint& b) { return a.line < b.line; });
}

Result<std::string> ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    return NotFound(path + ": cannot be opened; name a job file (see docs/job.md)");
  }
  std::string text(limits::kMaxJobFileBytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) {
    return Unavailable(path + ": reading it failed; is it a file?");
  }
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > limits::kMaxJobFileBytes) {
    return InvalidArgument(path + ": larger than 4 MiB, so it is no job file");
  }
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return InvalidArgument(path + ": the file is empty; docs/job.md says what belongs into it");
  }
  return text;
}

// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      const size_t replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string Complaint::ToString() const {
  std::string text = file;
  if (line > 0) {
    text += ":" + std::to_string(line);
  }
  return text + (text.empty() ? "" : ": ") + field + ": " + problem + "; " + advice;
}

std::string NearestName(const std::string& word, const std::vector<std::string>& candidates) {
  std::string nearest;
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

Result<spec::Job> ParseJob(std::string_view text, const std::string& name,
                           std::vector<Complaint>* complaints) {
  Parsed parsed = ParseText(std::string(text), name);
  *complaints = std::move(parsed.complaints);
  if (parsed.complete) {
    for (Complaint& found : ValidateJob(parsed.job)) {
      if (found.problem == "is missing" && parsed.spoiled.count(Leaf(found.field)) > 0) {
        continue;
      }
      found.file = name;
      found.line = LineOf(parsed.lines, found.field);
      complaints->push_back(std::move(found));
    }
  }
  SortByLine(complaints);
  if (!complaints->empty()) {
    return InvalidArgument(name + ": " + std::to_string(complaints->size()) +
                           (complaints->size() == 1 ? " fault" : " faults") +
                           " in the job file; correct the lines named");
  }
  return std::move(parsed.job);
}

Result<spec::Job> LoadJobFile(const std::string& path, std::vector<Complaint>* complaints) {
  complaints->clear();
  EMPORIUM_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  return ParseJob(text, path, complaints);
}

Status LocateComplaints(const std::string& path, std::vector<Complaint>* complaints) {
  EMPORIUM_ASSIGN_OR_RETURN(std::string text, ReadText(path));
  const Parsed parsed = ParseText(std::move(text), path);
  for (Complaint& complaint : *complaints) {
    complaint.file = path;
    complaint.line = LineOf(parsed.lines, complaint.field);
  }
  SortByLine(complaints);
  return Status::Ok();
}

std::vector<Complaint> CheckColumns(const spec::Job& job, DataRole role,
                                    const std::string& data_file,
                                    const std::vector<std::string>& columns_of_file) {
  const bool events = role == DataRole::kEvents;
  const spec::TextSource& source = events ? job.data().events() : job.data().items();
  const std::string path = events ? "data.events" : "data.items";
  std::vector<Complaint> complaints;
  for (int i = 0; i < source.column_size(); ++i) {
    const std::string& wanted = source.column(i).name();
    if (std::find(columns_of_file.begin(), columns_of_file.end(), wanted) !=
        columns_of_file.end()) {
      continue;
    }
    const std::string nearest = NearestName(wanted, columns_of_file);
    complaints.push_back({"", 0, path + ".column[" + std::to_string(i) + "].name",
                          "no column \"" + wanted + "\" in " + data_file,
                          (nearest.empty() ? "" : "did you mean \"" + nearest + "\"? ") +
                              "the file has " + ListNames(columns_of_file)});
  }
  return complaints;
}

}  // namespace emporium
