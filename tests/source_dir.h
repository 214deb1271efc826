// Where the files beside the tests lie: tensors of tests/reference, scripts of tests/python.
#pragma once

#include <filesystem>

namespace emporium {

// The folder tests/ of the source tree that this program was built from.
std::filesystem::path TestsFolder();

}  // namespace emporium
