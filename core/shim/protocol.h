/* What the keeper and a shim say to each other, byte for byte. PROTOCOL.md beside this file tells it in prose.
 *
 * Integers are little-endian and naturally aligned. A structure may only grow at its end: who reads takes what it
 * knows, and takes what is missing for zero. So tomorrow's keeper speaks to today's shim.
 */
#ifndef FARSPAWN_PROTOCOL_H
#define FARSPAWN_PROTOCOL_H

#include <stdint.h>

#define PROTOCOL_VERSION 1

/* Descriptors with which a shim is started; every other one is closed. Its working directory is the state directory. */
enum {
    FD_ORDER = 3,  /* struct order, in a file of its own: read once, by the leader to be */
    FD_KEEPER = 4, /* SOCK_SEQPACKET: one message a record */
    FD_CGROUP = 5, /* the directory of the cgroup that the leader is born into; only with ORDER_CGROUP */
};

#define KEEPER_SOCKET "keeper.sock" /* in the state directory: what a shim dials when its keeper is gone */
#define TOKEN_BYTES 32
#define RUN_BYTES 96 /* of the name of a run, NUL included */

enum order_flag {
    ORDER_INPUT = 1,  /* standard input is a pipe for WRITE; else it is empty */
    ORDER_MERGE = 2,  /* standard error goes where standard output goes, in order */
    ORDER_USER = 4,   /* become `uid`, with `gid` and `groups` */
    ORDER_CGROUP = 8, /* FD_CGROUP is there */
};

/* All that a leader is started by. Behind it, in this order: `groups` numbers of 32 bits; then strings, each ended by
 * NUL: the run file, the prefix of the output files, the working directory, `directories`, `programs`, `argc`, `envc`, and the
 * SHA-256 in hexadecimal that the program must have (empty: any). */
struct order {
    uint32_t version;
    uint32_t size; /* of all of it, what is behind it included */
    uint32_t flags;
    uint32_t groups, directories, programs, argc, envc;
    uint32_t uid, gid;
    uint32_t mask;  /* umask */
    int32_t niceness; /* added to the agent's */
    int32_t oom_score_adj;
    uint32_t header; /* sizeof(struct order) as whoever wrote it knew it */
    uint64_t log_bytes; /* kept of each output */
    uint64_t address_space, cpu_seconds, processes; /* setrlimit(2); 0: the agent's own */
    uint64_t files_soft, files_hard; /* RLIMIT_NOFILE; 0: the agent's own */
    uint8_t token[TOKEN_BYTES]; /* proves to a later keeper that a shim is one */
    char run[RUN_BYTES];
};

enum message_kind {
    /* shim to keeper */
    HELLO = 1,   /* struct hello: first on every connection that the shim dialled */
    REPORT = 2,  /* struct report: whenever it has changed, whole */
    ANSWER = 3,  /* struct answer: to SIGNAL */
    MEMBERS = 4, /* struct members: to LIST */
    TAKEN = 5,   /* struct taken: to WRITE */
    /* keeper to shim */
    SIGNAL = 65, /* struct signal_order */
    KILL = 66,   /* SIGKILL until nothing lives; no answer but reports */
    LIST = 67,
    WRITE = 68,  /* struct write_order, then the data; a newer one takes the place of one that waits */
    FORGET = 69, /* the end that was reported is stored: end when nothing lives */
};

struct message { /* at the head of every one */
    uint8_t kind;
    uint8_t version;
    uint16_t report; /* of a REPORT with a file behind it, the size of its structure; 0: as in version 1 */
    uint32_t sequence; /* an answer has its order's */
};

enum phase { STARTING = 0, RUNNING = 1, FAILED = 2, ENDED = 3 };

/* farspawn_core.errors.Phase */
enum step { STEP_DIRECTORY = 1, STEP_PROGRAM = 2, STEP_OUTPUT = 3, STEP_SPAWN = 4, STEP_CONFINEMENT = 5 };

enum report_flag {
    REPORT_ALIVE = 1,        /* something of the run lives, by waitid(2) and the cgroup */
    REPORT_INPUT_OPEN = 2,
    REPORT_OUTPUT_WAITS = 4, /* the files take nothing now (`output_error`): the run waits in write(2) */
    REPORT_KILLING = 8,      /* a KILL is being carried out */
    REPORT_STRUCK = 16,      /* we have sent SIGKILL to something, by KILL or SIGNAL */
};

/* All that the shim knows of its run. */
struct report {
    uint32_t phase, flags;
    int32_t pid;    /* the leader's; 0: none yet, or never */
    int32_t status; /* ENDED: the leader's, as wait(2) gives it */
    int32_t error;  /* FAILED: errno */
    uint32_t step;  /* FAILED: enum step. The rest of the message is the file that it was done to. */
    int64_t started_at, ended_at; /* nanoseconds since 1970; 0: not yet */
    int64_t started_monotonic;    /* nanoseconds of CLOCK_MONOTONIC */
    uint64_t user_us, system_us, max_resident_bytes; /* of the leader and whom it waited for, wait4(2) */
    uint64_t written[2]; /* the sizes of the two files */
    uint64_t lost[2];    /* bytes that no file took */
    int32_t output_error; /* errno of the last write that failed, 0 once one has succeeded */
    uint32_t reserved;
};

struct report_message {
    struct message head;
    struct report report;
};

struct hello {
    struct message head;
    uint8_t token[TOKEN_BYTES];
    char run[RUN_BYTES];
    struct report report;
};

struct answer {
    struct message head;
    int32_t reached;
};

struct member {
    int32_t pid;
    uint32_t error; /* errno of the last signal that the kernel refused, 0: none */
    uint32_t state; /* a letter of proc_pid_stat(5) */
    char name[16];
};

struct members {
    struct message head;
    uint32_t total; /* how many live; `count` of them follow */
    uint32_t count;
    struct member member[64];
};

struct taken {
    struct message head;
    uint32_t closed;
    uint32_t reserved;
    uint64_t offset; /* how much of the input the pipe has taken in all */
};

struct signal_order {
    struct message head;
    int32_t number;
    uint32_t tree;
};

struct write_order {
    struct message head;
    uint64_t offset;
    uint32_t end; /* the input ends after the data */
    uint32_t length;
};

#define WRITE_BYTES 65536

/* The head of the run file: what a keeper cannot be told any more whose shim was killed while there was no keeper. */
struct head {
    int64_t leader;            /* its pid; 0: none yet, or the disk was full */
    int64_t started_at;        /* nanoseconds since 1970; 0: its program was not executed yet */
    int64_t started_monotonic; /* nanoseconds of CLOCK_MONOTONIC */
};

/* A record of the run file, behind the head, which has the same size: bytes from these offsets on came at this time or later. */
struct moment {
    int64_t second;
    uint64_t offset[2];
};

#endif
