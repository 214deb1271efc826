#include "worker/external_sort.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <numeric>
#include <queue>
#include <utility>

namespace emporium::worker {
namespace {

constexpr size_t kKeyBytes = sizeof(SortKey);
constexpr size_t kWriteBytes = 1 << 20;
constexpr size_t kReadBytes = 128 << 10;

Status TempError(const std::string& dir, const char* what) {
  const std::string message =
      dir + ": temporary file for sorting: " + what + ": " + std::strerror(errno);
  return errno == ENOSPC ? ResourceExhausted(message + "; free some space") : Unavailable(message);
}

}  // namespace

// The records of one spilled run, in order.
class ExternalSorter::RunReader {
 public:
  RunReader(int fd, const Run& run, size_t record_bytes)
      : fd_(fd),
        stride_(kKeyBytes + record_bytes),
        at_(run.offset),
        end_(run.offset + run.records * stride_) {
    buffer_.reserve(std::max(stride_, kReadBytes / stride_ * stride_));
  }

  // False at the run's end.
  Result<bool> Next() {
    position_ += started_ ? stride_ : 0;
    started_ = true;
    if (position_ == buffer_.size()) {
      const size_t n = std::min<uint64_t>(buffer_.capacity() / stride_ * stride_, end_ - at_);
      buffer_.resize(n);
      position_ = 0;
      for (size_t got = 0; got < n;) {
        const ssize_t r =
            ::pread(fd_, buffer_.data() + got, n - got, static_cast<off_t>(at_ + got));
        if (r <= 0) {
          return DataLoss(std::string("temporary file for sorting cannot be read back: ") +
                          (r < 0 ? std::strerror(errno) : "it is too short"));
        }
        got += static_cast<size_t>(r);
      }
      at_ += n;
    }
    if (buffer_.empty()) {
      return false;
    }
    std::memcpy(&key_, buffer_.data() + position_, sizeof key_);
    return true;
  }
  const SortKey& key() const { return key_; }
  std::span<const std::byte> record() const {
    return {buffer_.data() + position_ + kKeyBytes, stride_ - kKeyBytes};
  }

 private:
  const int fd_;
  const size_t stride_;
  uint64_t at_;
  const uint64_t end_;
  std::vector<std::byte> buffer_;
  size_t position_ = 0;
  bool started_ = false;
  SortKey key_;
};

ExternalSorter::ExternalSorter(size_t record_bytes, size_t run_bytes, std::string temp_dir)
    : record_bytes_(record_bytes),
      run_records_(std::clamp<size_t>(run_bytes / (record_bytes + kKeyBytes), 1, UINT32_MAX)),
      temp_dir_(std::move(temp_dir)) {}

ExternalSorter::~ExternalSorter() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

Status ExternalSorter::Add(const SortKey& key, std::span<const std::byte> record) {
  EMPORIUM_CHECK(record.size() == record_bytes_, "records have one size");
  if (keys_.size() == run_records_) {
    EMPORIUM_RETURN_IF_ERROR(Spill());
  }
  in_order_ = in_order_ && (keys_.empty() || !(key < keys_.back()));
  keys_.push_back(key);
  buffer_.insert(buffer_.end(), record.begin(), record.end());
  ++records_;
  return Status::Ok();
}

std::vector<uint32_t> ExternalSorter::SortedOrder() const {
  std::vector<uint32_t> order(keys_.size());
  std::iota(order.begin(), order.end(), 0u);
  if (!in_order_) {
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return keys_[a] < keys_[b]; });
  }
  return order;
}

Status ExternalSorter::WriteAll(std::span<const std::byte> bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno != EINTR) {
      return TempError(temp_dir_, "cannot be written");
    }
    done += n > 0 ? static_cast<size_t>(n) : 0;
  }
  file_bytes_ += bytes.size();
  return Status::Ok();
}

Status ExternalSorter::Spill() {
  if (fd_ < 0) {
    std::string name = temp_dir_ + "/sort-XXXXXX";
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ < 0) {
      return TempError(temp_dir_, "cannot be created");
    }
    ::unlink(name.c_str());
  }
  runs_.push_back({file_bytes_, keys_.size()});
  std::vector<std::byte> out;
  out.reserve(kWriteBytes + kKeyBytes + record_bytes_);
  for (const uint32_t i : SortedOrder()) {
    const auto* key = reinterpret_cast<const std::byte*>(&keys_[i]);
    out.insert(out.end(), key, key + kKeyBytes);
    const std::byte* record = buffer_.data() + i * record_bytes_;
    out.insert(out.end(), record, record + record_bytes_);
    if (out.size() >= kWriteBytes) {
      EMPORIUM_RETURN_IF_ERROR(WriteAll(out));
      out.clear();
    }
  }
  EMPORIUM_RETURN_IF_ERROR(WriteAll(out));
  keys_.clear();
  buffer_.clear();
  in_order_ = true;
  return Status::Ok();
}

Status ExternalSorter::Drain(
    const std::function<Status(const SortKey&, std::span<const std::byte>)>& take) {
  if (runs_.empty()) {
    for (const uint32_t i : SortedOrder()) {
      EMPORIUM_RETURN_IF_ERROR(take(keys_[i], {buffer_.data() + i * record_bytes_, record_bytes_}));
    }
    return Status::Ok();
  }
  EMPORIUM_RETURN_IF_ERROR(Spill());
  buffer_.shrink_to_fit();
  std::vector<std::unique_ptr<RunReader>> readers;
  // The smallest key first; of equal keys that of the earlier run, which keeps the order stable.
  const auto later = [&](size_t a, size_t b) {
    const SortKey& x = readers[a]->key();
    const SortKey& y = readers[b]->key();
    return y < x || (!(x < y) && b < a);
  };
  std::priority_queue<size_t, std::vector<size_t>, decltype(later)> heap(later);
  for (const Run& run : runs_) {
    readers.push_back(std::make_unique<RunReader>(fd_, run, record_bytes_));
    EMPORIUM_ASSIGN_OR_RETURN(const bool any, readers.back()->Next());
    if (any) {
      heap.push(readers.size() - 1);
    }
  }
  while (!heap.empty()) {
    const size_t r = heap.top();
    heap.pop();
    EMPORIUM_RETURN_IF_ERROR(take(readers[r]->key(), readers[r]->record()));
    EMPORIUM_ASSIGN_OR_RETURN(const bool more, readers[r]->Next());
    if (more) {
      heap.push(r);
    }
  }
  return Status::Ok();
}

}  // namespace emporium::worker
