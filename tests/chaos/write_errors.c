// Preloaded (LD_PRELOAD) into the processes of a launch: in those of one verb, now and then a call
// that writes below a folder "checkpoints" fails, or writes only half.
//
// WRITE_ERRORS="VERB SEED MEAN MOST LOG": VERB is server or scheduler. About one of MEAN such calls
// fails, MOST of a process. Each leaves a line "CALL ERROR PATH" in LOG.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kShort = -1 };  // beside the values of errno: half of the bytes are written

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long long state;  // of the random numbers
static int mean, most, until_next;
static char log_path[4096];

static int Draw(int below) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (int)((state >> 33) % (unsigned)below);
}

__attribute__((constructor)) static void Begin(void) {
  const char* settings = getenv("WRITE_ERRORS");
  char verb[32], line[4096];
  FILE* file = fopen("/proc/self/cmdline", "r");
  if (settings == NULL || file == NULL) return;
  const size_t size = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[size] = 0;
  const char* argument = line + strlen(line) + 1;
  if (sscanf(settings, "%31s %llu %d %d %4095s", verb, &state, &mean, &most, log_path) != 5 ||
      argument >= line + size || strcmp(argument, verb) != 0) {
    most = 0;
    return;
  }
  state ^= (unsigned long long)getpid() << 32;
  until_next = 1 + Draw(2 * mean);
}

// 0: the call is to be made. Else its errno, or kShort where that may be.
static int Fails(const char* call, const char* path, int may_be_short) {
  static const int kErrors[] = {EIO, ENOSPC, EMFILE};
  if (most == 0 || strstr(path, "/checkpoints/") == NULL) return 0;
  int error = 0;
  pthread_mutex_lock(&mutex);
  if (most > 0 && --until_next <= 0) {
    until_next = 1 + Draw(2 * mean);
    --most;
    const int opens = strcmp(call, "open") == 0;
    error = may_be_short && Draw(4) == 0 ? kShort : kErrors[Draw(opens ? 3 : 2)];
    FILE* log = fopen(log_path, "a");
    if (log != NULL) {
      fprintf(log, "%s %s %s\n", call, error == kShort ? "short" : strerrorname_np(error), path);
      fclose(log);
    }
  }
  pthread_mutex_unlock(&mutex);
  return error;
}

static int FailsOn(const char* call, int fd, int may_be_short) {
  char link[32], path[4096];
  if (most == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  return Fails(call, path, may_be_short);
}

static void* Real(const char* name) { return dlsym(RTLD_NEXT, name); }

ssize_t write(int fd, const void* bytes, size_t size) {
  ssize_t (*real)(int, const void*, size_t) = Real("write");
  const int error = FailsOn("write", fd, size > 1);
  if (error == kShort) return real(fd, bytes, size / 2);
  if (error == 0) return real(fd, bytes, size);
  errno = error;
  return -1;
}

ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  ssize_t (*real)(int, const void*, size_t, off_t) = Real("pwrite");
  const int error = FailsOn("pwrite", fd, size > 1);
  if (error == kShort) return real(fd, bytes, size / 2, offset);
  if (error == 0) return real(fd, bytes, size, offset);
  errno = error;
  return -1;
}

int fsync(int fd) {
  int (*real)(int) = Real("fsync");
  const int error = FailsOn("fsync", fd, 0);
  if (error == 0) return real(fd);
  errno = error;
  return -1;
}

int rename(const char* from, const char* to) {
  int (*real)(const char*, const char*) = Real("rename");
  const int error = Fails("rename", to, 0);
  if (error == 0) return real(from, to);
  errno = error;
  return -1;
}

int open(const char* path, int flags, ...) {
  int (*real)(const char*, int, ...) = Real("open");
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  const int error = flags & O_CREAT ? Fails("open", path, 0) : 0;
  if (error == 0) return real(path, flags, mode);
  errno = error;
  return -1;
}
