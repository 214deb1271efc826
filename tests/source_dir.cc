#include "tests/source_dir.h"

namespace emporium {

std::filesystem::path TestsFolder() { return EMPORIUM_TESTS_FOLDER; }

}  // namespace emporium
