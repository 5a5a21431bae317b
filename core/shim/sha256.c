/* SHA-256 of a file (FIPS 180-4), for programs whose content the site's owner has pinned. In the leader to be.
 *
 * The hash is that of the very file that stands at the path at the last look; the kernel opens the path again to execute
 * it. In between, microseconds, whoever may write the file or rename it can have another content executed: only what
 * they cannot write is worth pinning. A script's interpreter, and libraries, are not looked at.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

enum { BLOCK = 64 };

struct hash {
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[BLOCK];
};

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotated(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

static void compress(struct hash *hash)
{
    uint32_t words[64], s[8];
    for (int each = 0; each < 16; each++)
        words[each] = (uint32_t)hash->block[4 * each] << 24 | (uint32_t)hash->block[4 * each + 1] << 16 |
                      (uint32_t)hash->block[4 * each + 2] << 8 | hash->block[4 * each + 3];
    for (int each = 16; each < 64; each++) {
        uint32_t early = words[each - 15], late = words[each - 2];
        words[each] = words[each - 16] + (rotated(early, 7) ^ rotated(early, 18) ^ early >> 3) + words[each - 7] +
                      (rotated(late, 17) ^ rotated(late, 19) ^ late >> 10);
    }
    memcpy(s, hash->state, sizeof s);
    for (int each = 0; each < 64; each++) {
        uint32_t one = s[7] + (rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25)) +
                       ((s[4] & s[5]) ^ (~s[4] & s[6])) + constants[each] + words[each];
        uint32_t two = (rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22)) +
                       ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (int each = 0; each < 8; each++)
        hash->state[each] += s[each];
}

static void add(struct hash *hash, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        size_t at = hash->bytes % BLOCK, room = BLOCK - at, part = size < room ? size : room;
        memcpy(hash->block + at, bytes, part);
        hash->bytes += part;
        bytes += part;
        size -= part;
        if (hash->bytes % BLOCK == 0)
            compress(hash);
    }
}

static void finish(struct hash *hash, char digits[65])
{
    static const uint8_t end[BLOCK] = {0x80};
    uint64_t bits = hash->bytes * 8;
    uint8_t length[8];
    add(hash, end, 1 + (BLOCK + 55 - hash->bytes % BLOCK) % BLOCK); /* up to 8 bytes before the end of a block */
    for (int each = 0; each < 8; each++)
        length[each] = (uint8_t)(bits >> (56 - 8 * each));
    add(hash, length, sizeof length);
    for (int each = 0; each < 8; each++)
        snprintf(digits + 8 * (size_t)each, 9, "%08x", hash->state[each]);
}

static bool is_same(const struct stat *one, const struct stat *other)
{
    /* Nobody but root can set back the time of change. */
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino && one->st_size == other->st_size &&
           one->st_ctim.tv_sec == other->st_ctim.tv_sec && one->st_ctim.tv_nsec == other->st_ctim.tv_nsec;
}

static int hash_file(int file, char digits[65])
{
    static uint8_t part[1 << 16];
    struct hash hash = {
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    ssize_t size;
    while ((size = read(file, part, sizeof part)) > 0)
        add(&hash, part, (size_t)size);
    if (size < 0)
        return errno;
    finish(&hash, digits);
    return 0;
}

int sha256_check(const char *path, const char *expected)
{
    struct stat before, after;
    char digits[65];
    /* A FIFO that took the file's place would keep us waiting. */
    int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return errno;
    int error = fstat(file, &before) ? errno : S_ISREG(before.st_mode) ? hash_file(file, digits) : EACCES;
    close(file);
    if (error)
        return error;
    if (lstat(path, &after))
        return errno;
    return is_same(&before, &after) && strcmp(digits, expected) == 0 ? 0 : EKEYREJECTED;
}
