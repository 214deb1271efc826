#include "worker/feature_keys.h"

#include <algorithm>

#include "worker/text_reader.h"

namespace emporium::worker {
namespace {

constexpr size_t kAhead = 24;  // rows whose values are fetched before they are needed

}  // namespace

const spec::Feature* FindFeatureSpec(const spec::Job& job, const std::string& name) {
  for (const spec::Feature& feature : job.feature()) {
    if (feature.name() == name) {
      return &feature;
    }
  }
  return nullptr;
}

bool FindTableId(const spec::Job& job, const std::string& name, TableId* id) {
  for (int t = 0; t < job.table_size(); ++t) {
    if (job.table(t).name() == name) {
      *id = TableId(static_cast<uint16_t>(t));
      return true;
    }
  }
  return false;
}

Result<FeatureKeys> FeatureKeys::Create(const Dataset& dataset, const spec::Job& job,
                                        const std::string& name) {
  const spec::Feature* feature = FindFeatureSpec(job, name);
  if (feature == nullptr) {
    return InvalidArgument("feature \"" + name + "\": there is none of that name; add it");
  }
  FeatureKeys keys;
  keys.name_ = name;
  keys.salt_ = feature->salt();
  keys.identity_ = feature->hashing() == spec::IDENTITY;
  keys.max_length_ = feature->max_length();
  keys.none_ = KeyOfText("", keys.salt_);
  if (!FindTableId(job, feature->table(), &keys.table_)) {
    return InvalidArgument("feature \"" + name + "\": no table \"" + feature->table() + "\"");
  }
  auto view = feature->source() == spec::ITEM ? dataset.item_column(feature->column())
                                              : dataset.event_column(feature->column());
  if (!view.ok()) {
    return view.status().WithContext("feature \"" + name + "\"");
  }
  keys.view_ = *view;
  if (keys.view_.type == spec::INT) {
    keys.view_.codes = {};  // the integers say the same, without a dictionary
    return keys;
  }
  if (keys.identity_ || keys.view_.type == spec::FLOAT) {
    return InvalidArgument("feature \"" + name + "\": column \"" + feature->column() +
                           "\" holds no integers that could be keys; use HASH and a STRING, INT or "
                           "TEXT column");
  }
  const DictionaryView& dictionary = keys.view_.dictionary;
  for (int32_t code = 0; code < dictionary.size(); ++code) {
    keys.key_of_code_.push_back(KeyOfText(dictionary.text(code), keys.salt_));
  }
  if (keys.lists()) {
    keys.view_.codes = {};
    keys.CreateWords(*feature);
  }
  return keys;
}

// Counts the distinct rows (items) of each word.
void FeatureKeys::CreateWords(const spec::Feature& feature) {
  if (feature.min_count() <= 1) {
    return;
  }
  dropped_.assign(key_of_code_.size(), false);
  std::vector<uint32_t> rows(key_of_code_.size(), 0);
  std::vector<size_t> last(key_of_code_.size(), 0);  // row + 1 that counted the word last
  for (size_t row = 0; row + 1 < view_.text_offset.size(); ++row) {
    for (int64_t w = view_.text_offset[row]; w < view_.text_offset[row + 1]; ++w) {
      const auto word = static_cast<size_t>(view_.words[static_cast<size_t>(w)]);
      rows[word] += last[word] == row + 1 ? 0 : 1;
      last[word] = row + 1;
    }
  }
  for (size_t word = 0; word < rows.size(); ++word) {
    dropped_[word] = rows[word] < feature.min_count();
  }
}

void FeatureKeys::Keys(std::span<const int64_t> rows, std::vector<uint64_t>* keys) const {
  keys->resize(rows.size());
  const auto ahead = [&](size_t i) {
    return static_cast<size_t>(rows[std::min(i + kAhead, rows.size() - 1)]);
  };
  if (view_.codes.empty()) {
    for (size_t i = 0; i < rows.size(); ++i) {
      __builtin_prefetch(&view_.ints[ahead(i)]);
      (*keys)[i] = Key(rows[i]);
    }
    return;
  }
  // Codes first, so that the second loop can fetch the keys of codes to come.
  std::vector<int32_t> codes(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    __builtin_prefetch(&view_.codes[ahead(i)]);
    codes[i] = view_.codes[static_cast<size_t>(rows[i])];
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t next = codes[std::min(i + kAhead, rows.size() - 1)];
    __builtin_prefetch(key_of_code_.data() + std::max(next, 0));
    (*keys)[i] = codes[i] < 0 ? none_ : key_of_code_[static_cast<size_t>(codes[i])];
  }
}

void FeatureKeys::Words(int64_t row, std::vector<uint64_t>* keys) const {
  ForEachWord(row, [&](size_t word) { keys->push_back(key_of_code_[word]); });
}

void FeatureKeys::Words(std::span<const int64_t> rows, std::vector<uint64_t>* keys,
                        std::vector<int32_t>* offset) const {
  std::vector<size_t> words;
  offset->assign(1, 0);
  for (size_t i = 0; i < rows.size(); ++i) {
    const int64_t next = rows[std::min(i + kAhead, rows.size() - 1)];
    __builtin_prefetch(&view_.text_offset[static_cast<size_t>(next)]);
    ForEachWord(rows[i], [&words](size_t word) { words.push_back(word); });
    offset->push_back(static_cast<int32_t>(words.size()));
  }
  keys->resize(words.size());
  for (size_t i = 0; i < words.size(); ++i) {
    __builtin_prefetch(&key_of_code_[words[std::min(i + kAhead, words.size() - 1)]]);
    (*keys)[i] = key_of_code_[words[i]];
  }
}

Result<std::vector<uint64_t>> ItemKeys(const Dataset& dataset, const spec::Job& job,
                                       const std::string& name, TableId* table) {
  EMPORIUM_ASSIGN_OR_RETURN(const FeatureKeys keys, FeatureKeys::Create(dataset, job, name));
  *table = keys.table();
  const spec::Feature& feature = *FindFeatureSpec(job, name);
  if (keys.lists()) {
    return InvalidArgument("feature \"" + name + "\": words cannot name an item; use its id");
  }
  std::vector<uint64_t> of_item(static_cast<size_t>(dataset.items()));
  for (int32_t item = 0; item < dataset.items(); ++item) {
    uint64_t& key = of_item[static_cast<size_t>(item)];
    if (feature.source() == spec::ITEM) {
      key = keys.Key(item);
      continue;
    }
    if (feature.column() != job.data().item_column()) {
      return InvalidArgument("feature \"" + name + "\": is to name items, so its column must be " +
                             "data.item_column or its source ITEM");
    }
    int64_t integer = 0;
    const bool identity = feature.hashing() == spec::IDENTITY;
    if (identity && !ParseInteger(dataset.item_id(item), &integer)) {
      return InvalidArgument("feature \"" + name + "\": item \"" +
                             std::string(dataset.item_id(item)) + "\" is no integer; use HASH");
    }
    key = identity ? static_cast<uint64_t>(integer)
                   : KeyOfText(dataset.item_id(item), feature.salt());
  }
  return of_item;
}

}  // namespace emporium::worker
