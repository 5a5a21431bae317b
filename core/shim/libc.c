/* The part of a C library that the shim needs, under its usual names: system calls, strings, and the first instruction.
 *
 * With it the program is linked with no other, so any C compiler will do, without a static library to link with. And it
 * starts in 75 us of CPU where glibc takes 370: that asks the processor what it is (CPUID), which a virtual machine
 * answers slowly. The names and prototypes are those of POSIX and Linux; the build with sanitizers leaves this file out
 * and takes the system's library instead.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __GLIBC__ /* whose prototypes have enumerations where musl has int */
typedef enum __ptrace_request ptrace_request;
typedef __priority_which_t priority_which;
typedef __rlimit_resource_t rlimit_resource;
typedef unsigned long ioctl_request;
#else
typedef int ptrace_request, priority_which, rlimit_resource, ioctl_request;
#endif

/* --- errors and the stack protector ------------------------------------------------------------------------------ */

int *__errno_location(void)
{
    static int error; /* there is one thread */
    return &error;
}

uintptr_t __stack_chk_guard;

_Noreturn void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void) { __builtin_trap(); }

/* --- system calls ------------------------------------------------------------------------------------------------ */

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#elif defined(__aarch64__)
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
#else
#error "the shim knows the system calls of x86-64 and aarch64"
#endif
}

static long checked(long result)
{
    if (result >= 0 || result < -4095)
        return result;
    errno = (int)-result;
    return -1;
}

/* Every argument as the register that it travels in. */
#define ARGUMENT(value) ((long)(value))
#define CALL6(number, a, b, c, d, e, f)                                                                                \
    checked(kernel(number, ARGUMENT(a), ARGUMENT(b), ARGUMENT(c), ARGUMENT(d), ARGUMENT(e), ARGUMENT(f)))
#define CALL4(number, a, b, c, d) CALL6(number, a, b, c, d, 0, 0)
#define CALL3(number, a, b, c) CALL6(number, a, b, c, 0, 0, 0)
#define CALL2(number, a, b) CALL6(number, a, b, 0, 0, 0, 0)
#define CALL1(number, a) CALL6(number, a, 0, 0, 0, 0, 0)

/* One argument behind the named ones, whatever its type: it is passed in a register. */
#define LAST(named, into)                                                                                              \
    long into;                                                                                                         \
    do {                                                                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, named);                                                                                         \
        into = va_arg(rest, long);                                                                                     \
        va_end(rest);                                                                                                  \
    } while (false)

long syscall(long number, ...)
{
    long each[6];
    va_list rest;
    va_start(rest, number);
    for (int index = 0; index < 6; index++)
        each[index] = va_arg(rest, long);
    va_end(rest);
    return CALL6(number, each[0], each[1], each[2], each[3], each[4], each[5]);
}

