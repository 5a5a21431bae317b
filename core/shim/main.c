/* The loop of a shim: the parent of one run, and of everything that the run starts.
 *
 * It is the child subreaper of its run: whatever is orphaned below becomes its child, whatever it did to its session,
 * group or environment. So "nothing lives" is the kernel's word: wait4(2) says ECHILD. It holds the leader's exit until
 * the keeper says that it is stored, and goes on when the keeper dies: it dials the next one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

#define MS INT64_C(1000000)
#define OUTPUT_RETRY (250 * MS)
#define DIAL_FIRST (10 * MS)
#define DIAL_LAST (500 * MS)
#define KILL_FIRST MS
#define KILL_LAST (1000 * MS)
#define CGROUP_LOOK (10 * MS) /* nobody tells us that a group has emptied */
#define FOR_EVER INT64_MAX

static struct shim shim; /* in .bss: a page that is not touched costs nothing */

int64_t clock_ns(int which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void wake(int number) { (void)number; /* its arrival interrupts ppoll(2), which is all that matters */ }

/* Only SIGCHLD reaches us, and only while we wait: whatever a terminal, a systemd or a stranger sends is not for us. */
static void take_signals(sigset_t *waiting)
{
    sigset_t all;
    struct sigaction child = {.sa_handler = wake}; /* of stops too: a traced child waits for us in one */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    sigaction(SIGCHLD, &child, NULL);
    *waiting = all;
    sigdelset(waiting, SIGCHLD);
}

static bool read_order(void)
{
    ssize_t size = pread(FD_ORDER, &shim.order, sizeof shim.order, 0);
    if (size != sizeof shim.order || shim.order.version != PROTOCOL_VERSION || shim.order.header < sizeof shim.order)
        return false;
    off_t strings = (off_t)shim.order.header + (off_t)shim.order.groups * (off_t)sizeof(uint32_t);
    size = pread(FD_ORDER, shim.paths, sizeof shim.paths - 1, strings); /* what is behind them is the leader's */
    shim.prefix = shim.paths + strlen(shim.paths) + 1;
    shim.order.run[RUN_BYTES - 1] = '\0';
    return size > 0 && shim.prefix < shim.paths + size && memchr(shim.prefix, '\0', PATH_BYTES);
}

/* Take the run, so that nobody else ever does, and no keeper starts it again: see PROTOCOL.md. Ends if it is taken. */
static bool take_run(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat found;
    shim.run_file = open(shim.paths, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (shim.run_file < 0 && errno == EEXIST)
        _exit(EXIT_FAILURE);
    if (shim.run_file < 0)
        return false;
    /* In between a keeper may have found it unlocked, and have given the run to another shim. */
    if (fcntl(shim.run_file, F_SETLK, &lock) || fstat(shim.run_file, &found) || found.st_size || !found.st_nlink)
        _exit(EXIT_FAILURE);
    return ftruncate(shim.run_file, sizeof(struct head)) == 0; /* a hole: it takes no room on a full disk */
}

static void fail(int error, enum step step, const char *path)
{
    shim.report.phase = FAILED;
    shim.report.error = error;
    shim.report.step = step;
    snprintf(shim.failed_path, sizeof shim.failed_path, "%s", path);
}

static bool leader_is_over(void)
{
    return shim.leader == 0 && (shim.report.phase == ENDED || shim.report.phase == FAILED);
}

static int64_t doubled(int64_t first, unsigned times, int64_t last)
{
    return times < 16 && first << times < last ? first << times : last;
}

static int64_t sooner(int64_t one, int64_t other) { return one < other ? one : other; }

/* Kill all there is now, and come back: soon if something ended by it, for what it left behind is ours only now. The
 * walk itself must not be all that we do. */
static void kill_again(bool reaped)
{
    static int64_t walked, took;
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    if (reaped)
        shim.kill_at = sooner(shim.kill_at, walked + took);
    if (now < shim.kill_at)
        return;
    tree_kill(&shim);
    walked = clock_ns(CLOCK_MONOTONIC);
    took = walked - now;
    int64_t pause = doubled(KILL_FIRST, shim.kill_rounds++, KILL_LAST);
    shim.kill_at = walked + (pause > took ? pause : took);
    shim.report.flags |= REPORT_STRUCK;
}

/* Take in what happened below us. */
static void look(void)
{
    bool reaped = false;
    bool children = tree_reap(&shim, &reaped);
    uint32_t before = shim.report.flags;
    shim.childless = !children;
    if (shim.over)
        return;
    if (!children && leader_is_over() && cgroup_empty(&shim)) {
        output_drain(&shim);
        shim.over = true;
        shim.report.flags &= ~(uint32_t)(REPORT_ALIVE | REPORT_KILLING);
    } else if (shim.report.flags & REPORT_KILLING) {
        kill_again(reaped);
    }
    shim.unsent |= shim.report.flags != before;
}

/* Nanoseconds until there is something to do that no descriptor tells of. */
static int64_t patience(void)
{
    int64_t until = FOR_EVER, now = clock_ns(CLOCK_MONOTONIC);
    if (shim.keeper == NOWHERE)
        until = sooner(until, shim.dial_at);
    if (shim.report.flags & REPORT_KILLING)
        until = sooner(until, shim.kill_at);
    if (shim.output[0].waiting || shim.output[1].waiting)
        until = sooner(until, now + OUTPUT_RETRY);
    if (!shim.over && shim.childless && leader_is_over())
        until = sooner(until, now + CGROUP_LOOK);
    return until == FOR_EVER ? FOR_EVER : until > now ? until - now : 0;
}

static void call_keeper(void)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now < shim.dial_at)
        return;
    shim.dial_at = now + doubled(DIAL_FIRST, shim.dials, DIAL_LAST);
    keeper_dial(&shim);
}

