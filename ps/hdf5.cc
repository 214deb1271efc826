#include "ps/hdf5.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>

#include "proto/planted_bug.h"
#include "runtime/file.h"

namespace emporium::ps {

// Where the driver's writes go. `error` is the errno of the first write that failed.
struct OutputFile::Sink {
  std::string path;
  int fd = -1;
  int error = 0;
  haddr_t end = 0;    // bytes written, also those that were not
  haddr_t begun = 0;  // up to where the disk has been told to begin

  ~Sink() {
    if (fd >= 0) ::close(fd);
  }
};

namespace {

// What the file access property list carries to DriverOpen.
struct DriverInfo {
  OutputFile::Sink* sink;
};

// HDF5's view of an open file; `pub` comes first, as the library demands.
struct DriverFile {
  H5FD_t pub;
  OutputFile::Sink* sink;
  haddr_t end_of_allocation;
};

DriverFile* Of(H5FD_t* file) { return reinterpret_cast<DriverFile*>(file); }
const DriverFile* Of(const H5FD_t* file) { return reinterpret_cast<const DriverFile*>(file); }

H5FD_t* DriverOpen(const char*, unsigned, hid_t fapl, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(fapl));
  if (info == nullptr) return nullptr;
  auto file = std::make_unique<DriverFile>();
  file->sink = info->sink;
  return &file.release()->pub;  // DriverClose takes it back
}

herr_t DriverClose(H5FD_t* file) {
  const std::unique_ptr<DriverFile> owner(Of(file));
  return 0;
}

int DriverCompare(const H5FD_t* a, const H5FD_t* b) {
  if (Of(a)->sink == Of(b)->sink) return 0;
  return std::less<>()(Of(a)->sink, Of(b)->sink) ? -1 : 1;
}

herr_t DriverQuery(const H5FD_t*, unsigned long* flags) {
  if (flags != nullptr) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
             H5FD_FEAT_AGGREGATE_SMALLDATA;
  }
  return 0;
}

haddr_t DriverGetEoa(const H5FD_t* file, H5FD_mem_t) { return Of(file)->end_of_allocation; }
herr_t DriverSetEoa(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  Of(file)->end_of_allocation = address;
  return 0;
}
haddr_t DriverGetEof(const H5FD_t* file, H5FD_mem_t) { return Of(file)->sink->end; }

herr_t DriverRead(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* buffer) {
  auto* out = static_cast<char*>(buffer);
  while (size > 0) {
    const ssize_t n = ::pread(Of(file)->sink->fd, out, size, static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) {  // beyond the end: zeros, as every driver gives
      std::memset(out, 0, size);
      return 0;
    }
    out += n;
    address += static_cast<haddr_t>(n);
    size -= static_cast<size_t>(n);
  }
  return 0;
}

// Has the disk begin with what was written since the last time, so that closing need not wait for
// all of it.
void BeginWriteback(OutputFile::Sink* sink) {
  // Advice: what could not be written shows when the file is synced.
  ::sync_file_range(sink->fd, static_cast<off_t>(sink->begun),
                    static_cast<off_t>(sink->end - sink->begun), SYNC_FILE_RANGE_WRITE);
  sink->begun = sink->end;
}

herr_t DriverWrite(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size,
                   const void* buffer) {
  OutputFile::Sink* sink = Of(file)->sink;
  sink->end = std::max<haddr_t>(sink->end, address + size);
  const auto* in = static_cast<const char*>(buffer);
  while (size > 0 && sink->error == 0) {
    const ssize_t n = ::pwrite(sink->fd, in, size, static_cast<off_t>(address));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      sink->error = errno;
      break;
    }
    in += n;
    address += static_cast<haddr_t>(n);
    size -= static_cast<size_t>(n);
  }
  constexpr haddr_t kEvery = haddr_t{8} << 20;
  if (sink->error == 0 && sink->end >= sink->begun + kEvery) BeginWriteback(sink);
  return 0;
}

herr_t DriverTruncate(H5FD_t* file, hid_t, hbool_t) {
  OutputFile::Sink* sink = Of(file)->sink;
  const haddr_t end = Of(file)->end_of_allocation;
  if (sink->error == 0 && ::ftruncate(sink->fd, static_cast<off_t>(end)) != 0) sink->error = errno;
  sink->end = end;
  return 0;
}