int openat(int directory, const char *path, int flags, ...)
{
    LAST(flags, mode);
    return (int)CALL4(SYS_openat, directory, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    LAST(flags, mode);
    return (int)CALL4(SYS_openat, AT_FDCWD, path, flags, mode);
}

int fcntl(int file, int what, ...)
{
    LAST(what, argument);
    return (int)CALL3(SYS_fcntl, file, what, argument);
}

int ioctl(int file, ioctl_request what, ...)
{
    LAST(what, argument);
    return (int)CALL3(SYS_ioctl, file, what, argument);
}

int prctl(int what, ...)
{
    long each[4];
    va_list rest;
    va_start(rest, what);
    for (int index = 0; index < 4; index++)
        each[index] = va_arg(rest, long);
    va_end(rest);
    return (int)CALL6(SYS_prctl, what, each[0], each[1], each[2], each[3], 0);
}

long ptrace(ptrace_request what, ...)
{
    long each[3];
    va_list rest;
    va_start(rest, what);
    for (int index = 0; index < 3; index++)
        each[index] = va_arg(rest, long);
    va_end(rest);
    return CALL4(SYS_ptrace, what, each[0], each[1], each[2]);
}

int close(int file) { return (int)CALL1(SYS_close, file); }
ssize_t read(int file, void *into, size_t size) { return CALL3(SYS_read, file, into, size); }
ssize_t write(int file, const void *from, size_t size) { return CALL3(SYS_write, file, from, size); }
ssize_t pread(int file, void *into, size_t size, off_t at) { return CALL4(SYS_pread64, file, into, size, at); }
ssize_t pwrite(int file, const void *from, size_t size, off_t at) { return CALL4(SYS_pwrite64, file, from, size, at); }
off_t lseek(int file, off_t offset, int whence) { return CALL3(SYS_lseek, file, offset, whence); }
int ftruncate(int file, off_t size) { return (int)CALL2(SYS_ftruncate, file, size); }
int fallocate(int file, int mode, off_t at, off_t size) { return (int)CALL4(SYS_fallocate, file, mode, at, size); }
int fstat(int file, struct stat *found) { return (int)CALL2(SYS_fstat, file, found); }
int stat(const char *path, struct stat *found) { return (int)CALL4(SYS_newfstatat, AT_FDCWD, path, found, 0); }
int access(const char *path, int mode) { return (int)CALL3(SYS_faccessat, AT_FDCWD, path, mode); }
int fchown(int file, uid_t uid, gid_t gid) { return (int)CALL3(SYS_fchown, file, uid, gid); }
int fchdir(int directory) { return (int)CALL1(SYS_fchdir, directory); }
mode_t umask(mode_t mask) { return (mode_t)CALL1(SYS_umask, mask); }
int pipe2(int ends[2], int flags) { return (int)CALL2(SYS_pipe2, ends, flags); }
int dup2(int from, int to) { return (int)CALL3(SYS_dup3, from, to, 0); }
int socket(int domain, int type, int protocol) { return (int)CALL3(SYS_socket, domain, type, protocol); }
ssize_t sendmsg(int to, const struct msghdr *message, int flags) { return CALL3(SYS_sendmsg, to, message, flags); }
pid_t getpid(void) { return (pid_t)CALL1(SYS_getpid, 0); }
pid_t setsid(void) { return (pid_t)CALL1(SYS_setsid, 0); }
pid_t fork(void) { return (pid_t)CALL1(SYS_clone, SIGCHLD); }
int kill(pid_t pid, int number) { return (int)CALL2(SYS_kill, pid, number); }
int setresuid(uid_t real, uid_t effective, uid_t saved) { return (int)CALL3(SYS_setresuid, real, effective, saved); }
int setresgid(gid_t real, gid_t effective, gid_t saved) { return (int)CALL3(SYS_setresgid, real, effective, saved); }
int getresuid(uid_t *real, uid_t *effective, uid_t *saved) { return (int)CALL3(SYS_getresuid, real, effective, saved); }
int getresgid(gid_t *real, gid_t *effective, gid_t *saved) { return (int)CALL3(SYS_getresgid, real, effective, saved); }
int setgroups(size_t count, const gid_t *groups) { return (int)CALL2(SYS_setgroups, count, groups); }

ssize_t recv(int from, void *into, size_t size, int flags)
{
    return CALL6(SYS_recvfrom, from, into, size, flags, 0, 0);
}

ssize_t readlink(const char *path, char *into, size_t size)
{
    return CALL4(SYS_readlinkat, AT_FDCWD, path, into, size);
}

ssize_t splice(int from, off_t *from_at, int to, off_t *to_at, size_t size, unsigned flags)
{
    return CALL6(SYS_splice, from, from_at, to, to_at, size, flags);
}

void *mmap(void *where, size_t size, int protection, int flags, int file, off_t at)
{
    return (void *)CALL6(SYS_mmap, where, size, protection, flags, file, at);
}

int execve(const char *program, char *const argv[], char *const env[])
{
    return (int)CALL3(SYS_execve, program, argv, env);
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *used)
{
    return (pid_t)CALL4(SYS_wait4, pid, status, options, used);
}

int getpriority(priority_which which, id_t who)
{
    long found = CALL2(SYS_getpriority, which, who);
    return found < 0 ? -1 : 20 - (int)found; /* the kernel tells it so that it is never negative */
}

int setpriority(priority_which which, id_t who, int priority)
{
    return (int)CALL3(SYS_setpriority, which, who, priority);
}

int getrlimit(rlimit_resource which, struct rlimit *found) { return (int)CALL4(SYS_prlimit64, 0, which, 0, found); }

int setrlimit(rlimit_resource which, const struct rlimit *limit)
{
    return (int)CALL4(SYS_prlimit64, 0, which, limit, 0);
}

int clock_gettime(clockid_t which, struct timespec *now) { return (int)CALL2(SYS_clock_gettime, which, now); }

int ppoll(struct pollfd *polled, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec left; /* which the kernel changes */
    if (timeout)
        left = *timeout;
    return (int)CALL6(SYS_ppoll, polled, count, timeout ? &left : NULL, mask, sizeof(uint64_t), 0);
}

int poll(struct pollfd *polled, nfds_t count, int milliseconds)
{
    struct timespec timeout = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    return ppoll(polled, count, &timeout, NULL);
}

char *getcwd(char *into, size_t size) { return CALL2(SYS_getcwd, into, size) < 0 ? NULL : into; }

int connect(int from, const struct sockaddr *to, socklen_t size) { return (int)CALL3(SYS_connect, from, to, size); }

_Noreturn void _exit(int code)
{
    for (;;)
        CALL1(SYS_exit_group, code);
}

/* --- signals: the kernel's sets have 64 bits, at the beginning of the library's ------------------------------------ */

int sigemptyset(sigset_t *set) { return memset(set, 0, sizeof *set) ? 0 : -1; }
int sigfillset(sigset_t *set) { return memset(set, 0xff, sizeof *set) ? 0 : -1; }

int sigdelset(sigset_t *set, int number)
{
    ((uint8_t *)set)[(number - 1) / 8] &= (uint8_t)~(1u << (number - 1) % 8);
    return 0;
}

int sigprocmask(int how, const sigset_t *set, sigset_t *before)
{
    return (int)CALL4(SYS_rt_sigprocmask, how, set, before, sizeof(uint64_t));
}

#if defined(__x86_64__)
void return_from_handler(void); /* on aarch64 the kernel brings its own */
__asm__(".globl return_from_handler\n"
        "return_from_handler:\n"
        "    mov $15, %eax\n" /* rt_sigreturn(2) */
        "    syscall\n");
#endif

int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } kernels = {.handler = action->sa_handler, .flags = (unsigned long)action->sa_flags};
    (void)before; /* nobody asks */
