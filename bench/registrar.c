/* What a registration costs in the core alone: no socket, no kernel. One shard of the location table is filled with
 * ROWS devices, each by REGISTER, challenge and REGISTER again; then random ones of them register, in batches as a worker
 * gets them. The datagrams are made outside of what is timed; nothing of a device is kept here, so that its row is as far
 * away as it would be.
 *
 *   registrar ROWS COUNT
 *
 * Prints one line: rows, nanoseconds for an answered REGISTER, a quiet one, one whose MAC is wrong, a plain Binding;
 * resident bytes a row; CPU time of the longest call while the table grew, and the 99.99th percentile, microseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/number.h"
#include "bin/beckond/hmac_openssl.h"
#include "core/registrar/registrar.h"
#include "net/huge_ahead.h"
#include "seal/seal.h"
#include "wire/crc32.h"
#include "wire/register.h"

enum {
    BATCH = BK_REGISTRAR_BATCH_MAX,
    DATAGRAM_BYTES = 128,
    EPOCH = 1,
    INTERVAL_S = 25,
    LONG_US = 100000, /* pauses are counted up to it */
};

struct bench {
    struct bk_registrar *registrar;
    struct bk_mac_ops mac;
    struct bk_mac_key master;
    struct bk_now now;
    uint64_t rows, random;
    uint32_t serial;
    uint8_t bytes[BATCH][DATAGRAM_BYTES];
    struct bk_arrival in[BATCH];
    struct bk_slice slices[BATCH];
    uint32_t pauses[LONG_US + 1]; /* how many calls took so many microseconds */
};

enum kind { ANSWERED, QUIET, FORGED, BINDING, KINDS };

static void die(const char *what)
{
    (void)fprintf(stderr, "registrar: %s\n", what);
    exit(1);
}

