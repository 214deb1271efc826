"""Takes single files out of a wheel, which is a zip archive.

usage: unpack.py libtorch WHEEL PREFIX cpu|cuda   libraries and headers, in place of PREFIX
       unpack.py libraries WHEEL DIR [PREFIX...]  shared libraries whose name begins so
       unpack.py folder WHEEL FOLDER DIR          the files of one folder of the wheel, into DIR
"""
import os
import shutil
import sys
import zipfile

CPU = {"libc10.so", "libtorch_cpu.so", "libgomp.so.1"}
CUDA = CPU | {"libc10_cuda.so", "libtorch_cuda.so", "libtorch_cuda_linalg.so",
              "libtorch_nvshmem.so", "libcaffe2_nvrtc.so", "libtorch.so"}
# The wheel's Protobuf headers are of another version than Debian's and would hide them.
UNWANTED_HEADERS = ("torch/include/google/", "torch/include/pybind11/")


def copy(archive, name, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with archive.open(name) as source, open(target + ".new", "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    os.replace(target + ".new", target)


def wanted(name, libraries):
    if name.startswith("torch/lib/"):
        return name[len("torch/lib/"):] in libraries
    if name.startswith("torch/include/"):
        return not name.startswith(UNWANTED_HEADERS)
    return name == "torch/version.py"


def libtorch(archive, prefix, flavour):
    libraries = CUDA if flavour == "cuda" else CPU
    new = prefix + ".new"
    shutil.rmtree(new, ignore_errors=True)
    for name in archive.namelist():
        if not name.endswith("/") and wanted(name, libraries):
            copy(archive, name, os.path.join(new, name[len("torch/"):]))
    shutil.rmtree(prefix, ignore_errors=True)
    os.rename(new, prefix)


def libraries(archive, directory, *prefixes):
    for name in archive.namelist():
        base = os.path.basename(name)
        if ".so" in base and (not prefixes or base.startswith(prefixes)):
            copy(archive, name, os.path.join(directory, base))


def folder(archive, source, directory):
    for name in archive.namelist():
        if name.startswith(source + "/") and not name.endswith("/"):
            copy(archive, name, os.path.join(directory, os.path.basename(name)))


if __name__ == "__main__":
    actions = {"libtorch": libtorch, "libraries": libraries, "folder": folder}
    if len(sys.argv) < 4 or sys.argv[1] not in actions:
        sys.exit(__doc__)
    with zipfile.ZipFile(sys.argv[2]) as opened:
        actions[sys.argv[1]](opened, *sys.argv[3:])
