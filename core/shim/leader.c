/* From an order to an executed program.
 *
 * The leader to be is a fork of this small process with one thread, which hangs in its exec alone where a program lies
 * on a dead mount, and is born in its cgroup where there is one. What fails it tells through a pipe, which the execution
 * closes. It may be root here and the command a stranger's: nothing of the command acts before the program is executed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

enum { NOT_EXECUTED = 127 };

struct failure {
    int32_t error;
    uint32_t step;
    char path[PATH_BYTES_AT_MOST];
};

/* What the order's strings are, once they are in our memory. */
struct plan {
    const gid_t *groups;
    const char *directory, *sha256;
    char **directories, **programs, **argv, **env; /* each with a NULL at its end */
};

static int report = NOWHERE; /* the leader's end of the pipe */

void leader_fail(int error, enum step step, const char *path)
{
    static struct failure failure;
    failure.error = error;
    failure.step = step;
    snprintf(failure.path, sizeof failure.path, "%s", path);
    ssize_t written = write(report, &failure, offsetof(struct failure, path) + strlen(failure.path) + 1);
    (void)written; /* a shim that does not hear it is dead */
    _exit(NOT_EXECUTED);
}

/* The strings of an order, one after the other. A keeper wrote them; a mistake must not become somebody's command. */
struct reader {
    char *at, *end;
    char **list; /* room for what is still to be listed */
};

static char *next(struct reader *reader)
{
    char *string = reader->at;
    if (string >= reader->end)
        leader_fail(EPROTO, STEP_SPAWN, "order");
    reader->at += strlen(string) + 1;
    return string;
}

static char **next_list(struct reader *reader, uint32_t count)
{
    char **list = reader->list;
    for (uint32_t each = 0; each < count; each++)
        list[each] = next(reader);
    list[count] = NULL;
    reader->list += count + 1;
    return list;
}

