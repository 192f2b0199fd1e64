/* The channel between the idle part and a call's process. */
#include "lib/place.h"

#include <sys/socket.h>

#include "lib/channel.h"

static int pair[2];
static struct bk_channel_message in, out; /* large */

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

/* What came is in `out`. */
static void carry(void)
{
    assert_int_equal(bk_channel_send(pair[0], &in), BK_OK);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_OK);
    assert_int_equal(out.type, in.type);
}

static void test_round_trips(void **state)
{
    (void)state;
    in = (struct bk_channel_message){.type = BK_CHANNEL_HELLO,
                                     .server_index = BK_AGENT_SERVERS_MAX - 1,
                                     .agent_port = 65534,
                                     .observed = {{0x20, 1, 0xd, 0xb8, [15] = 1}, 65535},
                                     .unix_s = UINT64_MAX - 3};
    for (size_t n = 1; n <= BK_CHANNEL_SERVERS_MAX; n++) {
        in.n_servers = n;
        in.servers[n - 1] = bk_addr_v4(130, 74, 23, (uint8_t)n, (uint16_t)(1200 + n));
        carry();
        assert_int_equal(out.n_servers, n);
        assert_int_equal(out.server_index, BK_AGENT_SERVERS_MAX - 1);
        assert_int_equal(out.agent_port, 65534);
        for (size_t i = 0; i < n; i++) {
            assert_true(bk_addr_equal(&out.servers[i], &in.servers[i]));
        }
        assert_true(bk_addr_equal(&out.observed, &in.observed));
        assert_true(out.unix_s == UINT64_MAX - 3);
    }
}

static void test_questions(void **state)
{
    (void)state;
    in = (struct bk_channel_message){.type = BK_CHANNEL_ADMIT,
                                     .facts = {.call_id = {1, 2, 3, [15] = 16},
                                               .unix_s = UINT64_MAX,
                                               .has_tag = true,
                                               .tag = {UINT64_MAX - 1, UINT32_MAX - 2},
                                               .has_key = true,
                                               .key = {7, [31] = 8}}};
    carry();
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
        carry();
        assert_int_equal(out.verdict, v);
        assert_int_equal(out.tag.random, 7);
        assert_int_equal(out.tag.counter, 8);
        assert_int_equal(out.unix_s, 1800000000);
    }
    for (int right = 0; right < 2; right++) {
        in = (struct bk_channel_message){.type = BK_CHANNEL_PROOF, .right = right != 0};
        carry();
        assert_int_equal(out.right, right);
    }
    in = (struct bk_channel_message){.type = BK_CHANNEL_PERMIT, .permitted = 0x80000081};
    carry();
    assert_int_equal(out.permitted, 0x80000081);
}

static void test_dials(void **state)
{
    (void)state;
    in = (struct bk_channel_message){.type = BK_CHANNEL_DIALS};
    for (size_t n = 1; n <= BK_CHANNEL_DIALS_MAX; n++) {
        in.n_dials = n;
        in.dials[n - 1] = bk_addr_v4(192, 0, 2, (uint8_t)n, (uint16_t)(65536 - n));
        carry();
        assert_int_equal(out.n_dials, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(bk_addr_equal(&out.dials[i], &in.dials[i]));
        }
    }
}

