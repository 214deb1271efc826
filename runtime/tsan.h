// What the thread sanitizer cannot see: libzmq is not built with it, and over inproc:// a receiver
// reads the sender's own bytes. These two calls tell it that sending happens before receiving. They
// are empty in other builds.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EMPORIUM_TSAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define EMPORIUM_TSAN
#endif

#ifdef EMPORIUM_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace emporium::runtime {

#ifdef EMPORIUM_TSAN
// One place for all messages: its address is what orders them, its value is never read.
inline char tsan_message_order;
inline void NoteSent() { __tsan_release(&tsan_message_order); }
inline void NoteReceived() { __tsan_acquire(&tsan_message_order); }
#else
inline void NoteSent() {}
inline void NoteReceived() {}
#endif

}  // namespace emporium::runtime
