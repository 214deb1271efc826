#include "worker/data_files.h"

#include <algorithm>

#include "worker/text_reader.h"

namespace emporium::worker {
namespace {

const spec::Column* FindColumn(const spec::TextSource& source, const std::string& name) {
  for (const spec::Column& column : source.column()) {
    if (column.name() == name) {
      return &column;
    }
  }
  return nullptr;
}

}  // namespace

Result<DataFiles> FindDataFiles(const spec::Data& data, const std::string& data_dir) {
  DataFiles files;
  EMPORIUM_ASSIGN_OR_RETURN(files.events[0], ExpandFiles(data.events().file(), data_dir));
  if (data.split().has_files()) {
    const auto& split = data.split().files();
    EMPORIUM_ASSIGN_OR_RETURN(files.events[1], ExpandFiles(split.validation_file(), data_dir));
    EMPORIUM_ASSIGN_OR_RETURN(files.events[2], ExpandFiles(split.test_file(), data_dir));
  }
  EMPORIUM_ASSIGN_OR_RETURN(files.items, ExpandFiles(data.items().file(), data_dir));
  if (files.events[0].empty()) {
    return InvalidArgument("data.events.file: names no file; say where the events are");
  }
  return files;
}

Status CheckDataColumns(const spec::Data& data) {
  using Types = std::vector<spec::ColumnType>;
  const Types ids = {spec::STRING, spec::INT};
  const Types numbers = {spec::INT, spec::FLOAT};
  const Types texts = {spec::STRING, spec::TEXT};
  const spec::TextSource& events = data.events();
  const spec::TextSource& items = data.items();
  struct Part {
    const char* field;
    const std::string& column;
    const spec::TextSource& source;
    const Types& types;
  };
  const Part parts[] = {{"user_column", data.user_column(), events, ids},
                        {"item_column", data.item_column(), events, ids},
                        {"time_column", data.time_column(), events, numbers},
                        {"group_column", data.group_column(), events, ids},
                        {"label_column", data.label_column(), events, numbers},
                        {"items_key_column", data.items_key_column(), items, ids},
                        {"items_title_column", data.items_title_column(), items, texts}};
  std::string complaints;
  if (events.column_size() == 0) {
    complaints += "data.events.column: names no column\n";
  }
  for (const Part& part : parts) {
    const spec::Column* column = FindColumn(part.source, part.column);
    const std::string where = std::string("data.") + part.field + ": ";
    if (part.column.empty()) {
      continue;
    }
    if (column == nullptr) {
      complaints += where + "\"" + part.column + "\" is not among the columns of " +
                    (&part.source == &events ? "data.events" : "data.items") +
                    "; add a column { name: \"" + part.column + "\" }\n";
    } else if (std::find(part.types.begin(), part.types.end(), column->type()) ==
               part.types.end()) {
      complaints += where + "column \"" + part.column + "\" must be " +
                    spec::ColumnType_Name(part.types[0]) + " or " +
                    spec::ColumnType_Name(part.types[1]) + "\n";
    }
  }
  if (data.has_items() && (!data.has_items_key_column() || !data.has_item_column())) {
    complaints += "data.items_key_column: needed with data.items, and data.item_column too\n";
  }
  if (complaints.empty()) {
    return Status::Ok();
  }
  complaints.pop_back();
  return InvalidArgument(complaints);
}

}  // namespace emporium::worker
