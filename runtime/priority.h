// Which threads of a node come first when there are more that could run than processors.
#pragma once

namespace emporium::runtime {

// The calling thread gives way from now on: it runs when the others leave a processor free, and
// else a little. For work that is done ahead of need; `far`: that nobody waits for.
void GiveWay(bool far = false);

}  // namespace emporium::runtime
