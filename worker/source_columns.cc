#include "worker/source_columns.h"

#include "worker/csv.h"
#include "worker/decompress.h"
#include "worker/table_source.h"
#include "worker/text_reader.h"

namespace emporium::worker {

Result<SourceColumns> ReadSourceColumns(const spec::TextSource& source,
                                        const std::string& data_dir) {
  EMPORIUM_ASSIGN_OR_RETURN(const std::vector<std::string> files,
                            ExpandFiles(source.file(), data_dir));
  SourceColumns found;
  if (files.empty()) return NotFound("the source names no file");
  found.file = files.front();
  if (source.header() == spec::NONE || IsTableFile(found.file)) return found;
  EMPORIUM_ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> bytes, OpenByteSource(found.file));
  CsvReader reader(std::move(bytes), TabSeparated(found.file, source.format()) ? '\t' : ',');
  CsvRecord record;
  EMPORIUM_ASSIGN_OR_RETURN(const bool any, reader.Next(&record));
  if (!any) {
    return InvalidArgument(found.file + ": the file is empty, not even a header line is in it");
  }
  for (std::string_view field : record.fields) {
    if (source.header() == spec::TYPED) field = field.substr(0, field.rfind(':'));
    found.columns.emplace_back(field);
  }
  return found;
}

}  // namespace emporium::worker
