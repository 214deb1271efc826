#include "bench/workload.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "runtime/route.h"

namespace emporium::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kFieldShift = 40;
constexpr uint64_t kShift = 7919;
constexpr uint64_t kTasteShift = 104729;
constexpr uint64_t kTastes = 64;

// runtime::MixKey is the very mixer that the key law names.
int64_t KeyOf(uint64_t field, uint64_t id) {
  return static_cast<int64_t>(runtime::MixKey((field << kFieldShift) | id));
}

// Bounded Zipf(s) over 0 .. n-1 by inversion of the exact distribution function.
class Zipf {
 public:
  Zipf(uint64_t n, double s) : n_(n), stride_(Coprime(n)), cdf_(n) {
    double sum = 0;
    for (uint64_t i = 0; i < n; ++i) cdf_[i] = sum += std::pow(static_cast<double>(i + 1), -s);
    for (double& c : cdf_) c /= sum;
  }
  uint64_t Draw(std::mt19937_64& random, uint64_t shift) {
    const double u = std::uniform_real_distribution<double>(0, 1)(random);
    const auto it = std::lower_bound(cdf_.begin(), cdf_.end(), u);
    const auto rank = std::min<uint64_t>(static_cast<uint64_t>(it - cdf_.begin()), n_ - 1);
    return (rank * stride_ + shift) % n_;
  }

 private:
  static uint64_t Coprime(uint64_t n) {
    auto a = static_cast<uint64_t>(static_cast<double>(n) * 0.6180339887) | 1;
    while (std::gcd(a, n) != 1) a += 2;
    return a;
  }
  uint64_t n_;
  uint64_t stride_;
  std::vector<double> cdf_;
};

// A fixed pseudo-random effect in [-1, 1) of (field, id): what a model can learn of the id.
double HiddenScore(uint64_t field, uint64_t id) {
  const uint64_t h = runtime::MixKey(((field + 1000) << kFieldShift) | id);
  return static_cast<double>(h >> 40) / static_cast<double>(1 << 23) - 1.0;
}

struct FileCloser {
  void operator()(std::FILE* f) const { std::fclose(f); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

Result<File> Create(const fs::path& path) {
  File file(std::fopen(path.c_str(), "wb"));
  if (file == nullptr) return Unavailable(path.string() + ": cannot be written");
  return file;
}

// NPY format 1.0, C order.
template <class T>
Status WriteNpy(const fs::path& path, const char* descr, const std::string& shape,
                std::span<const T> values) {
  EMPORIUM_ASSIGN_OR_RETURN(File file, Create(path));
  std::string header =
      "{'descr': '" + std::string(descr) + "', 'fortran_order': False, 'shape': " + shape + ", }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  const char magic[] = {'\x93', 'N', 'U', 'M', 'P', 'Y', 1, 0};
  const auto length = static_cast<uint16_t>(header.size());
  std::fwrite(magic, 1, sizeof(magic), file.get());
  std::fwrite(&length, sizeof(length), 1, file.get());
  std::fwrite(header.data(), 1, header.size(), file.get());
  if (std::fwrite(values.data(), sizeof(T), values.size(), file.get()) != values.size()) {
    return ResourceExhausted(path.string() + ": cannot write it all; is the disk full?");
  }
  return Status::Ok();
}

Status WriteMeta(const fs::path& dir, const char* workload, const std::string& fields,
                 const std::string& vocabulary, const WorkloadOptions& o) {
  EMPORIUM_ASSIGN_OR_RETURN(File file, Create(dir / "meta.json"));
  std::fprintf(file.get(),
               "{\"fields\": [%s], \"vocab\": [%s], \"history\": %d, \"workload\": \"%s\", "
               "\"samples\": %lu, \"zipf\": %g, \"seed\": %lu, \"field_shift\": %d}\n",
               fields.c_str(), vocabulary.c_str(), kHistory, workload,
               static_cast<unsigned long>(o.samples), o.zipf, static_cast<unsigned long>(o.seed),
               kFieldShift);
  return Status::Ok();
}

// A CSV line under construction.
class Line {
 public:
  template <class T>
  void Add(T value, char before = ',') {
    if (!text_.empty()) text_ += before;
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
    text_.append(digits, end);
  }
  void WriteTo(std::FILE* file) {
    text_ += '\n';
    std::fwrite(text_.data(), 1, text_.size(), file);
    text_.clear();
  }

 private:
  std::string text_;
};

}  // namespace

Status WriteCtr(const std::string& dir, const WorkloadOptions& o) {
  const fs::path out = fs::path(dir) / "ctr";
  if (fs::exists(out / "meta.json")) return Status::Ok();
  fs::create_directories(out);
  std::mt19937_64 random(o.seed);
  Zipf zipf(o.vocabulary, o.zipf);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<int64_t> keys(o.samples * kCtrFields);
  std::vector<float> dense(o.samples * kCtrDense);
  std::vector<float> label(o.samples);
  EMPORIUM_ASSIGN_OR_RETURN(File csv, Create(out / "events.csv"));
  std::string header = "time,label";
  for (int f = 0; f < kCtrFields; ++f) header += ",c" + std::to_string(f);
  for (int d = 0; d < kCtrDense; ++d) header += ",d" + std::to_string(d);
  std::fprintf(csv.get(), "%s\n", header.c_str());
  Line line;
  for (uint64_t n = 0; n < o.samples; ++n) {
    double score = -1.5;
    for (int d = 0; d < kCtrDense; ++d) {
      const float x = dense[n * kCtrDense + d] = normal(random);
      if (d < 4) score += 0.3 * x;
    }
    for (uint64_t f = 0; f < kCtrFields; ++f) {
      const uint64_t id = zipf.Draw(random, f * kShift);
      keys[n * kCtrFields + f] = KeyOf(f, id);
      score += 0.4 * HiddenScore(f, id);
    }
    label[n] = uniform(random) < 1 / (1 + std::exp(-score)) ? 1 : 0;
    line.Add(n);
    line.Add(static_cast<int>(label[n]));
    for (int f = 0; f < kCtrFields; ++f) line.Add(keys[n * kCtrFields + f]);
    for (int d = 0; d < kCtrDense; ++d) line.Add(dense[n * kCtrDense + d]);
    line.WriteTo(csv.get());
  }
  const std::string rows = "(" + std::to_string(o.samples) + ", ";
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "keys.npy", "<i8", rows + "26)", keys));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<float>(out / "dense.npy", "<f4", rows + "13)", dense));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<float>(out / "label.npy", "<f4", rows + ")", label));
  std::string fields;
  std::string vocabulary;
  for (int f = 0; f < kCtrFields; ++f) {
    fields += (f > 0 ? ", \"c" : "\"c") + std::to_string(f) + "\"";
    vocabulary += (f > 0 ? ", " : "") + std::to_string(o.vocabulary);
  }
  return WriteMeta(out, "ctr", fields, vocabulary, o);
}

