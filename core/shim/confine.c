/* What is imposed on the leader before its program is executed: limits, user, working directory. In the leader to be. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

static void limit(const char *name, int which, uint64_t soft, uint64_t hard)
{
    struct rlimit now;
    if (soft == 0)
        return;
    if (getrlimit(which, &now))
        leader_fail(errno, STEP_CONFINEMENT, name);
    /* Never above what we may have: a lower limit than was asked for holds all the more. */
    now.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    now.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
    if (setrlimit(which, &now))
        leader_fail(errno, STEP_CONFINEMENT, name);
}

static void score_for_oom(int score)
{
    char text[16];
    int size = snprintf(text, sizeof text, "%d", score);
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, (size_t)size) != size)
        leader_fail(errno, STEP_CONFINEMENT, "oom_score_adj");
    close(file);
}

void confine_limits(const struct order *order)
{
    score_for_oom(order->oom_score_adj);
    errno = 0;
    if (order->niceness && nice(order->niceness) == -1 && errno)
        leader_fail(errno, STEP_CONFINEMENT, "niceness");
    limit("processes", RLIMIT_NPROC, order->processes, order->processes);
    limit("cpu_seconds", RLIMIT_CPU, order->cpu_seconds, order->cpu_seconds + 1); /* SIGXCPU first, which says why */
    limit("open_files", RLIMIT_NOFILE, order->files_soft, order->files_hard);
    limit("address_space_bytes", RLIMIT_AS, order->address_space, order->address_space);
}

static bool has_capabilities(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    return syscall(SYS_capget, &head, data) || data[0].permitted || data[1].permitted;
}

/* Become a user, for good. */
void confine_user(const struct order *order, const gid_t *groups)
{
    uid_t uid = order->uid, real, effective, saved;
    gid_t gid = order->gid, real_gid, effective_gid, saved_gid;
    if (getresuid(&real, &effective, &saved) || getresgid(&real_gid, &effective_gid, &saved_gid))
        leader_fail(errno, STEP_CONFINEMENT, "user");
    if (uid && real == uid && effective == uid && saved == uid && real_gid == gid && effective_gid == gid &&
        saved_gid == gid)
        return;
    /* Session keyrings are inherited, and possession is permission: keyrings(7). While we are root, whose quota is
     * large. A container's seccomp may forbid it: then the task cannot use any either. */
    if (syscall(SYS_keyctl, 1 /* KEYCTL_JOIN_SESSION_KEYRING */, NULL) < 0 && errno != ENOSYS && errno != EPERM)
        leader_fail(errno, STEP_CONFINEMENT, "keyring");
    if (setgroups(order->groups, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
        leader_fail(errno, STEP_CONFINEMENT, "user");
    if (uid == 0)
        return;
    /* No capability, so no way back by a call; no new privileges, so none by executing a set-user-ID program. */
    if (has_capabilities())
        leader_fail(EPERM, STEP_CONFINEMENT, "user");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        leader_fail(errno, STEP_CONFINEMENT, "user");
}

/* Whether `path` is one of these directories or within, symbolic links resolved on both sides. */
static bool is_within(const char *path, char *const *allowed)
{
    static char root[PATH_MAX];
    for (; *allowed; allowed++) {
        /* A relative one would depend on where we happen to be: it admits nothing. */
        if ((*allowed)[0] != '/' || !realpath(*allowed, root))
            continue;
        size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
        if (strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == '\0'))
            return true;
    }
    return false;
}

/* Enter the working directory, as the user that we are by now. */
void confine_directory(const char *path, char *const *allowed)
{
    static char here[PATH_MAX];
    /* Opened, asked where it is, and entered: whatever becomes of the path, it is this one. */
    int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fchdir(directory))
        leader_fail(errno, STEP_DIRECTORY, path);
    close(directory);
    if (!*allowed) /* anywhere will do */
        return;
    if (!getcwd(here, sizeof here))
        leader_fail(errno, STEP_DIRECTORY, path);
    if (!is_within(here, allowed))
        leader_fail(EACCES, STEP_DIRECTORY, path);
}
