// A table (events or items) inside a column file: the names of its arrays, and reading it again as
// input, so that what `emporium convert` made can stand where a text file stands. See
// worker/column_file.h for the names.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "proto/status.h"
#include "worker/column_file.h"
#include "worker/text_reader.h"

namespace emporium::worker {

// Files of a prepared directory.
inline constexpr const char* kEventsFile = "events.columns";
inline constexpr const char* kItemsFile = "items.columns";
inline constexpr const char* kIndexFile = "index.columns";

std::string ColumnArray(const std::string& column, const std::string& part);

// Whether `path` is a column file or a directory with one of events.
bool IsTableFile(const std::string& path);

// Rows of the table, in the file's order. `path` may be a directory: then columns say whether
// events or items are meant.
Result<std::unique_ptr<RowReader>> OpenTableRows(const std::string& path,
                                                 const std::vector<ReadColumn>& columns);

}  // namespace emporium::worker
