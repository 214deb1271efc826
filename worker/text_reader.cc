#include "worker/text_reader.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cfloat>
#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

#include "worker/csv.h"
#include "worker/decompress.h"
#include "worker/table_source.h"

namespace emporium::worker {
namespace {

constexpr int64_t kWarnings = 5;  // bad rows of a file that are told one by one

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') {
    text.remove_prefix(1);
  }
  while (!text.empty() && text.back() == ' ') {
    text.remove_suffix(1);
  }
  return text;
}

template <class List>
std::string Join(const List& names) {
  std::string all;
  for (const auto& name : names) {
    all += (all.empty() ? "" : ", ");
    all += name;
  }
  return all;
}

class TextRows final : public RowReader {
 public:
  TextRows(std::string path, const spec::TextSource& source, std::vector<ReadColumn> columns,
           const ReadPolicy& policy, CsvReader csv)
      : path_(std::move(path)),
        source_(source),
        columns_(std::move(columns)),
        policy_(policy),
        csv_(std::move(csv)) {}

  // Finds the columns' positions.
  Status Start() {
    std::vector<std::string> found;
    if (source_.header() == spec::NONE) {
      for (const spec::Column& column : source_.column()) {
        found.push_back(column.name());
      }
    } else {
      EMPORIUM_ASSIGN_OR_RETURN(const bool any, csv_.Next(&record_));
      if (!any) {
        return InvalidArgument(path_ + ": the file is empty, not even a header line is in it");
      }
      if (record_.error != nullptr) {
        return InvalidArgument(path_ + ":1: the header line is malformed: " + record_.error);
      }
      for (std::string_view name : record_.fields) {
        name = Trim(name);
        if (source_.header() == spec::TYPED) {
          name = name.substr(0, name.rfind(':'));
        }
        found.emplace_back(name);
      }
    }
    fields_ = found.size();
    for (const ReadColumn& column : columns_) {
      const auto it = std::find(found.begin(), found.end(), column.name);
      if (it == found.end()) {
        std::vector<std::string> expected;
        for (const ReadColumn& c : columns_) {
          expected.push_back(c.name);
        }
        return InvalidArgument(path_ + ": no column \"" + column.name + "\"; expected columns " +
                               Join(expected) + "; the header line has " + Join(found));
      }
      position_.push_back(static_cast<size_t>(it - found.begin()));
    }
    return Status::Ok();
  }

  Result<bool> Next(std::span<Cell> cells) override {
    for (;;) {
      EMPORIUM_ASSIGN_OR_RETURN(const bool any, csv_.Next(&record_));
      counts_.bytes = csv_.bytes();
      if (!any) {
        EMPORIUM_RETURN_IF_ERROR(Judge());
        return false;
      }
      const std::string why = Take(cells);
      if (why.empty()) {
        ++counts_.rows;
        return true;
      }
      NoteBad(why);
    }
  }

  int64_t line() const override { return record_.line; }

  void Refuse(const std::string& why) override {
    --counts_.rows;
    NoteBad(why);
  }

  const ReadCounts& counts() const override { return counts_; }