H5FD_class_t DriverClass() {
  H5FD_class_t c{};
  c.name = "emporium_output";
  c.maxaddr = (haddr_t{1} << 62) - 1;
  c.fc_degree = H5F_CLOSE_STRONG;
  c.fapl_size = sizeof(DriverInfo);
  c.open = DriverOpen;
  c.close = DriverClose;
  c.cmp = DriverCompare;
  c.query = DriverQuery;
  c.get_eoa = DriverGetEoa;
  c.set_eoa = DriverSetEoa;
  c.get_eof = DriverGetEof;
  c.read = DriverRead;
  c.write = DriverWrite;
  c.truncate = DriverTruncate;
  const H5FD_mem_t by_kind[] = H5FD_FLMAP_DICHOTOMY;
  std::memcpy(c.fl_map, by_kind, sizeof(by_kind));
  return c;
}

Status SystemError(const std::string& path, int error) {
  const std::string message = path + ": " + std::strerror(error);
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  if (full) return ResourceExhausted(message + "; free some space or choose another work_dir");
  if (error == EMFILE || error == ENFILE) return ResourceExhausted(message);
  return Unavailable(message);
}

herr_t KeepInnermost(unsigned, const H5E_error2_t* error, void* text) {
  *static_cast<std::string*>(text) = error->desc;
  return 0;
}

}  // namespace

Hdf5Quiet::Hdf5Quiet() {
  // Everything here closes what it opens. HDF5's own farewell at exit would only stumble over what
  // the library itself keeps of a damaged file. Must be its first call, hence here.
  static const herr_t no_farewell = H5dont_atexit();
  static_cast<void>(no_farewell);
  H5Eget_auto2(H5E_DEFAULT, &function_, &data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Hdf5Quiet::~Hdf5Quiet() { H5Eset_auto2(H5E_DEFAULT, function_, data_); }

Status Hdf5Error(const std::string& what) {
  std::string innermost;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, KeepInnermost, &innermost);
  return DataLoss(innermost.empty() ? what : what + " (HDF5: " + innermost + ")");
}

Result<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  const Hdf5Quiet quiet;
  auto sink = std::make_unique<Sink>();
  sink->path = path;
  sink->fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (sink->fd < 0) return SystemError(path, errno);
  auto file = std::make_unique<OutputFile>(std::move(sink));
  const H5FD_class_t driver = DriverClass();
  file->driver_ = Hdf5Handle(H5FDregister(&driver), H5FDunregister);
  const Hdf5Handle fapl(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  const Hdf5Handle fcpl(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  const DriverInfo info{file->sink_.get()};
  if (!file->driver_.ok() || !fapl.ok() || !fcpl.ok() ||
      H5Pset_obj_track_times(fcpl.id(), false) < 0 ||
      H5Pset_libver_bounds(fapl.id(), H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) < 0 ||
      H5Pset_driver(fapl.id(), file->driver_.id(), &info) < 0) {
    return Hdf5Error(path + ": cannot prepare the file");
  }
  file->file_ = Hdf5Handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, fcpl.id(), fapl.id()), H5Fclose);
  if (!file->file_.ok()) return Hdf5Error(path + ": cannot create the file");
  return file;
}

OutputFile::OutputFile(std::unique_ptr<Sink> sink) : sink_(std::move(sink)) {}

OutputFile::~OutputFile() {
  const Hdf5Quiet quiet;
  file_.CloseNow();
}

Status OutputFile::status() const {
  return sink_->error == 0 ? Status::Ok() : SystemError(sink_->path, sink_->error);
}

Result<std::string> OutputFile::Finish() {
  const Hdf5Quiet quiet;
  const bool closed = file_.CloseNow();
  if (sink_->error == 0) BeginWriteback(sink_.get());
  // Hashed while the disk still writes.
  Result<std::string> xxh3 = runtime::Xxh3OfFile(sink_->path);
  const bool skip = Planted(PlantedBug::kSkipsSync);
  const bool retry = Planted(PlantedBug::kRetriesSync);
  if (sink_->error == 0 && !skip && ::fsync(sink_->fd) != 0) sink_->error = errno;
  if (sink_->error != 0 && retry && ::fsync(sink_->fd) == 0) sink_->error = 0;
  if (::close(std::exchange(sink_->fd, -1)) != 0 && sink_->error == 0) sink_->error = errno;
  EMPORIUM_RETURN_IF_ERROR(status());
  if (!closed) return Hdf5Error(sink_->path + ": cannot close the file");
  return xxh3;
}

}  // namespace emporium::ps
