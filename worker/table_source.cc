#include "worker/table_source.h"

#include <sys/stat.h>

#include <charconv>
#include <utility>

namespace emporium::worker {
namespace {

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

bool HasColumn(const ColumnFile& file, const std::string& name) {
  for (const char* part : {"codes", "ints", "floats", "doubles"}) {
    if (file.Has(ColumnArray(name, part))) {
      return true;
    }
  }
  return false;
}

// The arrays of one column that is read, and the pool's code of each of the file's codes.
struct Input {
  ReadColumn column;
  std::span<const int32_t> codes;
  std::span<const int64_t> ints;
  std::span<const float> floats;
  std::span<const double> doubles;
  DictionaryView dictionary;
  std::vector<int32_t> pool_code;  // -1: not met yet
};

class TableRows final : public RowReader {
 public:
  TableRows(std::string path, std::unique_ptr<ColumnFile> file)
      : path_(std::move(path)), file_(std::move(file)) {}

  Status Add(const ReadColumn& column) {
    Input in;
    in.column = column;
    const std::string prefix = ColumnArray(column.name, "");
    if (!HasColumn(*file_, column.name)) {
      std::string found;
      for (const std::string& name : file_->names()) {
        found += " " + name;
      }
      return InvalidArgument(path_ + ": no column \"" + column.name + "\"; the file has arrays" +
                             found + "; convert the text again with that column in the job");
    }
    if (column.type == spec::INT) {
      EMPORIUM_ASSIGN_OR_RETURN(in.ints, file_->Array<int64_t>(prefix + "ints"));
    } else if (column.type == spec::FLOAT && file_->Has(prefix + "doubles")) {
      EMPORIUM_ASSIGN_OR_RETURN(in.doubles, file_->Array<double>(prefix + "doubles"));
    } else if (column.type == spec::FLOAT) {
      EMPORIUM_ASSIGN_OR_RETURN(in.floats, file_->Array<float>(prefix + "floats"));
    } else {
      EMPORIUM_ASSIGN_OR_RETURN(in.codes, file_->Array<int32_t>(prefix + "codes"));
      EMPORIUM_ASSIGN_OR_RETURN(in.dictionary, ReadDictionary(*file_, prefix + "dict"));
      in.pool_code.assign(static_cast<size_t>(in.dictionary.size()), -1);
    }
    const size_t size =
        std::max({in.codes.size(), in.ints.size(), in.floats.size(), in.doubles.size()});
    if (size != file_->rows()) {
      return DataLoss(path_ + ": column \"" + column.name + "\" has not one value a row");
    }
    inputs_.push_back(std::move(in));
    return Status::Ok();
  }

  Result<bool> Next(std::span<Cell> cells) override {
    if (row_ == file_->rows()) {
      return false;
    }
    for (size_t c = 0; c < inputs_.size(); ++c) {
      EMPORIUM_RETURN_IF_ERROR(Take(&inputs_[c], &cells[c]));
    }
    ++row_;
    ++counts_.rows;
    counts_.bytes = static_cast<int64_t>(file_->bytes() * row_ / file_->rows());
    return true;
  }

  // Its number from 1: a column file has no lines.
  int64_t line() const override { return static_cast<int64_t>(row_); }

  void Refuse(const std::string&) override {
    --counts_.rows;
    ++counts_.bad_rows;
  }
  const ReadCounts& counts() const override { return counts_; }

 private:
  Status Take(Input* in, Cell* cell) const {
    if (!in->ints.empty()) {
      cell->integer = in->ints[row_];
      if (in->column.pool != nullptr) {
        char decimal[24];
        const auto end = std::to_chars(decimal, decimal + sizeof decimal, cell->integer).ptr;
        cell->code = in->column.pool->Intern({decimal, static_cast<size_t>(end - decimal)});
      }
    } else if (!in->floats.empty()) {
      cell->number = static_cast<double>(in->floats[row_]);
    } else if (!in->doubles.empty()) {
      cell->number = in->doubles[row_];
    } else {
      const int32_t code = in->codes[row_];
      if (code < -1 || code >= in->dictionary.size()) {
        return DataLoss(path_ + ": column \"" + in->column.name +
                        "\" names a text that is not "
                        "in its dictionary");
      }
      cell->code = code < 0 ? -1 : PoolCode(in, code);
    }
    return Status::Ok();
  }

  static int32_t PoolCode(Input* in, int32_t code) {
    int32_t& known = in->pool_code[static_cast<size_t>(code)];
    if (known < 0) {
      known = in->column.pool->Intern(in->dictionary.text(code));
    }
    return known;
  }

  const std::string path_;
  const std::unique_ptr<ColumnFile> file_;
  std::vector<Input> inputs_;
  uint64_t row_ = 0;
  ReadCounts counts_;
};

}  // namespace

std::string ColumnArray(const std::string& column, const std::string& part) {
  return "c:" + column + ":" + part;
}

bool IsTableFile(const std::string& path) {
  return IsDirectory(path) ? ColumnFile::Recognise(path + "/" + kEventsFile)
                           : ColumnFile::Recognise(path);
}

Result<std::unique_ptr<RowReader>> OpenTableRows(const std::string& path,
                                                 const std::vector<ReadColumn>& columns) {
  std::string name = path;
  if (IsDirectory(path)) {
    name = path + "/" + kEventsFile;
    EMPORIUM_ASSIGN_OR_RETURN(const auto events, ColumnFile::Open(name));
    for (const ReadColumn& column : columns) {
      if (!HasColumn(*events, column.name) && ColumnFile::Recognise(path + "/" + kItemsFile)) {
        name = path + "/" + kItemsFile;
      }
    }
  }
  EMPORIUM_ASSIGN_OR_RETURN(auto file, ColumnFile::Open(name));
  auto rows = std::make_unique<TableRows>(name, std::move(file));
  for (const ReadColumn& column : columns) {
    EMPORIUM_RETURN_IF_ERROR(rows->Add(column));
  }
  return std::unique_ptr<RowReader>(std::move(rows));
}

}  // namespace emporium::worker
