/* From the run's pipes to its files: byte for byte, bounded, and with the second in which each byte came.
 *
 * The bytes are moved by splice(2), which does not copy them through us. A file is made when its first byte comes. When
 * it holds a fifth more than it may, its oldest bytes become a hole: offsets do not move. A file system that takes
 * nothing (full, read-only) makes the run wait in its write(2), as a slow reader would: nothing is lost, and nobody else
 * waits. What cannot be written when nothing of the run lives any more is counted as lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

enum { BLOCK = 4096, PIPE_BYTES = 1 << 16, WIDE_PIPE_BYTES = 1 << 18, PART = 1 << 20, PARTS = 4, PARTS_AT_LAST = 1024 };
#define MOMENTS_KEPT (1u << 20)

bool output_open(struct shim *shim, int writing[2])
{
    static const char *const suffixes[] = {".stdout", ".stderr"};
    int outputs = shim->order.flags & ORDER_MERGE ? 1 : 2;
    for (int each = 0; each < outputs; each++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC))
            return false;
        /* Its own, so that another user's run may open /dev/stdout by name. Both ends are one inode. */
        if ((shim->order.flags & ORDER_USER) && fchown(ends[1], shim->order.uid, shim->order.gid))
            return false;
        fcntl(ends[0], F_SETFL, O_NONBLOCK); /* of this end alone: the run's own blocks */
        shim->output[each].suffix = suffixes[each];
        shim->output[each].pipe = ends[0];
        writing[each] = ends[1];
    }
    if (outputs == 1)
        writing[1] = writing[0];
    return true;
}

/* Whether it is worth waiting for bytes. */
bool output_ready(const struct output *output)
{
    return output->pipe != NOWHERE && !output->waiting;
}

static size_t which(const struct shim *shim, const struct output *output)
{
    return (size_t)(output - shim->output);
}

static bool open_file(struct shim *shim, struct output *output)
{
    char path[PATH_BYTES + 16];
    struct stat found;
    if (output->file != NOWHERE)
        return true;
    snprintf(path, sizeof path, "%s%s", shim->prefix, output->suffix);
    /* Without O_NONBLOCK a FIFO in its place, put there by a run of our own user, would keep us waiting. */
    int file = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (file < 0)
        return false;
    if (fstat(file, &found) || !S_ISREG(found.st_mode)) {
        close(file);
        errno = EEXIST;
        return false;
    }
    output->file = file;
    shim->report.written[which(shim, output)] = (uint64_t)found.st_size; /* a cleanup goes on where its run ended */
    off_t data = lseek(file, 0, SEEK_DATA);
    output->kept_from = data > 0 ? (uint64_t)data : 0;
    return true;
}

/* Write down that what comes now comes in this second; what finds no room is written down with the next. */
static void note_moment(struct shim *shim)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec == shim->last_moment)
        return;
    struct moment moment = {.second = now.tv_sec, .offset = {shim->report.written[0], shim->report.written[1]}};
    off_t end = (off_t)(sizeof(struct head) + shim->moments * sizeof moment);
    if (pwrite(shim->run_file, &moment, sizeof moment, end) != sizeof moment)
        return;
    shim->last_moment = now.tv_sec;
    shim->moments++;
    if (shim->moments % MOMENTS_KEPT == 0 && shim->moments > MOMENTS_KEPT) {
        off_t gone = (off_t)((shim->moments - MOMENTS_KEPT) * sizeof moment) / BLOCK * BLOCK;
        fallocate(shim->run_file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLOCK, gone - BLOCK);
    }
}

/* Let go of the oldest bytes of a file that holds a fifth more than it may. False: it cannot, and holds twice as much. */
static bool let_go(const struct shim *shim, struct output *output)
{
    uint64_t size = shim->report.written[which(shim, output)], keep = shim->order.log_bytes;
    uint64_t held = size - output->kept_from;
    if (keep == 0 || held <= keep + keep / 5 + BLOCK)
        return true;
    uint64_t end = (size - keep) / BLOCK * BLOCK;
    if (fallocate(output->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)end))
        return held <= 2 * keep; /* this file system never can, or not now: tried again with the next bytes */
    output->kept_from = end;
    return true;
}

static void note_error(struct shim *shim, struct output *output, int error)
{
    if (output->waiting == (error != 0))
        return;
    output->waiting = error != 0;
    bool any = shim->output[0].waiting || shim->output[1].waiting;
    if (error || !any)
        shim->report.output_error = error;
    shim->report.flags &= ~(uint32_t)REPORT_OUTPUT_WAITS;
    shim->report.flags |= any ? REPORT_OUTPUT_WAITS : 0;
    shim->unsent = true;
}

