// How much faster Emporium's column files are read than the text that they were made of: the same
// rows through the same reader interface, text and columns in turn, medians of several rounds.
//
// usage: bench_read TEXT COLUMN_DIR COLUMN[:int]...
// Prints `figure NAME VALUE` lines.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "runtime/clock.h"
#include "worker/string_pool.h"
#include "worker/text_reader.h"

namespace emporium {
namespace {

constexpr int kRounds = 7;

struct Column {
  std::string name;
  spec::ColumnType type;
};

// Rows per second of one pass over `path`.
Result<double> Pass(const std::string& path, const std::vector<Column>& columns) {
  spec::TextSource source;
  std::vector<std::unique_ptr<worker::StringPool>> pools;
  std::vector<worker::ReadColumn> read;
  for (const Column& column : columns) {
    spec::Column* described = source.add_column();
    described->set_name(column.name);
    described->set_type(column.type);
    worker::ReadColumn one;
    one.name = column.name;
    one.type = column.type;
    if (column.type == spec::STRING) {
      pools.push_back(std::make_unique<worker::StringPool>());
      one.pool = pools.back().get();
    }
    read.push_back(one);
  }
  const runtime::Stopwatch watch;
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<worker::RowReader> rows,
                            worker::OpenRows(path, source, read, worker::ReadPolicy()));
  std::vector<worker::Cell> cells(read.size());
  int64_t count = 0;
  while (true) {
    EMPORIUM_ASSIGN_OR_RETURN(const bool any, rows->Next(cells));
    if (!any) break;
    ++count;
  }
  return static_cast<double>(count) / watch.Seconds();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int Main(const std::string& text, const std::string& directory,
         const std::vector<Column>& columns) {
  std::vector<double> text_rate;
  std::vector<double> column_rate;
  std::vector<double> ratio;
  for (int round = 0; round < kRounds; ++round) {
    const Result<double> a = Pass(text, columns);
    const Result<double> b = Pass(directory, columns);
    if (!a.ok() || !b.ok()) {
      std::fprintf(stderr, "%s\n", (a.ok() ? b : a).status().ToString().c_str());
      return 1;
    }
    text_rate.push_back(*a);
    column_rate.push_back(*b);
    ratio.push_back(*b / *a);
  }
  std::printf("figure text_rows_per_s %.0f\n", Median(text_rate));
  std::printf("figure column_rows_per_s %.0f\n", Median(column_rate));
  std::printf("figure columns_over_text %.3f\n", Median(ratio));
  return 0;
}

}  // namespace
}  // namespace emporium

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: bench_read TEXT COLUMN_DIR COLUMN[:int]...\n");
    return 2;
  }
  std::vector<emporium::Column> columns;
  for (int i = 3; i < argc; ++i) {
    const std::string word = argv[i];
    const bool is_int = word.ends_with(":int");
    columns.push_back({is_int ? word.substr(0, word.size() - 4) : word,
                       is_int ? emporium::spec::INT : emporium::spec::STRING});
  }
  return emporium::Main(argv[1], argv[2], columns);
}
