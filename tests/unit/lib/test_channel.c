/* The channel between the idle part and a call's process. */
#include "lib/place.h"

#include <sys/socket.h>

#include "lib/channel.h"

static int pair[2];

static int pair_make(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int pair_close(void **state)
{
    (void)state;
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static struct bk_channel_message carried(const struct bk_channel_message *in)
{
    struct bk_channel_message out;

    assert_int_equal(bk_channel_send(pair[0], in), BK_OK);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_OK);
    assert_int_equal(out.type, in->type);
    return out;
}

static void test_round_trips(void **state)
{
    struct bk_channel_message in, out;

    (void)state;
    in = (struct bk_channel_message){.type = BK_CHANNEL_HELLO,
                                     .server_index = BK_AGENT_SERVERS_MAX - 1,
                                     .agent_port = 65534,
                                     .observed = {{0x20, 1, 0xd, 0xb8, [15] = 1}, 65535},
                                     .unix_s = UINT64_MAX - 3};
    for (size_t n = 1; n <= BK_CHANNEL_SERVERS_MAX; n++) {
        in.n_servers = n;
        in.servers[n - 1] = bk_addr_v4(130, 74, 23, (uint8_t)n, (uint16_t)(1200 + n));
        out = carried(&in);
        assert_int_equal(out.n_servers, n);
        assert_int_equal(out.server_index, BK_AGENT_SERVERS_MAX - 1);
        assert_int_equal(out.agent_port, 65534);
        for (size_t i = 0; i < n; i++) {
            assert_true(bk_addr_equal(&out.servers[i], &in.servers[i]));
        }
        assert_true(bk_addr_equal(&out.observed, &in.observed));
        assert_true(out.unix_s == UINT64_MAX - 3);
    }

    in = (struct bk_channel_message){.type = BK_CHANNEL_ADMIT,
                                     .facts = {.call_id = {1, 2, 3, [15] = 16},
                                               .unix_s = UINT64_MAX,
                                               .has_tag = true,
                                               .tag = {UINT64_MAX - 1, UINT32_MAX - 2},
                                               .has_key = true,
                                               .key = {7, [31] = 8}}};
    out = carried(&in);
    assert_memory_equal(out.facts.call_id, in.facts.call_id, sizeof in.facts.call_id);
    assert_true(out.facts.unix_s == UINT64_MAX);
    assert_true(out.facts.has_tag);
    assert_true(out.facts.tag.random == UINT64_MAX - 1);
    assert_int_equal(out.facts.tag.counter, UINT32_MAX - 2);
    assert_true(out.facts.has_key);
    assert_memory_equal(out.facts.key, in.facts.key, sizeof in.facts.key);

    for (unsigned v = BK_ADMITTED; v <= BK_ADMISSION_BUSY; v++) {
        in = (struct bk_channel_message){.type = BK_CHANNEL_VERDICT,
                                         .verdict = (enum bk_admission_verdict)v,
                                         .tag = {7, 8},
                                         .unix_s = 1800000000};
        out = carried(&in);
        assert_int_equal(out.verdict, v);
        assert_int_equal(out.tag.random, 7);
        assert_int_equal(out.tag.counter, 8);
        assert_int_equal(out.unix_s, 1800000000);
    }
    for (int right = 0; right < 2; right++) {
        in = (struct bk_channel_message){.type = BK_CHANNEL_PROOF, .right = right != 0};
        assert_int_equal(carried(&in).right, right);
    }
    in = (struct bk_channel_message){.type = BK_CHANNEL_PERMIT, .permitted = 0x80000081};
    assert_int_equal(carried(&in).permitted, 0x80000081);
}

static void test_dials(void **state)
{
    struct bk_channel_message in = {.type = BK_CHANNEL_DIALS}, out;

    (void)state;
    for (size_t n = 1; n <= BK_CHANNEL_DIALS_MAX; n++) {
        in.n_dials = n;
        in.dials[n - 1] = bk_addr_v4(192, 0, 2, (uint8_t)n, (uint16_t)(65536 - n));
        out = carried(&in);
        assert_int_equal(out.n_dials, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(bk_addr_equal(&out.dials[i], &in.dials[i]));
        }
    }
}

/* Every message cut short or made longer by one byte, and types there are not. */
static void test_garbage(void **state)
{
    uint8_t buf[256];
    struct bk_channel_message out;

    (void)state;
    for (int type = BK_CHANNEL_HELLO; type <= BK_CHANNEL_PERMIT; type++) {
        struct bk_channel_message in = {
            .type = (enum bk_channel_type)type, .n_dials = 1, .n_servers = 1};
        ssize_t n;

        assert_int_equal(bk_channel_send(pair[0], &in), BK_OK);
        n = recv(pair[1], buf, sizeof buf, 0);
        assert_true(n > 0 && n < BK_CHANNEL_MAX_BYTES);
        for (size_t cut = 1; cut <= (size_t)n + 1; cut++) {
            assert_int_equal(send(pair[0], buf, cut, 0), cut);
            assert_int_equal(bk_channel_receive(pair[1], &out),
                             cut == (size_t)n ? BK_OK : BK_E_MALFORMED);
        }
    }
    memset(buf, 0, sizeof buf);
    for (unsigned type = 0; type < 256; type++) {
        buf[0] = (uint8_t)type;
        assert_int_equal(send(pair[0], buf, sizeof buf, 0),
                         sizeof buf); /* larger than any message */
        assert_int_equal(bk_channel_receive(pair[1], &out), BK_E_MALFORMED);
    }
    buf[0] = BK_CHANNEL_VERDICT;
    buf[1] = BK_ADMISSION_BUSY + 1;
    assert_int_equal(send(pair[0], buf, 22, 0), 22);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_E_MALFORMED);
}

static void test_ends(void **state)
{
    struct bk_channel_message message = {.type = BK_CHANNEL_PROOF};

    (void)state;
    assert_int_equal(bk_channel_receive(pair[1], &message), BK_E_TRUNCATED); /* nothing now */
    close(pair[0]);
    assert_int_equal(bk_channel_receive(pair[1], &message), BK_E_CLOSED);
    message.type = BK_CHANNEL_PROOF;
    assert_int_equal(bk_channel_send(pair[1], &message), BK_E_CLOSED); /* and no signal */
    pair[0] = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(bk_channel_send(pair[0], &message), BK_E_IO);
    assert_int_equal(bk_channel_receive(pair[0], &message), BK_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trips, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_dials, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_garbage, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_ends, pair_make, pair_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
