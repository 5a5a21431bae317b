/* Everything that lives below us: find it, signal it, end it.
 *
 * /proc/PID/task/TID/children says who is where (proc_pid_children(5)); it may miss some while others end, so nothing
 * here is proof: that nothing lives is what wait4(2) says.
 *
 * To kill: each process is sent SIGKILL before its children are looked up. fork(2) does not complete while a signal is
 * pending, so from then on it has no more children than those that are found, and what it left behind when it ended is
 * ours. A chain that hops from process to process is met again at the next walk.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

/* What is deeper than this is met by a later walk, when what is above it has ended and it has become our child. */
enum { DEEPEST = 64 };

struct process {
    pid_t parent;
    int threads;
    char state;
    char name[16];
};

struct entry { /* getdents64(2) */
    uint64_t inode;
    int64_t next;
    uint16_t length;
    uint8_t type;
    char name[];
};

typedef void visit(pid_t pid, pid_t parent, void *context);

/* /proc as it was when we started: a run that may mount can put something else in its place. */
static int proc = NOWHERE;

bool tree_open(void)
{
    proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    return proc >= 0;
}

static ssize_t contents(const char *path, char *into, size_t size)
{
    int file = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t got = read(file, into, size - 1);
    close(file);
    into[got > 0 ? got : 0] = '\0';
    return got;
}

static bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

static int number_at(const char *digits)
{
    int number = 0;
    while (is_digit(*digits))
        number = number * 10 + (*digits++ - '0');
    return number;
}

static bool read_process(pid_t pid, struct process *process)
{
    char path[32], line[512];
    snprintf(path, sizeof path, "%d/stat", pid);
    if (contents(path, line, sizeof line) <= 0)
        return false;
    /* The name is the program's to choose: it may hold spaces and parentheses. The last ")" ends it. */
    char *name = strchr(line, '('), *rest = strrchr(line, ')');
    if (!name || !rest || rest < name)
        return false;
    *rest = '\0';
    snprintf(process->name, sizeof process->name, "%s", name + 1);
    const char *field = rest + 2; /* proc_pid_stat(5): state, ppid, and the number of threads as the 20th of all */
    process->state = *field;
    process->parent = number_at(field + 2);
    for (int number = 3; field && number < 20; number++)
        field = strchr(field, ' ') ? strchr(field, ' ') + 1 : NULL;
    process->threads = field ? number_at(field) : 0;
    return field;
}

static bool is_alive(const struct process *process)
{
    return (process->state != 'Z' && process->state != 'X') || process->threads > 1;
}

static void walk(pid_t pid, int depth, visit *visit, void *context);

/* Visit the children that one thread started, each before its own children. */
static void walk_children(pid_t pid, int thread, int depth, visit *visit, void *context)
{
    char path[64], part[512];
    pid_t child = 0;
    ssize_t got;
    snprintf(path, sizeof path, "%d/task/%d/children", pid, thread);
    int file = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    while ((got = read(file, part, sizeof part)) > 0)
        for (ssize_t each = 0; each < got; each++) {
            if (is_digit(part[each])) {
                child = child * 10 + (part[each] - '0');
                continue;
            }
            if (child > 0) {
                visit(child, pid, context);
                walk(child, depth + 1, visit, context);
            }
            child = 0;
        }
    close(file);
}

static void walk(pid_t pid, int depth, visit *visit, void *context)
{
    char path[32];
    if (depth > DEEPEST)
        return;
    snprintf(path, sizeof path, "%d/task", pid);
    /* getdents64(2) itself: opendir(3) allocates 32 KiB. */
    char entries[1024] __attribute__((aligned(8)));
    int directory = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return;
    long size;
    while ((size = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(entries + at);
            if (is_digit(entry->name[0]))
                walk_children(pid, number_at(entry->name), depth, visit, context);
            at += entry->length;
        }
    close(directory);
}

/* Signal a process that was found as a child of `parent`, or nobody: 0, or an errno. */
static int send_signal(pid_t pid, pid_t parent, int number)
{
    if (parent == getpid()) /* nobody but us reaps it: its pid is its own */
        return kill(pid, number) ? errno : 0;
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 && errno != ENOSYS && errno != EPERM) /* before Linux 5.3; a container's seccomp */
        return errno;
    /* While the pidfd is held the pid does not change hands: whose it is is asked between. */
    struct process process;
    int error = ESRCH;
    if (read_process(pid, &process) && (process.parent == parent || process.parent == getpid())) {
        bool failed = pidfd < 0 ? kill(pid, number) : syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
        error = failed ? errno : 0;
    }
    if (pidfd >= 0)
        close(pidfd);
    return error;
}

