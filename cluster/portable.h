// `portable_bits`: LibTorch and its BLAS choose their code by the processor, and AVX-512 code gives
// other last bits than AVX2 code. They can be capped only by variables of the environment that
// exist before they are loaded; so the process starts itself again with them.
#pragma once

#include "proto/status.h"

namespace emporium::cluster {

// Returns when the caps are in force; else replaces this process by a copy of itself that has them.
// Call before anything else is started. FailedPrecondition when the processor lacks AVX2.
Status CapInstructionSet();

}  // namespace emporium::cluster
