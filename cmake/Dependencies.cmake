# Every library that Emporium links, as imported targets. `dependencies.txt` lists the packages;
# `.ci/setup` installs them.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gflags REQUIRED)
find_package(GTest REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(spdlog REQUIRED)
find_program(THRIFT_COMPILER thrift REQUIRED)

# Found by header and library, not by pkg-config: CMake 3.25 orders what pkg-config says differently
# when it configures again, and every file would be compiled a second time.
function(emporium_library_at target header library)
  string(MAKE_C_IDENTIFIER ${target} id)
  find_path(${id}_INCLUDE ${header} PATH_SUFFIXES hdf5/serial REQUIRED)
  find_library(${id}_LIBRARY ${library} REQUIRED)
  add_library(${target} INTERFACE IMPORTED)
  target_include_directories(${target} SYSTEM INTERFACE ${${id}_INCLUDE})
  target_link_libraries(${target} INTERFACE ${${id}_LIBRARY})
endfunction()
emporium_library_at(zmq::zmq zmq.hpp zmq)
emporium_library_at(thrift::thrift thrift/Thrift.h thrift)
emporium_library_at(hdf5::hdf5 hdf5.h hdf5_serial)
emporium_library_at(xxhash::xxhash xxhash.h xxhash)
emporium_library_at(zstd::zstd zstd.h zstd)
emporium_library_at(httplib::httplib httplib.h cpp-httplib)
# As Debian builds the library: its classes differ with these.
target_compile_definitions(httplib::httplib INTERFACE
  CPPHTTPLIB_OPENSSL_SUPPORT CPPHTTPLIB_ZLIB_SUPPORT CPPHTTPLIB_BROTLI_SUPPORT)

find_path(HNSWLIB_INCLUDE hnswlib/hnswlib.h REQUIRED)
add_library(hnswlib::hnswlib INTERFACE IMPORTED)
target_include_directories(hnswlib::hnswlib SYSTEM INTERFACE ${HNSWLIB_INCLUDE})

# LibTorch: an unpacked copy, see dependencies.txt. libtorch_cpu.so must be the first needed
# library of every program, else OpenBLAS (which Faiss brings) takes the place of LibTorch's BLAS:
# other bits, and slower. `torch::first` comes first in a program's link line.
set(LIBTORCH_ROOT "$ENV{LIBTORCH_ROOT}" CACHE PATH "Unpacked LibTorch 2.11 (lib/, include/)")
if(NOT LIBTORCH_ROOT)
  set(LIBTORCH_ROOT ${CMAKE_SOURCE_DIR}/.deps/libtorch)
endif()
if(NOT EXISTS ${LIBTORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "No LibTorch in ${LIBTORCH_ROOT}: run .ci/setup, or set LIBTORCH_ROOT")
endif()
foreach(l c10 torch_cpu)
  add_library(torch::${l} SHARED IMPORTED)
  set_target_properties(torch::${l} PROPERTIES IMPORTED_LOCATION ${LIBTORCH_ROOT}/lib/lib${l}.so)
endforeach()
target_include_directories(torch::c10 SYSTEM INTERFACE
  ${LIBTORCH_ROOT}/include ${LIBTORCH_ROOT}/include/torch/csrc/api/include)
target_link_libraries(torch::torch_cpu INTERFACE torch::c10)
add_library(torch::first INTERFACE IMPORTED)
target_link_options(torch::first INTERFACE
  "LINKER:--push-state,--no-as-needed,${LIBTORCH_ROOT}/lib/libtorch_cpu.so,--pop-state")
if(EXISTS ${LIBTORCH_ROOT}/lib/libtorch_cuda.so)  # .ci/setup --cuda
  target_link_options(torch::first INTERFACE
    "LINKER:--push-state,--no-as-needed,${LIBTORCH_ROOT}/lib/libtorch_cuda.so,${LIBTORCH_ROOT}/lib/libc10_cuda.so,--pop-state")
endif()

# Faiss is a static library that uses OpenMP: GCC's, as LibTorch does, also under clang.
find_library(FAISS_LIBRARY faiss REQUIRED)
add_library(faiss INTERFACE IMPORTED)
target_link_libraries(faiss INTERFACE ${FAISS_LIBRARY} openblas)
target_link_options(faiss INTERFACE
  $<IF:$<CXX_COMPILER_ID:Clang>,-fopenmp=libgomp,-fopenmp>)

# The GPU path is built where the CUDA toolkit and NCCL are; without them the sources named in
# CMakeLists.txt (emporium_library) are left out and everything else is the same. nvcc compiles for
# the architectures below and leaves code that the driver of a newer GPU compiles at first use.
set(EMPORIUM_CUDA AUTO CACHE STRING "The GPU path: AUTO (where its toolkit is), ON or OFF")
set_property(CACHE EMPORIUM_CUDA PROPERTY STRINGS AUTO ON OFF)
add_library(emporium_cuda INTERFACE)
set(EMPORIUM_HAVE_CUDA OFF)
if(NOT EMPORIUM_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 13 QUIET)
  find_path(NCCL_INCLUDE nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
  find_library(NCCL_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR} ${CUDAToolkit_TARGET_DIR}/lib
    ${CUDAToolkit_TARGET_DIR}/lib64)
  find_program(CUDA_HOST_COMPILER NAMES g++-12 g++)  # also where clang compiles the rest
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE AND NCCL_INCLUDE AND NCCL_LIBRARY
     AND CUDA_HOST_COMPILER)
    set(EMPORIUM_HAVE_CUDA ON)
  elseif(EMPORIUM_CUDA STREQUAL "ON")
    message(FATAL_ERROR "EMPORIUM_CUDA is ON, but the CUDA toolkit 13 (nvcc: "
      "${CUDAToolkit_NVCC_EXECUTABLE}), NCCL (${NCCL_LIBRARY}) or g++ is missing")
  endif()
endif()
if(EMPORIUM_HAVE_CUDA)
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  set(CMAKE_CUDA_HOST_COMPILER ${CUDA_HOST_COMPILER})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
  set(CMAKE_CUDA_ARCHITECTURES 80 86 89 90)
  set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # LibTorch's
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)  # the newest that this CMake knows of nvcc
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  target_compile_definitions(emporium_cuda INTERFACE EMPORIUM_HAVE_CUDA)
  target_include_directories(emporium_cuda SYSTEM INTERFACE ${NCCL_INCLUDE}
    ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(emporium_cuda INTERFACE CUDA::cudart ${NCCL_LIBRARY})
endif()
message(STATUS "GPU path (CUDA and NCCL): ${EMPORIUM_HAVE_CUDA}")