/* Whose parent ends by the signal becomes our child, and is found again with all below it: none has the signal twice. */
struct signalling {
    int number;
    int reached;
};

#define MOST_NOTED 4096
static pid_t noted[MOST_NOTED]; /* the first that were reached */

static bool was_reached(const struct signalling *signalling, pid_t pid)
{
    for (int each = 0; each < signalling->reached && each < MOST_NOTED; each++)
        if (noted[each] == pid)
            return true;
    return false;
}

static void signal_one(pid_t pid, pid_t parent, void *context)
{
    struct signalling *signalling = context;
    struct process process;
    if (signalling->number != SIGKILL) {
        if (!read_process(pid, &process) || !is_alive(&process))
            return; /* a zombie takes any signal, and is not to be counted */
        if (was_reached(signalling, pid))
            return;
    }
    if (send_signal(pid, parent, signalling->number))
        return;
    if (signalling->reached < MOST_NOTED)
        noted[signalling->reached] = pid;
    signalling->reached++;
}

int tree_signal(int number)
{
    struct signalling signalling = {.number = number};
    walk(getpid(), 0, signal_one, &signalling);
    return signalling.reached;
}

void tree_kill(const struct shim *shim)
{
    bool grouped = shim->order.flags & ORDER_CGROUP;
    int group = grouped ? openat(FD_CGROUP, "cgroup.kill", O_WRONLY | O_CLOEXEC) : NOWHERE;
    if (group >= 0) { /* there is none before Linux 5.14 */
        ssize_t written = write(group, "1", 1);
        (void)written; /* what it did not reach the walk does */
        close(group);
    }
    tree_signal(SIGKILL);
}

static void list_one(pid_t pid, pid_t parent, void *context)
{
    struct members *found = context;
    struct process process;
    if (!read_process(pid, &process) || !is_alive(&process))
        return;
    (void)parent;
    found->total++;
    if (found->count == sizeof found->member / sizeof found->member[0])
        return;
    struct member *member = &found->member[found->count++];
    member->pid = pid;
    member->state = (uint32_t)(unsigned char)process.state;
    member->error = kill(pid, 0) ? (uint32_t)errno : 0; /* signal 0 only asks: EPERM says that it is another user's */
    memcpy(member->name, process.name, sizeof member->name);
}

void tree_list(struct members *found) { walk(getpid(), 0, list_one, found); }

static void note_leader(struct shim *shim, int status, const struct rusage *used)
{
    struct report *report = &shim->report;
    leader_note_execution(shim); /* it may have been executed and have ended in the same moment */
    shim->leader = 0;
    if (report->phase == FAILED)
        return;
    report->phase = ENDED;
    report->status = status;
    report->ended_at = clock_ns(CLOCK_REALTIME);
    report->user_us = (uint64_t)used->ru_utime.tv_sec * 1000000 + (uint64_t)used->ru_utime.tv_usec;
    report->system_us = (uint64_t)used->ru_stime.tv_sec * 1000000 + (uint64_t)used->ru_stime.tv_usec;
    report->max_resident_bytes = (uint64_t)used->ru_maxrss * 1024; /* the kernel counts in KiB */
    input_close(shim); /* it was the leader's: whoever is left reads its end */
    shim->unsent = true;
}

/* Take the exits of all children that have ended; return whether any lives, and say whether one was taken. */
bool tree_reap(struct shim *shim, bool *reaped)
{
    struct rusage used;
    int status;
    pid_t pid;
    /* __WALL: also those that were cloned to end without a signal. */
    while ((pid = wait4(-1, &status, WNOHANG | __WALL, &used)) > 0) {
        if (WIFSTOPPED(status)) { /* a child that made us its tracer (PTRACE_TRACEME), and waits for our word */
            ptrace(PTRACE_DETACH, pid, NULL, WSTOPSIG(status) == SIGTRAP ? 0L : (long)WSTOPSIG(status));
            continue;
        }
        *reaped = true;
        if (pid == shim->leader)
            note_leader(shim, status, &used);
    }
    return pid == 0;
}

/* Whether nobody lives in the run's group either, if it has one: also who was moved into it and is none of ours. */
bool cgroup_empty(const struct shim *shim)
{
    char events[256];
    if (!(shim->order.flags & ORDER_CGROUP))
        return true;
    int file = openat(FD_CGROUP, "cgroup.events", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT || errno == ENODEV; /* it is gone; else we have no room to look, and come back */
    ssize_t got = read(file, events, sizeof events - 1);
    close(file);
    events[got > 0 ? got : 0] = '\0';
    return !strstr(events, "populated 1");
}
