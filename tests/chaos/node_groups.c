// Preloaded (LD_PRELOAD) into the processes of a launch: each node of it, `--name=worker-1` or
// `--name=server-0`, gets a group id of its own, by which a firewall can tell its packets from
// those of others: 21000 + i for workers, 22000 + i for servers.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

__attribute__((constructor)) static void JoinGroup(void) {
  char line[8192];
  FILE* file = fopen("/proc/self/cmdline", "r");
  if (file == NULL) return;
  const size_t size = fread(line, 1, sizeof line - 1, file);
  fclose(file);
  line[size] = 0;
  for (const char* word = line; word < line + size; word += strlen(word) + 1) {
    int group = 0, number = 0;
    if (sscanf(word, "--name=worker-%d", &number) == 1) group = 21000 + number;
    if (sscanf(word, "--name=server-%d", &number) == 1) group = 22000 + number;
    if (group == 0) continue;
    if (setgid((gid_t)group) != 0) abort();
    prctl(PR_SET_PDEATHSIG, SIGTERM);  // which setgid has taken back
  }
}