static void end(struct shim *shim, struct output *output)
{
    note_error(shim, output, 0);
    close(output->pipe);
    output->pipe = NOWHERE;
}

static ssize_t discard(struct shim *shim, struct output *output)
{
    static uint8_t scratch[1 << 16];
    ssize_t size = read(output->pipe, scratch, sizeof scratch);
    if (size > 0) {
        shim->report.lost[which(shim, output)] += (uint64_t)size;
        shim->unsent |= shim->report.output_error != EFBIG;
        shim->report.output_error = EFBIG;
    }
    return size;
}

/* Give an output that fills its pipe more room. Measured: 64 KiB reach a third of what `cat` into a file does, 256 KiB
 * two thirds, more no more. Not from the start: a user may have 64 MiB of pipes, and then gets only small ones. */
static void widen(struct output *output, ssize_t moved)
{
    if (output->wide || moved < PIPE_BYTES)
        return;
    output->wide = true;
    fcntl(output->pipe, F_SETPIPE_SZ, WIDE_PIPE_BYTES); /* refused beyond the user's 64 MiB: then it stays as it is */
}

/* As splice(2), for a file system that knows none: what the file does not take is held, and tried first the next time. */
static ssize_t copy(const struct shim *shim, struct output *output)
{
    static uint8_t bytes[2][PIPE_BYTES];
    uint8_t *ours = bytes[which(shim, output)];
    if (output->held == 0) {
        ssize_t size = read(output->pipe, ours, PIPE_BYTES);
        if (size <= 0)
            return size;
        output->held = (uint32_t)size;
        output->held_from = 0;
    }
    off_t offset = (off_t)shim->report.written[which(shim, output)];
    ssize_t size = pwrite(output->file, ours + output->held_from, output->held, offset);
    if (size > 0) {
        output->held -= (uint32_t)size;
        output->held_from += (uint32_t)size;
    }
    return size;
}

/* Move what is there, at most `PART`; as splice(2): 0 is the end, -1 with EAGAIN that there is nothing now. */
static ssize_t move(struct shim *shim, struct output *output)
{
    if (!open_file(shim, output))
        return -1;
    if (!let_go(shim, output))
        return discard(shim, output);
    note_moment(shim); /* before the bytes: who has read them finds when they came */
    off_t offset = (off_t)shim->report.written[which(shim, output)];
    ssize_t size = -1;
    if (!output->copied) {
        size = splice(output->pipe, NULL, output->file, &offset, PART, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        output->copied = size < 0 && errno == EINVAL;
    }
    if (output->copied)
        size = copy(shim, output);
    if (size > 0) {
        widen(output, size);
        shim->report.written[which(shim, output)] += (uint64_t)size;
        let_go(shim, output);
    }
    return size;
}

/* Whether there are bytes; if not, `ended` says whether any can come. */
static bool has_bytes(const struct output *output, bool *ended)
{
    struct pollfd polled = {.fd = output->pipe, .events = POLLIN};
    *ended = false;
    if (output->held > 0)
        return true;
    poll(&polled, 1, 0);
    *ended = !(polled.revents & POLLIN) && (polled.revents & (POLLHUP | POLLERR));
    return polled.revents & POLLIN;
}

static void pump(struct shim *shim, struct output *output, int parts)
{
    while (output->pipe != NOWHERE && parts-- > 0) {
        bool ended = false;
        /* No file is made for an output that ends without a byte. */
        if (output->file == NOWHERE && !has_bytes(output, &ended)) {
            if (ended)
                end(shim, output);
            return;
        }
        ssize_t size = move(shim, output);
        if (size == 0) {
            end(shim, output);
        } else if (size > 0) {
            note_error(shim, output, 0);
        } else {
            int error = errno;
            /* EAGAIN may be the file's: then there are bytes that it does not take. */
            if (error != EINTR && (error != EAGAIN || has_bytes(output, &ended)))
                note_error(shim, output, error);
            return;
        }
    }
}

void output_pump(struct shim *shim, struct output *output)
{
    pump(shim, output, PARTS);
}

/* Nothing of the run lives: move what is left, or count it as lost. A stranger who was given the pipe may go on. */
void output_drain(struct shim *shim)
{
    for (int each = 0; each < 2; each++) {
        struct output *output = &shim->output[each];
        int left = 0;
        pump(shim, output, PARTS_AT_LAST);
        if (output->pipe == NOWHERE)
            continue;
        ioctl(output->pipe, FIONREAD, &left);
        left += (int)output->held;
        shim->report.lost[each] += (uint64_t)left;
        int error = shim->report.output_error;
        end(shim, output);
        if (left > 0)
            shim->report.output_error = error;
    }
}