#if defined(__x86_64__)
    kernels.flags |= 0x04000000; /* SA_RESTORER */
    kernels.restorer = return_from_handler;
#endif
    return (int)CALL4(SYS_rt_sigaction, number, &kernels, 0, sizeof kernels.mask);
}

/* --- strings ----------------------------------------------------------------------------------------------------- */

/* In a loop: keeps the compiler from making a call of the very function of it. */
#define AS_IT_IS __asm__ volatile("")

void *memcpy(void *restrict into, const void *restrict from, size_t size)
{
    for (size_t each = 0; each < size; each++) {
        AS_IT_IS;
        ((uint8_t *)into)[each] = ((const uint8_t *)from)[each];
    }
    return into;
}

void *memmove(void *into, const void *from, size_t size)
{
    if (into <= from)
        return memcpy(into, from, size);
    while (size-- > 0) {
        AS_IT_IS;
        ((uint8_t *)into)[size] = ((const uint8_t *)from)[size];
    }
    return into;
}

void *memset(void *into, int byte, size_t size)
{
    for (size_t each = 0; each < size; each++) {
        AS_IT_IS;
        ((uint8_t *)into)[each] = (uint8_t)byte;
    }
    return into;
}

void *memchr(const void *in, int byte, size_t size)
{
    for (const uint8_t *each = in; size-- > 0; each++)
        if (*each == (uint8_t)byte)
            return (void *)(uintptr_t)each;
    return NULL;
}

size_t strlen(const char *string)
{
    size_t length = 0;
    for (; string[length]; length++)
        AS_IT_IS;
    return length;
}

int strncmp(const char *one, const char *other, size_t size)
{
    for (; size > 0; one++, other++, size--)
        if (*one != *other || !*one)
            return (unsigned char)*one - (unsigned char)*other;
    return 0;
}

int strcmp(const char *one, const char *other) { return strncmp(one, other, SIZE_MAX); }

char *strchr(const char *string, int letter) { return memchr(string, letter, strlen(string) + 1); }

char *strrchr(const char *string, int letter)
{
    char *last = NULL;
    for (char *found = strchr(string, letter); found; found = strchr(found + 1, letter))
        last = found;
    return last;
}

char *strstr(const char *in, const char *wanted)
{
    for (; *in; in++)
        if (strncmp(in, wanted, strlen(wanted)) == 0)
            return (char *)(uintptr_t)in;
    return NULL;
}

static char *put(char *at, const char *end, const char *string)
{
    while (*string && at < end)
        *at++ = *string++;
    return at;
}

/* %s and %d; the result is always ended, and its length is what there was room for. */
int snprintf(char *restrict into, size_t size, const char *restrict format, ...)
{
    char *at = into, *end = into + size - 1, digits[16];
    va_list values;
    va_start(values, format);
    for (; *format; format++) {
        if (*format != '%') {
            at = put(at, end, (const char[]){*format, '\0'});
        } else if (*++format == 's') {
            at = put(at, end, va_arg(values, const char *));
        } else {
            int value = va_arg(values, int);
            unsigned left = value < 0 ? -(unsigned)value : (unsigned)value;
            char *digit = digits + sizeof digits;
            *--digit = '\0';
            do
                *--digit = (char)('0' + left % 10);
            while (left /= 10);
            at = put(put(at, end, value < 0 ? "-" : ""), end, digit);
        }
    }
    va_end(values);
    *at = '\0';
    return (int)(at - into);
}

/* --- the first instruction ------------------------------------------------------------------------------------------ */

int main(void);
_Noreturn void start(const long *stack);

/* The kernel leaves on the stack: argc, the arguments, the environment, and pairs of AT_…, each list with a 0 behind. */
#ifdef __has_attribute
#if __has_attribute(no_stack_protector)
__attribute__((no_stack_protector)) /* for it is here that the guard changes */
#endif
#endif
_Noreturn void start(const long *stack)
{
    const long *at = stack + 1 + *stack + 1;
    while (*at++)
        continue;
    for (; at[0]; at += 2)
        if (at[0] == 25) /* AT_RANDOM: 16 bytes */
            memcpy(&__stack_chk_guard, (const void *)at[1], sizeof __stack_chk_guard);
    _exit(main());
}

#if defined(__x86_64__)
__asm__(".globl _start\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    and $-16, %rsp\n"
        "    call start\n");
#else
__asm__(".globl _start\n"
        "_start:\n"
        "    mov x29, #0\n"
        "    mov x30, #0\n"
        "    mov x0, sp\n"
        "    bl start\n");
#endif
