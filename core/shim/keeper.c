/* The conversation with the keeper: reports and answers out, orders in, and a new call when it is gone.
 *
 * The report is told whole whenever it has changed, so that nothing depends on what was told before. A keeper that does
 * not read makes nothing wait but its own answers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

enum { ANSWERS = 4 };

static uint8_t heard[sizeof(struct write_order) + WRITE_BYTES];

/* Answers that the socket did not take. While there is one, no order is heard: so there are never more than these. */
static struct {
    size_t size;
    uint8_t bytes[sizeof(struct members)];
} answers[ANSWERS];
static unsigned unsent;

/* Send a message of one or two parts; false if the socket takes nothing now, or no more. */
static bool tell(struct shim *shim, const void *message, size_t size, const char *rest)
{
    struct iovec parts[] = {{(void *)(uintptr_t)message, size}, {(void *)(uintptr_t)rest, strlen(rest)}};
    struct msghdr whole = {.msg_iov = parts, .msg_iovlen = 2};
    if (shim->keeper == NOWHERE)
        return false;
    if (sendmsg(shim->keeper, &whole, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM && errno != EINTR)
        keeper_lost(shim);
    return false;
}

void keeper_lost(struct shim *shim)
{
    if (shim->keeper == NOWHERE)
        return;
    close(shim->keeper);
    shim->keeper = NOWHERE;
    unsent = 0;
    input_give_up(shim); /* whoever asked for it is gone: the next one asks for the offset */
}

void keeper_answer(struct shim *shim, const void *message, size_t size)
{
    if (tell(shim, message, size, "") || shim->keeper == NOWHERE || unsent == ANSWERS)
        return;
    answers[unsent].size = size;
    memcpy(answers[unsent++].bytes, message, size);
}

bool keeper_has_unsent_answers(void)
{
    return unsent > 0;
}

void keeper_flush(struct shim *shim)
{
    while (unsent > 0 && tell(shim, answers[0].bytes, answers[0].size, ""))
        memmove(answers, answers + 1, --unsent * sizeof answers[0]);
}

void keeper_tell(struct shim *shim)
{
    struct report_message report = {.head = {.kind = REPORT, .version = PROTOCOL_VERSION}, .report = shim->report};
    if (shim->unsent && tell(shim, &report, sizeof report, shim->failed_path))
        shim->unsent = false;
}

void keeper_dial(struct shim *shim)
{
    static const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = KEEPER_SOCKET};
    struct hello hello = {.head = {.kind = HELLO, .version = PROTOCOL_VERSION}, .report = shim->report};
    if (shim->dials < 31)
        shim->dials++;
    int keeper = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (keeper < 0)
        return;
    if (connect(keeper, (const struct sockaddr *)&address, sizeof address)) {
        close(keeper);
        return;
    }
    memcpy(hello.token, shim->order.token, sizeof hello.token);
    memcpy(hello.run, shim->order.run, sizeof hello.run);
    shim->keeper = keeper;
    if (tell(shim, &hello, sizeof hello, ""))
        shim->unsent = shim->report.phase == FAILED; /* the path of a failure is in no hello */
    else
        keeper_lost(shim);
}

void keeper_hear(struct shim *shim)
{
    while (shim->keeper != NOWHERE && !unsent) {
        ssize_t size = recv(shim->keeper, heard, sizeof heard, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0) {
            keeper_lost(shim);
            return;
        }
        shim->dials = 0; /* it speaks to us: the next one is dialled at once */
        messages_handle(shim, heard, (size_t)size);
    }
}

static void carry_out_signal(struct shim *shim, const struct signal_order *order)
{
    struct answer answer = {.head = {.kind = ANSWER, .version = PROTOCOL_VERSION, .sequence = order->head.sequence}};
    if (order->number == SIGKILL) {
        shim->report.flags |= REPORT_STRUCK;
        shim->unsent = true;
    }
    if (order->tree)
        answer.reached = tree_signal(order->number);
    else if (shim->leader > 0) /* unreaped: its pid is its own */
        answer.reached = kill(shim->leader, order->number) == 0;
    keeper_answer(shim, &answer, sizeof answer);
}

static void carry_out_list(struct shim *shim, const struct message *order)
{
    struct members members = {.head = {.kind = MEMBERS, .version = PROTOCOL_VERSION, .sequence = order->sequence}};
    tree_list(&members);
    keeper_answer(shim, &members, offsetof(struct members, member) + members.count * sizeof(struct member));
}

/* Carry out one message. What is too short, or of a kind that we do not know, is a newer keeper's: it is passed over. */
void messages_handle(struct shim *shim, const uint8_t *data, size_t size)
{
    union {
        struct message head;
        struct signal_order signal;
        struct write_order write;
    } order;
    if (size < sizeof order.head)
        return;
    memset(&order, 0, sizeof order);
    memcpy(&order, data, size < sizeof order ? size : sizeof order);
    switch (order.head.kind) {
    case SIGNAL:
        carry_out_signal(shim, &order.signal);
        break;
    case KILL:
        if (!shim->over)
            shim->report.flags |= REPORT_KILLING;
        shim->kill_rounds = 0;
        shim->kill_at = 0;
        break;
    case LIST:
        carry_out_list(shim, &order.head);
        break;
    case WRITE:
        if (size >= sizeof order.write && order.write.length <= size - sizeof order.write &&
            order.write.length <= WRITE_BYTES)
            input_write(shim, &order.write, data + sizeof order.write);
        break;
    case FORGET:
        shim->forgotten = true;
        break;
    default:
        break;
    }
}