 private:
  // The record into cells; why it cannot be, or nothing.
  std::string Take(std::span<Cell> cells) {
    if (record_.error != nullptr) {
      return record_.error;
    }
    if (record_.fields.size() != fields_) {
      return std::to_string(record_.fields.size()) + " fields instead of " +
             std::to_string(fields_);
    }
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string_view text = record_.fields[position_[c]];
      const ReadColumn& column = columns_[c];
      bool sound = true;
      if (column.type == spec::INT) {
        sound = ParseInteger(text, &cells[c].integer);
      } else if (column.type == spec::FLOAT) {
        sound = ParseNumber(text, &cells[c].number);
      } else {
        sound = !(text.empty() && column.empty == EmptyText::kBad);
      }
      if (!sound) {
        return "column \"" + column.name + "\": \"" + std::string(text.substr(0, 40)) +
               (column.type == spec::INT     ? "\" is no 64-bit integer"
                : column.type == spec::FLOAT ? "\" is no finite number"
                                             : "\": must not be empty");
      }
    }
    for (size_t c = 0; c < columns_.size(); ++c) {
      Intern(columns_[c], record_.fields[position_[c]], &cells[c]);
    }
    return "";
  }

  static void Intern(const ReadColumn& column, std::string_view text, Cell* cell) {
    if (column.pool == nullptr) {
      return;
    }
    char decimal[24];
    if (column.type == spec::INT) {
      const auto end = std::to_chars(decimal, decimal + sizeof decimal, cell->integer).ptr;
      text = {decimal, static_cast<size_t>(end - decimal)};
    }
    const bool missing = text.empty() && column.empty == EmptyText::kMissing;
    cell->code = missing ? -1 : column.pool->Intern(text);
  }

  void NoteBad(const std::string& why) {
    ++counts_.bad_rows;
    const std::string message = path_ + ":" + std::to_string(record_.line) + ": " + why;
    if (static_cast<uint64_t>(counts_.bad_rows) == policy_.max_bad_rows + 1) {
      beyond_ = message;
    }
    if (policy_.warn && counts_.bad_rows <= kWarnings) {
      policy_.warn(message + "; the row is skipped");
    }
  }

  // Whether a file's bad rows are too many can be said only when all of its rows are known.
  Status Judge() const {
    const double all = static_cast<double>(counts_.rows + counts_.bad_rows);
    if (beyond_.empty() ||
        static_cast<double>(counts_.bad_rows) <= policy_.max_bad_fraction * all) {
      return Status::Ok();
    }
    return InvalidArgument(beyond_ + "; " + std::to_string(counts_.bad_rows) + " of " +
                           std::to_string(counts_.rows + counts_.bad_rows) +
                           " rows are bad, more than data.max_bad_rows and "
                           "data.max_bad_fraction allow");
  }

  const std::string path_;
  const spec::TextSource source_;
  const std::vector<ReadColumn> columns_;
  const ReadPolicy policy_;
  CsvReader csv_;
  CsvRecord record_;
  size_t fields_ = 0;
  std::vector<size_t> position_;  // of each column in a record
  ReadCounts counts_;
  std::string beyond_;  // the first bad row beyond max_bad_rows
};

}  // namespace

bool TabSeparated(const std::string& path, spec::Format format) {
  if (format != spec::AUTO) {
    return format == spec::TSV;
  }
  const std::string name = WithoutCompressionSuffix(path);
  const size_t dot = name.rfind('.');
  const std::string suffix = dot == std::string::npos ? "" : name.substr(dot);
  return suffix == ".tsv" || suffix == ".inter" || suffix == ".item" || suffix == ".user";
}

bool ParseInteger(std::string_view text, int64_t* value) {
  text = Trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

bool ParseNumber(std::string_view text, double* value) {
  text = Trim(text);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(*value) &&
         std::fabs(*value) <= static_cast<double>(FLT_MAX);
}

Result<std::unique_ptr<RowReader>> OpenRows(const std::string& path, const spec::TextSource& source,
                                            const std::vector<ReadColumn>& columns,
                                            const ReadPolicy& policy) {
  if (IsTableFile(path)) {
    return OpenTableRows(path, columns);
  }
  EMPORIUM_ASSIGN_OR_RETURN(auto bytes, OpenByteSource(path));
  CsvReader csv(std::move(bytes), TabSeparated(path, source.format()) ? '\t' : ',');
  auto rows = std::make_unique<TextRows>(path, source, columns, policy, std::move(csv));
  EMPORIUM_RETURN_IF_ERROR(rows->Start());
  return std::unique_ptr<RowReader>(std::move(rows));
}

Result<std::vector<std::string>> ExpandFiles(
    const google::protobuf::RepeatedPtrField<std::string>& patterns, const std::string& data_dir) {
  std::vector<std::string> paths;
  for (const std::string& pattern : patterns) {
    const std::string path = pattern.empty() || pattern[0] == '/' || data_dir.empty()
                                 ? pattern
                                 : data_dir + "/" + pattern;
    struct stat info {};
    if (::stat(path.c_str(), &info) == 0) {
      paths.push_back(path);
      continue;
    }
    glob_t found{};
    const int code = ::glob(path.c_str(), GLOB_NOSORT, nullptr, &found);
    std::vector<std::string> matches;
    for (size_t i = 0; code == 0 && i < found.gl_pathc; ++i) {
      matches.emplace_back(found.gl_pathv[i]);
    }
    ::globfree(&found);
    if (matches.empty()) {
      const bool is_glob = pattern.find_first_of("*?[") != std::string::npos;
      return NotFound(path +
                      (is_glob ? ": no file has a name like that" : ": there is no such file") +
                      "; names in the job file are relative to the data directory");
    }
    std::sort(matches.begin(), matches.end());
    paths.insert(paths.end(), matches.begin(), matches.end());
  }
  return paths;
}

}  // namespace emporium::worker
