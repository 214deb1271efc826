// HDF5 behind handles that close themselves and errors that are values. Any thread (the library
// has one lock for all); an object belongs to one thread at a time.
//
// Why OutputFile brings its own file driver: when the disk is full, HDF5 1.10 cannot close the
// file, keeps its half-closed remains, and crashes when the process ends. The driver therefore
// takes every write, remembers the first one that failed, and lets Finish say so.
#pragma once

#include <hdf5.h>

#include <memory>
#include <string>
#include <utility>

#include "proto/status.h"

namespace emporium::ps {

// An HDF5 id and the call that closes it.
class Hdf5Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Hdf5Handle() = default;
  Hdf5Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Handle(Hdf5Handle&& other) noexcept
      : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Hdf5Handle& operator=(Hdf5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Hdf5Handle() {
    if (ok()) close_(id_);
  }

  bool ok() const { return id_ >= 0; }
  hid_t id() const { return id_; }
  // Closes now, and says whether that went well.
  bool CloseNow() { return !ok() || close_(std::exchange(id_, H5I_INVALID_HID)) >= 0; }

 private:
  hid_t id_ = H5I_INVALID_HID;
  Close close_ = nullptr;
};

// While it lives, this thread's HDF5 errors are kept for Hdf5Error instead of being printed.
class Hdf5Quiet {
 public:
  Hdf5Quiet();
  ~Hdf5Quiet();
  Hdf5Quiet(const Hdf5Quiet&) = delete;
  Hdf5Quiet& operator=(const Hdf5Quiet&) = delete;

 private:
  H5E_auto2_t function_ = nullptr;
  void* data_ = nullptr;
};

// DataLoss with `what` and the innermost message of this thread's HDF5 error stack.
Status Hdf5Error(const std::string& what);

// A new HDF5 file (libver latest) that is being written. It says nothing of when that was.
class OutputFile {
 public:
  // An older file of that name is replaced. ResourceExhausted or Unavailable name the path.
  static Result<std::unique_ptr<OutputFile>> Create(const std::string& path);
  struct Sink;
  explicit OutputFile(std::unique_ptr<Sink> sink);  // for Create
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  hid_t id() const { return file_.id(); }
  // The first write that failed, if one did: to stop early.
  Status status() const;
  // Closes and syncs, and gives the file's digest (runtime::Xxh3OfFile); the file is whole when
  // this and every call before was Ok. Objects inside the file must have been closed.
  Result<std::string> Finish();

 private:
  std::unique_ptr<Sink> sink_;
  Hdf5Handle driver_;
  Hdf5Handle file_;
};

}  // namespace emporium::ps
