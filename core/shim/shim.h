/* One shim: what it knows, and what its files do for each other.
 *
 *   main.c      the loop
 *   leader.c    from an order to an executed program
 *   confine.c   what is imposed on the leader before it is executed
 *   sha256.c    is the program's file the one that was pinned?
 *   output.c    from the run's pipes to its files
 *   input.c     from the keeper to the run's standard input
 *   tree.c      everything that lives below us: find it, signal it, end it
 *   keeper.c    the conversation with the keeper
 *
 * One thread. Nothing is allocated: what is here is all there is, however many processes the run has.
 */
#ifndef FARSPAWN_SHIM_H
#define FARSPAWN_SHIM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

#define NOWHERE (-1)
#define PATH_BYTES_AT_MOST (PATH_MAX + 1) /* one that is too long is still told */
#define PATH_BYTES 256 /* of the paths that the shim itself opens */

struct output {
    const char *suffix;
    int pipe;          /* the reading end; NOWHERE: ended */
    int file;          /* NOWHERE until the first byte comes */
    uint64_t kept_from; /* what is before it was let go */
    bool copied;        /* the file system knows no splice(2): its bytes go through us */
    uint32_t held, held_from; /* bytes of ours that the file has not taken yet, if `copied` */
    bool wide;         /* its pipe has been enlarged */
    bool waiting;      /* the file took nothing: tried again in a moment */
};

struct input {
    int pipe; /* the writing end; NOWHERE: there is none, or it was ended */
    uint64_t offset; /* how much it has taken */
    bool ended;      /* by the keeper, not by the run */
    /* the write that waits for room, if `waiting` */
    bool waiting, end;
    uint32_t sequence, length, done;
};

struct shim {
    struct order order;
    char paths[2 * PATH_BYTES]; /* of the run file, and behind it the prefix of the output files */
    const char *prefix;
    int run_file; /* its lock is ours as long as we live */
    struct report report;
    pid_t leader;
    int executed; /* tells what became of the execution, by its end if all is well; NOWHERE: told */
    struct output output[2];
    struct input input;
    int64_t last_moment; /* the second of the run file's last record */
    uint64_t moments;    /* how many records it has */
    int keeper;          /* the socket; NOWHERE: the keeper is gone */
    bool unsent;         /* the report has changed since it was sent */
    bool forgotten;      /* the keeper needs us no more */
    bool childless;      /* by wait4(2), at the last look */
    bool over;           /* nothing lives, and all output is in the files */
    unsigned kill_rounds; /* since the last KILL */
    int64_t kill_at;      /* CLOCK_MONOTONIC, as the next: when all is killed again */
    unsigned dials;       /* in vain */
    int64_t dial_at;
    /* Last, and apart from what is always used: a page that nobody touches costs no memory. */
    char failed_path[PATH_BYTES_AT_MOST];
    uint8_t written[WRITE_BYTES]; /* what waits for room in the input */
};

/* main.c */
int64_t clock_ns(int which);

/* leader.c */
void leader_start(struct shim *shim);
void leader_note_execution(struct shim *shim);

/* In the leader to be: tell the shim why the program cannot be executed, and end. */
_Noreturn void leader_fail(int error, enum step step, const char *path);

/* confine.c: in the leader to be; they return only what worked */
void confine_limits(const struct order *order);
void confine_user(const struct order *order, const gid_t *groups);
void confine_directory(const char *path, char *const *allowed);

/* sha256.c: compare the file's hash with 64 hexadecimal digits; 0, or an errno, EKEYREJECTED for another hash */
int sha256_check(const char *path, const char *expected);

/* output.c */
bool output_open(struct shim *shim, int writing[2]);
bool output_ready(const struct output *output);
void output_pump(struct shim *shim, struct output *output);
void output_drain(struct shim *shim);

/* input.c */
bool input_open(struct shim *shim, int *reading);
void input_write(struct shim *shim, const struct write_order *order, const uint8_t *data);
void input_push(struct shim *shim);
void input_give_up(struct shim *shim);
void input_close(struct shim *shim);

/* tree.c */
bool tree_open(void);
bool tree_reap(struct shim *shim, bool *reaped);
int tree_signal(int number);
void tree_list(struct members *found);
void tree_kill(const struct shim *shim);
bool cgroup_empty(const struct shim *shim);

/* keeper.c */
void keeper_dial(struct shim *shim);
void keeper_hear(struct shim *shim);
void keeper_tell(struct shim *shim);
void keeper_lost(struct shim *shim);
void keeper_answer(struct shim *shim, const void *message, size_t size);
bool keeper_has_unsent_answers(void);
void keeper_flush(struct shim *shim);
void messages_handle(struct shim *shim, const uint8_t *data, size_t size);

#endif
