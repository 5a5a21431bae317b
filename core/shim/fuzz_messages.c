/* Fuzzes what a shim does with messages: sequences of them, whole, cut, and nonsensical.
 *
 * As a program: `fuzz-messages FILE...` tries files, `fuzz-messages -n COUNT SEED` invents that many inputs. With
 * -DLIBFUZZER -fsanitize=fuzzer it is a libFuzzer target. An input is a row of records: 32 bits of size, the message.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

enum { RECORDS = 6, INPUT_BYTES = RECORDS * (2 * WRITE_BYTES) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int64_t clock_ns(int which) /* main.c's, which has a main of its own */
{
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void demand(bool truth, const char *what)
{
    if (truth)
        return;
    fprintf(stderr, "not so: %s\n", what);
    abort();
}

/* Read all there is, and say how much. */
static uint64_t drain(int from)
{
    static uint8_t bytes[WRITE_BYTES];
    uint64_t total = 0;
    for (ssize_t size; (size = read(from, bytes, sizeof bytes)) > 0;)
        total += (uint64_t)size;
    return total;
}

/* One message, in memory of exactly its size, so that a byte too many is noticed. */
static void handle(struct shim *shim, const uint8_t *data, size_t size)
{
    uint64_t before = shim->input.offset;
    uint8_t *message = malloc(size ? size : 1);
    if (!message)
        abort();
    memcpy(message, data, size);
    messages_handle(shim, message, size);
    free(message);
    demand(shim->input.offset >= before, "the offset of the input never falls");
    demand(shim->input.length <= WRITE_BYTES && shim->input.done <= shim->input.length, "a write is within its room");
    demand(!shim->input.waiting || shim->input.pipe != NOWHERE, "only an open input waits");
}

/* A shim without a run: nothing lives below us, so that no signal reaches anybody. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct shim shim;
    int keeper[2], input[2];
    signal(SIGPIPE, SIG_IGN);
    demand(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, keeper), "there are sockets");
    demand(!pipe2(input, O_NONBLOCK), "there are pipes");
    memset(&shim, 0, sizeof shim);
    shim.keeper = keeper[0];
    shim.input.pipe = input[1];
    shim.executed = shim.output[0].pipe = shim.output[1].pipe = NOWHERE;

    uint64_t arrived = 0;
    while (size >= sizeof(uint32_t)) {
        uint32_t length;
        memcpy(&length, data, sizeof length);
        data += sizeof length;
        size -= sizeof length;
        if (length > size)
            length = (uint32_t)size;
        handle(&shim, data, length);
        data += length;
        size -= length;
        if (length % 2) /* the run reads now and then, and so does the keeper */
            continue;
        arrived += drain(input[0]);
        demand(arrived == shim.input.offset, "the pipe has what the offset says");
        if (shim.input.waiting)
            input_push(&shim);
        drain(keeper[1]);
        keeper_flush(&shim);
    }
    arrived += drain(input[0]);
    demand(arrived == shim.input.offset, "the pipe has what the offset says");

    input_close(&shim);
    keeper_lost(&shim);
    close(input[0]);
    close(keeper[1]);
    return 0;
}

#ifndef LIBFUZZER
static uint64_t state;

static uint64_t any(uint64_t below) /* splitmix64 */
{
    uint64_t mixed = state += UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return (mixed ^ mixed >> 31) % below;
}

static uint64_t odd_number(uint64_t near)
{
    const uint64_t numbers[] = {0, 1, near, near - 1, near + 1, any(256), any(2 * WRITE_BYTES), UINT32_MAX, UINT64_MAX};
    return numbers[any(sizeof numbers / sizeof *numbers)];
}

static size_t invent_message(uint8_t *into, uint64_t *written)
{
    static const uint8_t kinds[] = {SIGNAL, KILL, LIST, WRITE, WRITE, WRITE, FORGET, 0, REPORT, 255};
    struct write_order write = {.head = {.kind = kinds[any(sizeof kinds)], .version = PROTOCOL_VERSION}};
    struct signal_order signal = {.head = write.head, .number = (int32_t)odd_number(SIGKILL), .tree = any(2) == 0};
    if (write.head.kind != WRITE) {
        memcpy(into, &signal, sizeof signal);
        return any(8) ? sizeof signal : any(sizeof signal);
    }
    uint32_t there = any(4) ? (uint32_t)any(512) : (uint32_t)(WRITE_BYTES - 2 + any(4));
    write.offset = any(4) ? *written : odd_number(*written);
    write.length = any(4) ? there : (uint32_t)odd_number(there);
    write.end = any(8) == 0;
    memcpy(into, &write, sizeof write);
    memset(into + sizeof write, 'x', there);
    *written += there;
    return any(8) ? sizeof write + there : any(sizeof write + 1);
}

static size_t invent(uint8_t *into)
{
    uint64_t written = 0;
    size_t size = 0;
    for (uint64_t records = 1 + any(RECORDS); records > 0; records--) {
        uint32_t length = (uint32_t)invent_message(into + size + sizeof length, &written);
        memcpy(into + size, &length, sizeof length);
        size += sizeof length + length;
    }
    for (uint64_t flips = any(4) ? 0 : 1 + any(8); flips > 0; flips--)
        into[any(size)] = (uint8_t)any(256);
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t input[INPUT_BYTES];
    if (argc == 4 && !strcmp(argv[1], "-n")) {
        uint64_t count = strtoull(argv[2], NULL, 10), seed = strtoull(argv[3], NULL, 10);
        for (uint64_t each = 0; each < count; each++) {
            state = seed + each; /* so that one that failed is repeated by -n 1 and its own seed */
            size_t size = invent(input);
            LLVMFuzzerTestOneInput(input, size);
        }
        printf("%llu inputs from seed %llu\n", (unsigned long long)count, (unsigned long long)seed);
        return EXIT_SUCCESS;
    }
    for (int each = 1; each < argc; each++) {
        int file = open(argv[each], O_RDONLY);
        ssize_t size = read(file, input, sizeof input);
        demand(size >= 0, argv[each]);
        close(file);
        LLVMFuzzerTestOneInput(input, (size_t)size);
    }
    return EXIT_SUCCESS;
}
#endif