static struct plan read_plan(const struct order *order)
{
    enum { LISTS = 4 };
    size_t strings = (size_t)order->directories + order->programs + order->argc + order->envc + LISTS;
    size_t head = (size_t)order->header + order->groups * sizeof(gid_t);
    char *bytes = mmap(NULL, order->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, FD_ORDER, 0);
    void *room = mmap(NULL, strings * sizeof(char *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED || room == MAP_FAILED)
        leader_fail(errno, STEP_SPAWN, "order");
    if (head >= order->size || bytes[order->size - 1] != '\0' || order->argc == 0)
        leader_fail(EPROTO, STEP_SPAWN, "order");
    memset(bytes + offsetof(struct order, token), 0, TOKEN_BYTES);
    struct reader reader = {.at = bytes + head, .end = bytes + order->size, .list = room};
    struct plan plan = {.groups = (const gid_t *)(const void *)(bytes + order->header)};
    next(&reader); /* the run file and the prefix are the shim's */
    next(&reader);
    plan.directory = next(&reader);
    plan.directories = next_list(&reader, order->directories);
    plan.programs = next_list(&reader, order->programs);
    plan.argv = next_list(&reader, order->argc);
    plan.env = next_list(&reader, order->envc);
    plan.sha256 = next(&reader);
    return plan;
}

/* The errno that executing a file would give, or 0 if it looks executable. */
static int problem(const char *path)
{
    struct stat found;
    if (stat(path, &found))
        return errno;
    /* access(2) asks for the real ids; the effective ones are the same here. */
    return S_ISREG(found.st_mode) && access(path, X_OK) == 0 ? 0 : EACCES;
}

/* Find the program as execvp(3) does, as the user that we are by now, and where we are by now. */
static const char *find_program(const struct plan *plan)
{
    const char *name = plan->argv[0];
    int worst = ENOENT;
    for (char **each = plan->programs; *each; each++) {
        int error = problem(*each);
        if (error == 0)
            return *each;
        if (error == EACCES || strchr(name, '/'))
            worst = error; /* the search goes on, but something was there */
    }
    leader_fail(worst, STEP_PROGRAM, name);
}

/* The path that is executed: of a pinned program the real one, whose file had the hash a moment ago. */
static const char *checked_program(const struct plan *plan)
{
    static char real[PATH_MAX];
    const char *program = find_program(plan);
    if (plan->sha256[0] == '\0')
        return program;
    if (!realpath(program, real))
        leader_fail(errno, STEP_PROGRAM, program);
    int error = sha256_check(real, plan->sha256);
    if (error)
        leader_fail(error, STEP_PROGRAM, real);
    return real;
}

static void reset_signals(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &standard, NULL); /* those that cannot be changed are at their default */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Have everything but the three streams closed by the execution. */
static void close_others(void)
{
    if (syscall(SYS_close_range, 3, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
    for (int each = 3; each < 1024; each++) /* before Linux 5.11; we open few */
        fcntl(each, F_SETFD, FD_CLOEXEC);
}

static void enter_cgroup(void)
{
    int file = openat(FD_CGROUP, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "0", 1) != 1) /* 0: whoever writes it */
        leader_fail(errno, STEP_CONFINEMENT, "cgroup");
    close(file);
}

_Noreturn static void become(struct shim *shim, const int streams[3], bool in_cgroup)
{
    const struct order *order = &shim->order;
    memset(shim->order.token, 0, TOKEN_BYTES);
    /* Should the execution hang: the keeper is to see the end of a killed shim all the same. */
    close(FD_KEEPER);
    close(shim->run_file);
    if (setsid() < 0)
        leader_fail(errno, STEP_SPAWN, "session");
    reset_signals();
    if (!in_cgroup)
        enter_cgroup();
    prctl(PR_SET_DUMPABLE, 1); /* else /proc/self is root's; nothing of the shim's is left to be seen */
    struct plan plan = read_plan(order);
    confine_limits(order);
    for (int each = 0; each < 3; each++)
        if (dup2(streams[each], each) < 0)
            leader_fail(errno, STEP_OUTPUT, "descriptor");
    close_others();
    if (order->flags & ORDER_USER)
        confine_user(order, plan.groups);
    confine_directory(plan.directory, plan.directories);
    umask((mode_t)order->mask);
    const char *program = checked_program(&plan);
    execve(program, plan.argv, plan.env);
    leader_fail(errno, STEP_SPAWN, program);
}

/* Fork; into the run's cgroup, where there is one and the kernel is able to (Linux 5.7). */
static pid_t fork_leader(const struct shim *shim, bool *in_cgroup)
{
    *in_cgroup = true;
    if (shim->order.flags & ORDER_CGROUP) {
        struct clone_args how = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = FD_CGROUP};
        pid_t pid = (pid_t)syscall(SYS_clone3, &how, sizeof how);
        if (pid >= 0 || (errno != ENOSYS && errno != EPERM && errno != EINVAL && errno != E2BIG))
            return pid;
        *in_cgroup = false;
    }
    return fork();
}

static void fail(struct shim *shim, int error, enum step step, const char *path)
{
    shim->report.phase = FAILED;
    shim->report.error = error;
    shim->report.step = step;
    snprintf(shim->failed_path, sizeof shim->failed_path, "%s", path);
    shim->unsent = true;
}

/* For a keeper that finds us killed. On a full disk it stays unknown to that one. */
static void note_leader(const struct shim *shim)
{
    struct head head = {.leader = shim->leader, .started_monotonic = shim->report.started_monotonic};
    if (shim->report.phase == RUNNING)
        head.started_at = shim->report.started_at;
    ssize_t written = pwrite(shim->run_file, &head, sizeof head, 0);
    (void)written;
}

void leader_start(struct shim *shim)
{
    int streams[3] = {NOWHERE, NOWHERE, NOWHERE}, executed[2] = {NOWHERE, NOWHERE};
    bool in_cgroup;
    if (!input_open(shim, &streams[0]) || !output_open(shim, &streams[1]) || pipe2(executed, O_CLOEXEC)) {
        fail(shim, errno, STEP_OUTPUT, "pipe");
        return;
    }
    report = executed[1];
    shim->report.started_at = clock_ns(CLOCK_REALTIME);
    shim->report.started_monotonic = clock_ns(CLOCK_MONOTONIC);
    pid_t pid = fork_leader(shim, &in_cgroup);
    if (pid == 0)
        become(shim, streams, in_cgroup);
    if (pid < 0) {
        fail(shim, errno, STEP_SPAWN, "fork");
    } else {
        shim->leader = pid;
        note_leader(shim);
    }
    close(executed[1]);
    fcntl(executed[0], F_SETFL, O_NONBLOCK);
    shim->executed = executed[0];
    close(streams[0]);
    close(streams[1]);
    if (streams[2] != streams[1])
        close(streams[2]);
}

/* Hear what became of the execution, if it is decided: the end of the pipe, or a failure before it. */
void leader_note_execution(struct shim *shim)
{
    static struct failure failure;
    static size_t heard; /* a pipe may take less at once than a long path has */
    ssize_t size = 1;
    if (shim->executed == NOWHERE)
        return;
    while (size > 0 && heard < sizeof failure) {
        size = read(shim->executed, (char *)&failure + heard, sizeof failure - heard);
        heard += size > 0 ? (size_t)size : 0;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    close(shim->executed);
    shim->executed = NOWHERE;
    if (heard > offsetof(struct failure, path)) {
        failure.path[sizeof failure.path - 1] = '\0';
        fail(shim, failure.error, failure.step, failure.path);
        return;
    }
    if (shim->report.phase != STARTING)
        return;
    shim->report.phase = RUNNING; /* or ended by a signal before it came so far: its exit will tell */
    shim->report.pid = shim->leader;
    shim->unsent = true;
    note_leader(shim);
}