static void serve(const sigset_t *waiting)
{
    enum { KEEPER, EXECUTED, OUT, ERR, IN, POLLED };
    struct pollfd polled[POLLED] = {
        [KEEPER] = {.fd = shim.keeper, .events = POLLIN},
        [EXECUTED] = {.fd = shim.executed, .events = POLLIN},
        [OUT] = {.fd = output_ready(&shim.output[0]) ? shim.output[0].pipe : -1, .events = POLLIN},
        [ERR] = {.fd = output_ready(&shim.output[1]) ? shim.output[1].pipe : -1, .events = POLLIN},
        [IN] = {.fd = shim.input.waiting ? shim.input.pipe : -1, .events = POLLOUT},
    };
    if (shim.unsent || keeper_has_unsent_answers())
        polled[KEEPER].events = POLLOUT; /* who does not listen to us is not heard either */
    int64_t left = patience();
    struct timespec span = {left / 1000000000, left % 1000000000};
    if (ppoll(polled, POLLED, left == FOR_EVER ? NULL : &span, waiting) < 0)
        for (int each = 0; each < POLLED; each++)
            polled[each].revents = 0; /* interrupted by SIGCHLD, mostly: nothing was polled */

    if (polled[EXECUTED].revents)
        leader_note_execution(&shim);
    for (int each = 0; each < 2; each++)
        if (polled[OUT + each].revents || shim.output[each].waiting)
            output_pump(&shim, &shim.output[each]);
    if (polled[IN].revents)
        input_push(&shim);
    look();
    if (polled[KEEPER].revents & POLLOUT)
        keeper_flush(&shim);
    if (polled[KEEPER].revents & (POLLIN | POLLHUP | POLLERR))
        keeper_hear(&shim);
    if (shim.keeper == NOWHERE)
        call_keeper();
    keeper_tell(&shim);
}

/* Whether nobody will ever ask for what we hold: it is forgotten, and that was never said to us, or the state directory
 * is gone. Without a run file no keeper believes us anyhow. */
static bool is_abandoned(void)
{
    struct stat found;
    return shim.over && shim.keeper == NOWHERE && (fstat(shim.run_file, &found) || found.st_nlink == 0);
}

int main(void)
{
    sigset_t waiting;
    prctl(PR_SET_NAME, "farspawn-shim");
    prctl(PR_SET_DUMPABLE, 0); /* what runs below us as the same user may not look into us, or trace us */
    if (prctl(PR_SET_CHILD_SUBREAPER, 1))
        return EXIT_FAILURE;
    take_signals(&waiting);
    for (int each = FD_ORDER; each <= FD_CGROUP; each++)
        fcntl(each, F_SETFD, FD_CLOEXEC);

    shim.keeper = FD_KEEPER;
    shim.run_file = NOWHERE; /* 0 is somebody's input */
    shim.executed = shim.output[0].pipe = shim.output[1].pipe = shim.input.pipe = NOWHERE;
    shim.output[0].file = shim.output[1].file = NOWHERE;
    shim.report.flags = REPORT_ALIVE;
    if (!read_order())
        fail(EPROTO, STEP_SPAWN, "order");
    else if (!tree_open())
        fail(errno, STEP_SPAWN, "/proc");
    else if (!take_run())
        fail(errno, STEP_OUTPUT, shim.paths);
    else
        leader_start(&shim);
    close(FD_ORDER); /* the leader has it, and it may be large */
    look();
    keeper_tell(&shim);
    while (!(shim.over && (shim.forgotten || is_abandoned())))
        serve(&waiting);
    return shim.run_file == NOWHERE ? EXIT_FAILURE : EXIT_SUCCESS;
}
