/* The run's standard input: a pipe whose writing end we hold, so that keepers and servers may come and go.
 *
 * A write is answered when the pipe has taken all of it. One that waits for room costs nobody else anything: a newer one
 * takes its place.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

static void answer(struct shim *shim, uint32_t sequence, bool closed)
{
    struct taken taken = {.head = {.kind = TAKEN, .version = PROTOCOL_VERSION, .sequence = sequence},
                          .closed = closed,
                          .offset = shim->input.offset};
    keeper_answer(shim, &taken, sizeof taken);
}

bool input_open(struct shim *shim, int *reading)
{
    int ends[2];
    if (!(shim->order.flags & ORDER_INPUT)) {
        *reading = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return *reading >= 0;
    }
    if (pipe2(ends, O_CLOEXEC))
        return false;
    /* Its own, so that another user's run may open /dev/stdin by name. Both ends are one inode. */
    if ((shim->order.flags & ORDER_USER) && fchown(ends[0], shim->order.uid, shim->order.gid))
        return false;
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    *reading = ends[0];
    shim->input.pipe = ends[1];
    shim->report.flags |= REPORT_INPUT_OPEN;
    return true;
}

void input_close(struct shim *shim)
{
    input_give_up(shim);
    if (shim->input.pipe == NOWHERE)
        return;
    close(shim->input.pipe);
    shim->input.pipe = NOWHERE;
    shim->report.flags &= ~(uint32_t)REPORT_INPUT_OPEN;
    shim->unsent = true;
}

void input_give_up(struct shim *shim)
{
    struct input *input = &shim->input;
    if (!input->waiting)
        return;
    input->waiting = false;
    answer(shim, input->sequence, false);
}

void input_push(struct shim *shim)
{
    struct input *input = &shim->input;
    while (input->done < input->length) {
        ssize_t size = write(input->pipe, shim->written + input->done, input->length - input->done);
        if (size < 0 && errno == EAGAIN)
            return;
        if (size < 0) { /* EPIPE: nobody will ever read it */
            input->waiting = false;
            answer(shim, input->sequence, true);
            input_close(shim);
            return;
        }
        input->done += (uint32_t)size;
        input->offset += (uint64_t)size;
    }
    input->waiting = false;
    answer(shim, input->sequence, false);
    if (input->end) {
        input->ended = true;
        input_close(shim);
    }
}

void input_write(struct shim *shim, const struct write_order *order, const uint8_t *data)
{
    struct input *input = &shim->input;
    if (input->pipe == NOWHERE) {
        /* The end again, whose answer was lost: it was taken. */
        bool repeated = input->ended && order->end && order->offset + order->length == input->offset;
        answer(shim, order->head.sequence, !repeated);
        return;
    }
    if (order->offset > input->offset) {
        answer(shim, order->head.sequence, false); /* something between is missing: our offset says so */
        return;
    }
    input_give_up(shim);
    uint64_t known = input->offset - order->offset;
    uint32_t skipped = known < order->length ? (uint32_t)known : order->length;
    input->sequence = order->head.sequence;
    input->length = order->length - skipped;
    input->done = 0;
    input->end = order->end && order->offset + order->length >= input->offset;
    input->waiting = true;
    memcpy(shim->written, data + skipped, input->length);
    input_push(shim);
}
