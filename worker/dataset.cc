#include "worker/dataset.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

#include "worker/origin.h"
#include "worker/table_source.h"

namespace emporium::worker {
namespace {

// The lines of `text`.
std::vector<std::string> Lines(std::span<const char> text) {
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') {
      lines.emplace_back();
    } else {
      lines.back().push_back(c);
    }
  }
  return lines;
}

// Users or items: their texts, their events, and the order of their texts.
struct Lookup {
  DictionaryView ids;
  std::span<const int32_t> of_row;
  std::span<const int64_t> offset;
  std::span<const int32_t> events;
  std::span<const int32_t> sorted;

  std::span<const int32_t> EventsOf(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    return events.subspan(static_cast<size_t>(offset[i]),
                          static_cast<size_t>(offset[i + 1] - offset[i]));
  }
  int32_t Find(std::string_view text) const {
    const auto it = std::lower_bound(
        sorted.begin(), sorted.end(), text,
        [this](int32_t id, std::string_view wanted) { return ids.text(id) < wanted; });
    return it != sorted.end() && ids.text(*it) == text ? *it : -1;
  }
};

class MappedDataset final : public Dataset {
 public:
  Status Load(const std::string& dir) {
    dir_ = dir;
    EMPORIUM_RETURN_IF_ERROR(LoadDigest());
    EMPORIUM_ASSIGN_OR_RETURN(events_file_, ColumnFile::Open(dir + "/" + kEventsFile));
    EMPORIUM_ASSIGN_OR_RETURN(index_file_, ColumnFile::Open(dir + "/" + kIndexFile));
    EMPORIUM_RETURN_IF_ERROR(LoadColumns(*events_file_, &event_columns_));
    EMPORIUM_ASSIGN_OR_RETURN(const auto roles, index_file_->Array<char>("roles"));
    EMPORIUM_ASSIGN_OR_RETURN(ranges_, index_file_->Array<int64_t>("ranges"));
    EMPORIUM_ASSIGN_OR_RETURN(time_, index_file_->Array<double>("time"));
    const std::vector<std::string> names = Lines(roles);
    if (names.size() < 5 || ranges_.size() != 3 || ranges_[2] != events()) {
      return DataLoss(dir + ": the index does not fit the events; prepare the data again");
    }
    if (!names[0].empty()) {
      EMPORIUM_RETURN_IF_ERROR(LoadLookup("user", names[0], &users_));
    }
    if (!names[1].empty()) {
      EMPORIUM_RETURN_IF_ERROR(LoadLookup("item", names[1], &items_));
    }
    if (ColumnFile::Recognise(dir + "/" + kItemsFile)) {
      EMPORIUM_ASSIGN_OR_RETURN(items_file_, ColumnFile::Open(dir + "/" + kItemsFile));
      EMPORIUM_RETURN_IF_ERROR(LoadColumns(*items_file_, &item_columns_));
      if (items_file_->rows() != static_cast<uint64_t>(items())) {
        return DataLoss(dir + ": there is not one line for each item; prepare the data again");
      }
      EMPORIUM_RETURN_IF_ERROR(LoadTitles(names[4]));
    }
    return Status::Ok();
  }

  const std::string& digest() const override { return digest_; }
  int64_t events() const override { return static_cast<int64_t>(events_file_->rows()); }
  Result<ColumnView> event_column(const std::string& name) const override {
    return Named(event_columns_, name, "events");
  }
  Result<ColumnView> item_column(const std::string& name) const override {
    return Named(item_columns_, name, "items");
  }
  std::string_view text(const std::string& column, int32_t code) const override {
    for (const auto* columns : {&event_columns_, &item_columns_}) {
      const auto it = columns->find(column);
      if (it != columns->end() && code >= 0 && code < it->second.dictionary.size()) {
        return it->second.text(code);
      }
    }
    return {};
  }

  int32_t users() const override { return users_.ids.size(); }
  int32_t items() const override { return items_.ids.size(); }
  std::string_view user_id(int32_t user) const override { return users_.ids.text(user); }
  std::string_view item_id(int32_t item) const override { return items_.ids.text(item); }
  std::string_view item_title(int32_t item) const override {
    return title_codes_.empty() ? std::string_view()
                                : titles_.text(title_codes_[static_cast<size_t>(item)]);
  }
  int32_t FindUser(std::string_view id) const override { return users_.Find(id); }
  int32_t FindItem(std::string_view id) const override { return items_.Find(id); }
  std::span<const int32_t> event_user() const override { return users_.of_row; }
  std::span<const int32_t> event_item() const override { return items_.of_row; }
  std::span<const double> event_time() const override { return time_; }
  std::span<const int32_t> events_of_user(int32_t user) const override {
    return users_.EventsOf(user);
  }
  std::span<const int32_t> events_of_item(int32_t item) const override {
    return items_.EventsOf(item);
  }
  std::pair<int64_t, int64_t> train_range() const override { return {0, ranges_[0]}; }
  std::pair<int64_t, int64_t> validation_range() const override { return {ranges_[0], ranges_[1]}; }
  std::pair<int64_t, int64_t> test_range() const override { return {ranges_[1], ranges_[2]}; }
  std::string OriginOf(std::span<const int64_t> events) const override {
    return OriginText(dir_, events);
  }

