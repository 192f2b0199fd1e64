/* Steering in the kernel: each datagram comes out at the socket that the rule of shards names. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/sockaddr.h"
#include "net/steer.h"

enum {
    SOCKETS = 4,
    TRIES = 64,
    NONE = SOCKETS,
    PATIENCE_MS = 20000,
};

struct group {
    int fd[SOCKETS];
    int family;
    struct bk_addr at;
    int client;
};

/* The rule, as core/registrar/registrar.h has it (bk_shard_of). */
static unsigned shard_of(uint64_t id)
{
    return (uint32_t)((uint32_t)((uint32_t)id * UINT32_C(0x9E3779B1)) >> 16) % SOCKETS;
}

static void open_group(struct group *g, struct bk_addr at)
{
    struct timeval wait = {.tv_sec = 5};

    for (int i = 0; i < SOCKETS; i++) {
        assert_int_equal(bk_socket_bind(SOCK_DGRAM, &at, true, &g->fd[i], &g->family), BK_OK);
        at.port = bk_sockaddr_local(g->fd[i]).port;
    }
    g->at = at;
    assert_int_equal(bk_steer_attach(g->fd[0], SOCKETS), BK_OK);
    g->client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(g->client >= 0);
    assert_int_equal(setsockopt(g->client, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
}

static void close_group(struct group *g)
{
    for (int i = 0; i < SOCKETS; i++) {
        close(g->fd[i]);
    }
    close(g->client);
}

/* Which socket hears it, and no other. */
static unsigned heard_by(struct group *g, const uint8_t *bytes, size_t n)
{
    struct bk_addr to = bk_addr_v4(127, 0, 0, 1, g->at.port);
    struct sockaddr_storage ss;
    struct pollfd in[SOCKETS];
    socklen_t len = 0;
    unsigned found = NONE;

    assert_int_equal(bk_sockaddr_write(&to, AF_INET, &ss, &len), BK_OK);
    assert_int_equal(sendto(g->client, bytes, n, 0, (struct sockaddr *)&ss, len), (ssize_t)n);
    for (unsigned i = 0; i < SOCKETS; i++) {
        in[i] = (struct pollfd){.fd = g->fd[i], .events = POLLIN};
    }
    assert_int_equal(poll(in, SOCKETS, PATIENCE_MS), 1);
    for (unsigned i = 0; i < SOCKETS; i++) {
        uint8_t got[256];
        if (recv(g->fd[i], got, sizeof got, MSG_DONTWAIT) == (ssize_t)n) {
            assert_int_equal(found, NONE);
            found = i;
        }
    }
    assert_int_not_equal(found, NONE);
    return found;
}

static void put_id(uint8_t *bytes, uint64_t id)
{
    static const uint8_t head[4] = {0x40, 0x01, 0x00, 0x08};

    memcpy(bytes + 20, head, sizeof head);
    for (int i = 0; i < 8; i++) {
        bytes[24 + i] = (uint8_t)(id >> (56 - 8 * i));
    }
}

static void check(struct bk_addr at)
{
    struct group g;
    uint8_t bytes[76] = {0};
    unsigned seen[SOCKETS] = {0};

    open_group(&g, at);
    for (uint64_t i = 0; i < TRIES; i++) {
        /* The upper half counts for nothing; steps of a common width spread all the same. */
        uint64_t id = i % 2 == 0 ? 4096 * i : i | i << 40;
        unsigned by;
        put_id(bytes, id);
        bytes[19] = (uint8_t)(i * 7);
        by = heard_by(&g, bytes, i % 3 == 0 ? 32 : sizeof bytes);
        assert_int_equal(by, shard_of(id));
        seen[by]++;
    }
    for (int i = 0; i < SOCKETS; i++) {
        assert_in_range(seen[i], TRIES / SOCKETS / 2, 2 * TRIES / SOCKETS);
    }
    /* Anything else goes by the transaction ID: another attribute in front, an ID that is cut short, none. */
    bytes[21] = 2;
    for (uint8_t i = 0; i < TRIES; i++) {
        bytes[19] = i;
        bytes[21] = 2;
        assert_int_equal(heard_by(&g, bytes, sizeof bytes), i % SOCKETS);
        bytes[21] = 1;
        assert_int_equal(heard_by(&g, bytes, 31), i % SOCKETS);
        assert_int_equal(heard_by(&g, bytes, 20), i % SOCKETS);
    }
    /* What is too short even for that has one place. */
    assert_int_equal(heard_by(&g, bytes, 19), 0);
    assert_int_equal(heard_by(&g, bytes, 1), 0);
    close_group(&g);
}

static void test_one_address(void **state)
{
    (void)state;
    check(bk_addr_v4(127, 0, 0, 1, 0));
}

/* Both families on one socket: IPv4 comes to it by another part of the kernel. */
static void test_wildcard(void **state)
{
    const struct bk_addr any = {.port = 0};

    (void)state;
    check(any);
}

static void test_size(void **state)
{
    struct sock_filter program[BK_STEER_PROGRAM_MAX];

    (void)state;
    assert_in_range(bk_steer_program(1, program), 1, BK_STEER_PROGRAM_MAX);
    assert_int_equal(bk_steer_attach(-1, 2), BK_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_address),
        cmocka_unit_test(test_wildcard),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