Status WriteSequences(const std::string& dir, const WorkloadOptions& o) {
  const fs::path out = fs::path(dir) / "seq";
  if (fs::exists(out / "meta.json")) return Status::Ok();
  fs::create_directories(out);
  std::mt19937_64 random(o.seed);
  Zipf zipf(o.vocabulary, o.zipf);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<int64_t> user(o.samples), item(o.samples), category(o.samples);
  std::vector<int64_t> history(o.samples * kHistory);
  std::vector<float> label(o.samples);
  EMPORIUM_ASSIGN_OR_RETURN(File csv, Create(out / "events.csv"));
  std::fprintf(csv.get(), "time,label,user,item,category,history\n");
  Line line;
  for (uint64_t n = 0; n < o.samples; ++n) {
    const uint64_t taste = random() % kTastes * kTasteShift;
    for (int j = 0; j < kHistory; ++j) {
      const bool own = uniform(random) < 0.5;
      history[n * kHistory + j] = KeyOf(1, zipf.Draw(random, own ? taste : 0));
    }
    const uint64_t user_id = zipf.Draw(random, 0);
    const bool mine = uniform(random) < 0.5;
    const uint64_t item_id = zipf.Draw(random, mine ? taste : 0);
    user[n] = KeyOf(0, user_id);
    item[n] = KeyOf(1, item_id);
    category[n] = KeyOf(2, item_id % kCategories);
    const double score =
        (mine ? 1 : -1) + 0.5 * HiddenScore(1, item_id) + 0.3 * HiddenScore(0, user_id);
    label[n] = uniform(random) < 1 / (1 + std::exp(-score)) ? 1 : 0;
    line.Add(n);
    line.Add(static_cast<int>(label[n]));
    line.Add(user[n]);
    line.Add(static_cast<uint64_t>(item[n]));
    line.Add(category[n]);
    for (int j = 0; j < kHistory; ++j) {
      line.Add(static_cast<uint64_t>(history[n * kHistory + j]), j == 0 ? ',' : ' ');
    }
    line.WriteTo(csv.get());
  }
  const std::string rows = "(" + std::to_string(o.samples) + ", ";
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "history.npy", "<i8", rows + "50)", history));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "user.npy", "<i8", rows + ")", user));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "item.npy", "<i8", rows + ")", item));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "category.npy", "<i8", rows + ")", category));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<float>(out / "label.npy", "<f4", rows + ")", label));
  const std::string vocabulary = std::to_string(o.vocabulary);
  return WriteMeta(out, "seq", "\"user\", \"item\", \"category\"",
                   vocabulary + ", " + vocabulary + ", " + std::to_string(kCategories), o);
}

Status WriteTwoTower(const std::string& dir, const WorkloadOptions& o) {
  const fs::path out = fs::path(dir) / "twotower";
  if (fs::exists(out / "meta.json")) return Status::Ok();
  fs::create_directories(out);
  std::mt19937_64 random(o.seed);
  Zipf zipf(o.vocabulary, o.zipf);
  std::uniform_real_distribution<double> uniform(0, 1);
  std::vector<int64_t> history(o.samples * kHistory);
  std::vector<int64_t> item(o.samples);
  EMPORIUM_ASSIGN_OR_RETURN(File csv, Create(out / "events.csv"));
  std::fprintf(csv.get(), "user,item,time\n");
  Line line;
  for (uint64_t n = 0; n < o.samples; ++n) {
    const uint64_t taste = random() % kTastes;
    for (int j = 0; j <= kHistory; ++j) {
      const bool own = uniform(random) < (j < kHistory ? 0.5 : 0.7);
      const int64_t key = KeyOf(1, zipf.Draw(random, own ? taste * kTasteShift : 0));
      (j < kHistory ? history[n * kHistory + j] : item[n]) = key;
      line.Add(n);
      line.Add(key);
      line.Add(j);
      line.WriteTo(csv.get());
    }
  }
  const std::string rows = "(" + std::to_string(o.samples) + ", ";
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "history.npy", "<i8", rows + "50)", history));
  EMPORIUM_RETURN_IF_ERROR(WriteNpy<int64_t>(out / "item.npy", "<i8", rows + ")", item));
  return WriteMeta(out, "twotower", "\"item\"", std::to_string(o.vocabulary), o);
}

}  // namespace emporium::bench