/* The fast form: the request beside HELLO, and what is said to the server. */
static void test_requests(void **state)
{
    static const char *const users[] = {"", "alice"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        in = (struct bk_channel_message){.type = BK_CHANNEL_HELLO,
                                         .n_servers = BK_CHANNEL_SERVERS_MAX,
                                         .fast = true,
                                         .call_id = {1, [15] = 16},
                                         .box_n = i < 2 ? 1 : BK_BOX_MAX_BYTES};
        memset(in.box, 0xB0, in.box_n);
        memcpy(in.user, users[i % 2], strlen(users[i % 2]) + 1);
        carry();
        assert_true(out.fast);
        assert_memory_equal(out.call_id, in.call_id, sizeof in.call_id);
        assert_string_equal(out.user, in.user);
        assert_int_equal(out.box_n, in.box_n);
        assert_memory_equal(out.box, in.box, in.box_n);
    }
    memset(in.user, 'u', BK_NAME_MAX_BYTES);
    in.user[BK_NAME_MAX_BYTES] = '\0';
    carry(); /* the largest message there is */
    assert_string_equal(out.user, in.user);

    in = (struct bk_channel_message){.type = BK_CHANNEL_RESULT, .number = 7, .box_n = 300};
    memset(in.box, 0xB1, in.box_n);
    carry();
    assert_int_equal(out.number, 7);
    assert_int_equal(out.box_n, 300);
    assert_memory_equal(out.box, in.box, in.box_n);
    for (int good = 0; good < 2; good++) {
        in = (struct bk_channel_message){.type = BK_CHANNEL_TOLD, .number = 255, .good = good != 0};
        carry();
        assert_int_equal(out.number, 255);
        assert_int_equal(out.good, good);
    }
}

/* What the idle part must never be made to send: a user's name that is none, a box of no bytes, one too large. */
static void test_bad_requests(void **state)
{
    enum { USER_AT = 1 + 18 + 8 + 1 + 2 + 1 + 18 + 1 + BK_CALL_ID_BYTES };
    static uint8_t buf[BK_CHANNEL_MAX_BYTES];

    (void)state;
    in = (struct bk_channel_message){
        .type = BK_CHANNEL_HELLO, .n_servers = 1, .fast = true, .user = "alice", .box_n = 10};
    assert_int_equal(bk_channel_send(pair[0], &in), BK_OK);
    assert_int_equal(recv(pair[1], buf, sizeof buf, 0), USER_AT + 1 + 5 + 10);
    assert_int_equal(buf[USER_AT], 5);
    buf[USER_AT + 1] = '\n';
    assert_int_equal(send(pair[0], buf, USER_AT + 16, 0), USER_AT + 16);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_E_MALFORMED);
    buf[USER_AT + 1] = 'a';
    assert_int_equal(send(pair[0], buf, USER_AT + 6, 0), USER_AT + 6);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_E_MALFORMED);
    assert_int_equal(send(pair[0], buf, USER_AT + 6 + BK_BOX_MAX_BYTES + 1, 0),
                     USER_AT + 6 + BK_BOX_MAX_BYTES + 1);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_E_MALFORMED);
    assert_int_equal(send(pair[0], buf, USER_AT + 6 + BK_BOX_MAX_BYTES, 0),
                     USER_AT + 6 + BK_BOX_MAX_BYTES);
    assert_int_equal(bk_channel_receive(pair[1], &out), BK_OK);
}

/* Every message cut short or made longer by one byte, and types there are not. */
static void test_garbage(void **state)
{
    uint8_t buf[BK_CHANNEL_MAX_BYTES + 1];

    (void)state;
    for (int type = BK_CHANNEL_HELLO; type <= BK_CHANNEL_TOLD; type++) {
        bool open_ended = type == BK_CHANNEL_RESULT; /* the box is all that follows */
        ssize_t n;

        in = (struct bk_channel_message){
            .type = (enum bk_channel_type)type, .n_dials = 1, .n_servers = 1, .box_n = 1};
        assert_int_equal(bk_channel_send(pair[0], &in), BK_OK);
        n = recv(pair[1], buf, sizeof buf, 0);
        assert_true(n > 0 && n < BK_CHANNEL_MAX_BYTES);
        for (size_t cut = 1; cut <= (size_t)n + !open_ended; cut++) {
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
        cmocka_unit_test_setup_teardown(test_questions, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_dials, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_requests, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_bad_requests, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_garbage, pair_make, pair_close),
        cmocka_unit_test_setup_teardown(test_ends, pair_make, pair_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
