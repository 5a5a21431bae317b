/* Programs that try to outlive their task, each in its own way: ESCAPES WAY MARKER. The leader ends at once. */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hop(void) /* forks, and lets its parent end, for ever */
{
    for (;;)
        if (fork() > 0)
            _exit(0);
}

static void stay(void)
{
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (!strcmp(way, "hops")) {
        if (fork() == 0)
            hop();
    } else if (!strcmp(way, "daemonizes without an environment")) {
        if (fork() == 0) {
            char *again[] = {argv[0], "stays", argv[2], NULL}, *none[] = {NULL};
            setsid();
            if (fork() == 0)
                execve(argv[0], again, none);
            _exit(0);
        }
    } else if (!strcmp(way, "makes a sibling")) {
        if (syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0) == 0)
            stay();
    } else if (!strcmp(way, "has a subreaper of its own")) {
        if (fork() == 0) {
            prctl(PR_SET_CHILD_SUBREAPER, 1);
            if (fork() == 0) {
                if (fork() == 0)
                    stay();
                _exit(0);
            }
            stay();
        }
    } else if (!strcmp(way, "cannot be looked into")) {
        if (fork() == 0) {
            setsid();
            prctl(PR_SET_DUMPABLE, 0);
            stay();
        }
    } else if (!strcmp(way, "has many children")) {
        for (int each = 0; each < 2000; each++)
            if (fork() == 0)
                stay();
    } else if (!strcmp(way, "is deep")) {
        for (int each = 0; each < 300; each++)
            if (fork() > 0)
                stay();
        stay();
    } else {
        stay();
    }
    return 0;
}