 private:
  using Columns = std::map<std::string, ColumnView>;

  Status LoadDigest() {
    std::ifstream in(dir_ + "/prepared.txt");
    std::string name;
    std::string value;
    while (in >> name >> value) {
      if (name == "digest") {
        digest_ = value;
      }
    }
    return digest_.empty() ? NotFound(dir_ +
                                      ": holds no prepared data (prepared.txt is not there "
                                      "or has no digest); prepare the data first")
                           : Status::Ok();
  }

  static Status LoadColumns(const ColumnFile& file, Columns* columns) {
    for (const std::string& array : file.names()) {
      const size_t colon = array.rfind(':');
      if (array.rfind("c:", 0) != 0 || colon < 2) {
        continue;
      }
      const std::string part = array.substr(colon + 1);
      const std::string prefix = array.substr(0, colon + 1);
      ColumnView& view = (*columns)[array.substr(2, colon - 2)];
      if (part == "ints") {
        view.type = spec::INT;
        EMPORIUM_ASSIGN_OR_RETURN(view.ints, file.Array<int64_t>(array));
      } else if (part == "floats") {
        view.type = spec::FLOAT;
        EMPORIUM_ASSIGN_OR_RETURN(view.floats, file.Array<float>(array));
      } else if (part == "doubles") {
        view.type = spec::FLOAT;  // time: in event_time(), not among the floats
      } else if (part == "words") {
        view.type = spec::TEXT;
        EMPORIUM_ASSIGN_OR_RETURN(view.words, file.Array<int32_t>(array));
        EMPORIUM_ASSIGN_OR_RETURN(view.text_offset, file.Array<int64_t>(prefix + "word_offset"));
        EMPORIUM_ASSIGN_OR_RETURN(view.dictionary, ReadDictionary(file, prefix + "word_dict"));
      } else if (part == "codes") {
        EMPORIUM_ASSIGN_OR_RETURN(view.codes, file.Array<int32_t>(array));
        if (!file.Has(prefix + "words")) {
          EMPORIUM_ASSIGN_OR_RETURN(view.dictionary, ReadDictionary(file, prefix + "dict"));
        }
      }
    }
    return Status::Ok();
  }

  Status LoadLookup(const std::string& name, const std::string& column, Lookup* lookup) {
    EMPORIUM_ASSIGN_OR_RETURN(lookup->ids,
                              ReadDictionary(*events_file_, ColumnArray(column, "dict")));
    EMPORIUM_ASSIGN_OR_RETURN(lookup->of_row, index_file_->Array<int32_t>(name + "_of_row"));
    EMPORIUM_ASSIGN_OR_RETURN(lookup->offset, index_file_->Array<int64_t>(name + "_offset"));
    EMPORIUM_ASSIGN_OR_RETURN(lookup->events, index_file_->Array<int32_t>(name + "_events"));
    EMPORIUM_ASSIGN_OR_RETURN(lookup->sorted, index_file_->Array<int32_t>(name + "_sorted"));
    const auto ids = static_cast<size_t>(lookup->ids.size());
    if (lookup->offset.size() != ids + 1 || lookup->sorted.size() != ids ||
        lookup->of_row.size() != static_cast<size_t>(events()) ||
        lookup->offset.back() != static_cast<int64_t>(lookup->events.size())) {
      return DataLoss(dir_ + ": the index of " + name +
                      "s does not fit the events; prepare the data again");
    }
    return Status::Ok();
  }

  Status LoadTitles(const std::string& column) {
    if (column.empty() || !items_file_->Has(ColumnArray(column, "codes"))) {
      return Status::Ok();
    }
    EMPORIUM_ASSIGN_OR_RETURN(title_codes_,
                              items_file_->Array<int32_t>(ColumnArray(column, "codes")));
    EMPORIUM_ASSIGN_OR_RETURN(titles_, ReadDictionary(*items_file_, ColumnArray(column, "dict")));
    return Status::Ok();
  }

  static Result<ColumnView> Named(const Columns& columns, const std::string& name,
                                  const std::string& where) {
    const auto it = columns.find(name);
    if (it != columns.end()) {
      return it->second;
    }
    std::string all;
    for (const auto& [known, view] : columns) {
      all += (all.empty() ? "" : ", ") + known;
    }
    return NotFound("data." + where + ": no column \"" + name +
                    "\"; there are: " + (all.empty() ? "none" : all));
  }

  std::string dir_;
  std::string digest_;
  std::unique_ptr<ColumnFile> events_file_;
  std::unique_ptr<ColumnFile> items_file_;
  std::unique_ptr<ColumnFile> index_file_;
  Columns event_columns_;
  Columns item_columns_;
  Lookup users_;
  Lookup items_;
  std::span<const int64_t> ranges_;  // ends of train, validation, test
  std::span<const double> time_;
  std::span<const int32_t> title_codes_;  // by item
  DictionaryView titles_;
};

}  // namespace

Result<std::unique_ptr<Dataset>> Dataset::Open(const std::string& dir) {
  auto dataset = std::make_unique<MappedDataset>();
  EMPORIUM_RETURN_IF_ERROR(dataset->Load(dir));
  return std::unique_ptr<Dataset>(std::move(dataset));
}

}  // namespace emporium::worker