static uint64_t nanoseconds(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t resident_bytes(void)
{
    unsigned long long all = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%llu %llu", &all, &resident) != 2) { /* NOLINT: the kernel's own digits */
        die("no /proc");
    }
    (void)fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t draw(struct bench *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

static struct bk_addr address_of(uint64_t id)
{
    return bk_addr_v4(10, (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id,
                      (uint16_t)(1024 + (id >> 24)));
}

/* The REGISTER of that device as number i of the batch. */
static void make_register(struct bench *b, size_t i, uint64_t id, bool quiet, struct bk_slice nonce)
{
    static const char label[] = "beckon registration key 1";
    uint8_t name[sizeof label - 1 + 12] = {0};
    uint8_t key[BK_KEY_BYTES];
    uint8_t txid[BK_STUN_TXID_BYTES] = {(uint8_t)b->serial, (uint8_t)(b->serial >> 8)};
    memcpy(name, label, sizeof label - 1);
    for (size_t k = 0; k < 8; k++) {
        name[sizeof label - 1 + k] = (uint8_t)(id >> (56 - 8 * k));
    }
    name[sizeof name - 1] = 1;
    bk_mac_prepared(&b->mac, &b->master, BK_SLICE_OF(name), key);
    struct bk_register r = {
        .quiet = quiet,
        .equipment_id = id,
        .generation = 1,
        .epoch = EPOCH,
        .interval_s = INTERVAL_S,
        .tag = {.random = id * 7, .counter = ++b->serial},
        .nonce = nonce,
    };
    if (bk_register_write(b->bytes[i], DATAGRAM_BYTES, txid, &r, &b->mac, BK_SLICE_OF(key),
                          &b->slices[i]) != BK_OK) {
        die("REGISTER does not fit");
    }
    b->in[i] = (struct bk_arrival){.from = address_of(id), .bytes = b->slices[i]};
}

/* Where the nonce is in a 438: behind ERROR-CODE, which has no reason. */
static struct bk_slice nonce_of(const struct bk_registrar_reply *reply)
{
    struct bk_stun m;
    struct bk_slice nonce = BK_SLICE_EMPTY;
    if (bk_stun_read(bk_slice(reply->bytes, reply->n), &m) != BK_OK ||
        !bk_stun_find(&m, BK_ATTR_NONCE, &nonce)) {
        die("no challenge");
    }
    return nonce;
}

static void fill(struct bench *b)
{
    struct bk_registrar_reply first, second;
    for (uint64_t id = 1; id <= b->rows; id++) {
        make_register(b, 0, id, false, BK_SLICE_EMPTY);
        if (bk_registrar_datagram(b->registrar, &b->now, &b->in[0], &first) != BK_REGISTRAR_REPLY) {
            die("not challenged");
        }
        make_register(b, 0, id, false, nonce_of(&first));
        uint64_t began = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        enum bk_registrar_verdict v =
            bk_registrar_datagram(b->registrar, &b->now, &b->in[0], &second);
        uint64_t us = (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - began) / 1000;
        b->pauses[us < LONG_US ? us : LONG_US]++;
        if (v != BK_REGISTRAR_REPLY) {
            die("not registered");
        }
    }
}

static void make(struct bench *b, size_t i, enum kind kind)
{
    static const uint8_t binding[] = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1,  2,
                                      3, 4, 5, 6, 7,    8,    9,    10,   11, 12};
    uint64_t id = 1 + draw(b) % b->rows;
    if (kind == BINDING) {
        b->slices[i] = BK_SLICE_OF(binding);
        b->in[i] = (struct bk_arrival){.from = address_of(draw(b)), .bytes = b->slices[i]};
        return;
    }
    make_register(b, i, id, kind == QUIET, BK_SLICE_EMPTY);
    if (kind == FORGED) {
        /* Another's key, all else right: the fingerprint is made over it. */
        struct bk_slice good = b->slices[i];
        b->bytes[i][good.n - 12] ^= 1; /* the MAC's last byte but a few */
        uint8_t *end = b->bytes[i] + good.n - BK_STUN_FINGERPRINT_BYTES;
        uint32_t crc = bk_crc32(bk_slice(b->bytes[i], good.n - BK_STUN_FINGERPRINT_BYTES)) ^
                       BK_STUN_FINGERPRINT_XOR;
        for (size_t k = 0; k < 4; k++) {
            end[4 + k] = (uint8_t)(crc >> (24 - 8 * k));
        }
    }
}

/* Nanoseconds for one. */
static double measure(struct bench *b, enum kind kind, uint64_t count)
{
    struct bk_registrar_reply reply;
    enum bk_registrar_verdict right =
        kind == ANSWERED || kind == BINDING ? BK_REGISTRAR_REPLY : BK_REGISTRAR_NOTHING;
    uint64_t spent = 0, done = 0;
    while (done < count) {
        for (size_t i = 0; i < BATCH; i++) {
            make(b, i, kind);
        }
        uint64_t began = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
        bk_registrar_prefetch(b->registrar, b->slices, BATCH);
        for (size_t i = 0; i < BATCH; i++) {
            if (bk_registrar_datagram(b->registrar, &b->now, &b->in[i], &reply) != right) {
                die("another verdict");
            }
        }
        spent += nanoseconds(CLOCK_THREAD_CPUTIME_ID) - began;
        done += BATCH;
    }
    return (double)spent / (double)done;
}

static uint32_t percentile_us(const struct bench *b, uint64_t beyond)
{
    uint64_t n = 0;
    uint32_t us = LONG_US;
    while (us > 0 && (n += b->pauses[us]) <= beyond) {
        us--;
    }
    return us;
}

int main(int argc, char **argv)
{
    static struct bench b;
    uint64_t count = 0;
    if (argc != 3 || bk_seal_init() != BK_OK ||
        bk_number_parse(bk_slice_text(argv[1]), BK_REGISTRAR_ROWS_MAX, &b.rows) != BK_OK ||
        bk_number_parse(bk_slice_text(argv[2]), UINT32_MAX, &count) != BK_OK || b.rows == 0) {
        die("usage: registrar ROWS COUNT");
    }
    struct bk_master_key master = {.epoch = EPOCH};
    memset(master.key, 0x5A, sizeof master.key);
    b.random = 88172645463325252;
    b.mac = bk_mac_openssl();
    bk_mac_prepare(&b.mac, master.key, &b.master);
    b.now = (struct bk_now){.mono = 1000 * BK_SECOND, .unix_s = 1800000000};
    struct bk_huge_ahead *chunks = NULL;
    if (bk_huge_ahead_new(BK_REGISTRAR_CHUNK_BYTES, 2, &chunks) != BK_OK ||
        bk_huge_ahead_start(chunks) != BK_OK) {
        die("no memory");
    }
    struct bk_registrar_config config = {
        .alloc = bk_alloc_libc(),
        .chunks = bk_huge_ahead_alloc(chunks),
        .rng = bk_random_system(),
        .mac = b.mac,
        .master = &master,
        .n_master = 1,
        .max_devices = BK_REGISTRAR_ROWS_MAX,
        .answer_binding = true,
        .binding_per_s = 1000000,
        .n_shards = 1,
    };
    if (bk_registrar_new(&config, &b.now, &b.registrar) != BK_OK) {
        die("no memory");
    }
    uint64_t before = resident_bytes();
    fill(&b);
    uint64_t taken = resident_bytes() - before;
    double ns[KINDS];
    for (int kind = 0; kind < KINDS; kind++) {
        (void)measure(&b, (enum kind)kind, count / 8);
        ns[kind] = measure(&b, (enum kind)kind, count);
    }
    (void)printf("rows %llu answered_ns %.0f quiet_ns %.0f forged_ns %.0f binding_ns %.0f "
                 "bytes_a_row %.1f longest_us %u p9999_us %u\n",
                 (unsigned long long)b.rows, ns[ANSWERED], ns[QUIET], ns[FORGED], ns[BINDING],
                 (double)taken / (double)b.rows, percentile_us(&b, 0),
                 percentile_us(&b, b.rows / 10000));
    bk_registrar_free(b.registrar);
    bk_huge_ahead_free(chunks);
    return 0;
}
