/* Counts fork() in the process it is preloaded into: LD_PRELOAD it, read atfork_count().
 *
 * posix_spawn(3) and vfork(2) call no pthread_atfork(3) handlers, fork(3) always does. At each fork one line
 * "PID NAME" is also appended to the file named by ATFORK_COUNT_FILE, for reading from outside. */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char *program_invocation_short_name;

static atomic_long count;

long atfork_count(void) { return atomic_load(&count); }

static void prepare(void) {
    atomic_fetch_add(&count, 1);
    const char *path = getenv("ATFORK_COUNT_FILE");
    if (path == NULL) return;
    int saved = errno;
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (file >= 0) {
        dprintf(file, "%ld %s\n", (long)getpid(), program_invocation_short_name);
        close(file);
    }
    errno = saved;
}

__attribute__((constructor)) static void install(void) { pthread_atfork(prepare, NULL, NULL); }
