/* The small parts: the keyed hash, escaping, the audit line, options, the admin socket's address. */
#include "beckond/setup.h"

#include <sys/un.h>

#include "bin/beckond/audit.h"
#include "bin/beckond/cmd.h"
#include "bin/beckond/hmac_openssl.h"
#include "bin/beckond/say.h"
#include "bin/beckond/unix_path.h"
#include "seal/seal.h"
#include "wire/stun.h"

static void test_hmac(void **state)
{
    struct bk_mac_ops ours = bk_mac_openssl(), theirs = bk_mac_sodium();
    uint8_t bytes[300], a[BK_HMAC_SHA256_BYTES], b[BK_HMAC_SHA256_BYTES];

    (void)state;
    assert_int_equal(bk_seal_init(), BK_OK);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7);
    }
    for (size_t key = 0; key <= 130; key++) { /* across the block size of 64 */
        struct bk_slice parts[3] = {bk_slice(bytes, key), BK_SLICE_EMPTY,
                                    bk_slice(bytes + key, 150)};
        ours.hmac_sha256(ours.ctx, bk_slice(bytes, key), parts, 3, a);
        theirs.hmac_sha256(theirs.ctx, bk_slice(bytes, key), parts, 3, b);
        assert_memory_equal(a, b, sizeof a);
    }
}

static void a_key_made_ready_gives_the_same_mac(void **state)
{
    struct bk_mac_ops ours = bk_mac_openssl(), theirs = bk_mac_sodium();
    uint8_t bytes[300], key[BK_KEY_BYTES], a[BK_HMAC_SHA256_BYTES], b[BK_HMAC_SHA256_BYTES];
    struct bk_mac_key ready;

    (void)state;
    assert_int_equal(bk_seal_init(), BK_OK);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 11);
    }
    for (size_t n = 0; n <= sizeof bytes; n++) { /* across every edge of a block, and its padding */
        struct bk_slice part = bk_slice(bytes, n);
        memset(key, (int)(n + 1), sizeof key);
        bk_mac_prepare(&ours, key, &ready);
        bk_mac_prepared(&ours, &ready, part, a);
        theirs.hmac_sha256(theirs.ctx, BK_SLICE_OF(key), &part, 1, b);
        assert_memory_equal(a, b, sizeof a);
        bk_mac_prepared(&ours, &ready, part, a); /* it may be used again */
        assert_memory_equal(a, b, sizeof a);
        bk_mac_prepare(&theirs, key, &ready); /* where the operations know no better */
        bk_mac_prepared(&theirs, &ready, part, a);
        assert_memory_equal(a, b, sizeof a);
    }
}

static void test_escape(void **state)
{
    char out[32], small[8];

    (void)state;
    bk_say_escape(bk_slice_text("alice-1.x_y"), out, sizeof out);
    assert_string_equal(out, "alice-1.x_y");
    bk_say_escape(bk_slice_text("a b\n=\"\\"), out, sizeof out);
    assert_string_equal(out, "a\\x20b\\x0a\\x3d\\x22\\x5c");
    bk_say_escape(bk_slice("\0\x7f\xff", 3), out, sizeof out);
    assert_string_equal(out, "\\x00\\x7f\\xff");
    bk_say_escape(bk_slice_text("abcdefgh"), small, sizeof small);
    assert_string_equal(small, "abcd...");
    bk_say_escape(BK_SLICE_EMPTY, small, sizeof small);
    assert_string_equal(small, "");
}

static void test_audit(void **state)
{
    struct bk_server_action action = {.type = BK_SERVER_AUDIT};
    char line[BK_AUDIT_LINE_BYTES];

    (void)state;
    action.audit.how = BK_AUDIT_DELIVERED;
    action.audit.user = bk_slice_text("alice");
    action.audit.equipment_id = 2133;
    action.audit.from = bk_addr_v4(4, 17, 168, 2, 7000);
    action.audit.took_ms = 12;
    bk_audit_format(&action, line);
    assert_string_equal(
        line, "audit call device=2133 user=alice from=4.17.168.2:7000 result=delivered ms=12");
    action.audit.fast = true;
    bk_audit_format(&action, line);
    assert_string_equal(line, "audit call device=2133 user=alice from=4.17.168.2:7000 "
                              "result=delivered ms=12 form=fast");
    action.audit.fast = false;
    action.audit.user = bk_slice_text("x result=ok\n");
    action.audit.how = BK_AUDIT_OFFLINE;
    bk_audit_format(&action, line);
    assert_non_null(strstr(line, "user=x\\x20result\\x3dok\\x0a from="));
    assert_non_null(strstr(line, " result=offline "));
    action.audit.how = BK_AUDIT_CALL_REVOKED;
    action.audit.user = bk_slice_text("alice");
    bk_audit_format(&action, line);
    assert_string_equal(
        line, "audit call-end device=2133 user=alice from=4.17.168.2:7000 result=revoked ms=12");
    action.audit.how = BK_AUDIT_OVERLOADED;
    action.audit.left_out = 7;
    bk_audit_format(&action, line);
    assert_string_equal(line, "audit call device=2133 user=alice from=4.17.168.2:7000 "
                              "result=overloaded ms=12 left-out=7");
}

static void test_audit_renew(void **state)
{
    struct bk_identity device = {.role = BK_ROLE_DEVICE, .equipment_id = 2133};
    struct bk_identity user = {.role = BK_ROLE_USER, .name = "alice"};
    struct bk_renew_decision d = {.pending = true, .box_key = true};
    char line[BK_AUDIT_LINE_BYTES];

    (void)state;
    bk_audit_format_renew(&device, &d, line);
    assert_string_equal(line,
                        "audit renew device=2133 result=done certificate=pending box-key=new");
    d = (struct bk_renew_decision){.certificate_bytes = 1};
    bk_audit_format_renew(&user, &d, line);
    assert_string_equal(line, "audit renew user=alice result=done certificate=same box-key=-");
    d.fresh = true;
    bk_audit_format_renew(&user, &d, line);
    assert_string_equal(line, "audit renew user=alice result=done certificate=new box-key=-");
    d = (struct bk_renew_decision){.code = BK_CODE_FORBIDDEN};
    bk_audit_format_renew(&user, &d, line);
    assert_string_equal(line, "audit renew user=alice result=revoked certificate=- box-key=-");
}

struct given {
    const char *state, *hosts[2], *word;
    size_t n_hosts;
    bool json;
};

static enum beckon_status parse(struct given *g, int argc, const char *const *args)
{
    const struct bk_option options[] = {
        {"--state", &g->state, 1, NULL, NULL, true},
        {"--host", g->hosts, 2, &g->n_hosts, NULL, false},
        {"--json", NULL, 0, NULL, &g->json, false},
    };
    char *argv[16], *copies[16]; /* words move within argv */

    assert_true(argc <= 16);
    memset(g, 0, sizeof *g);
    for (int i = 0; i < argc; i++) {
        argv[i] = copies[i] = strdup(args[i]);
        assert_non_null(argv[i]);
    }
    enum beckon_status status = bk_cmd_options(argc, argv, options, 3, &g->word, 1);
    /* What was given is looked at by its copies in `args`. */
    for (int i = 0; i < argc; i++) {
        for (size_t h = 0; h < 2; h++) {
            g->hosts[h] = g->hosts[h] == copies[i] ? args[i] : g->hosts[h];
        }
        g->word = g->word == copies[i] ? args[i] : g->word;
        g->state = g->state == copies[i] ? args[i] : g->state;
        if (g->state == copies[i] + strlen("--state=")) {
            g->state = args[i] + strlen("--state=");
        }
        free(copies[i]);
    }
    return status;
}

#define PARSE(g, ...)                                                                              \
    parse(g, (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)),                  \
          (const char *[]){__VA_ARGS__})

static void test_options(void **state)
{
    struct given g;

    (void)state;
    assert_int_equal(
        PARSE(&g, "x", "create", "--state", "D", "--host", "a", "--json", "--host", "b"),
        BECKON_OK);
    assert_string_equal(g.state, "D");
    assert_string_equal(g.word, "create");
    assert_int_equal(g.n_hosts, 2);
    assert_string_equal(g.hosts[1], "b");
    assert_true(g.json);
    assert_int_equal(PARSE(&g, "x", "--state=D=1", "w"), BECKON_OK);
    assert_string_equal(g.state, "D=1");
    assert_int_equal(PARSE(&g, "x", "w"), BECKON_USAGE);             /* required */
    assert_int_equal(PARSE(&g, "x", "w", "--state"), BECKON_USAGE);  /* no value */
    assert_int_equal(PARSE(&g, "x", "w", "--state="), BECKON_USAGE); /* empty value */
    assert_int_equal(PARSE(&g, "x", "w", "--state=a", "--state=b"), BECKON_USAGE);
    assert_int_equal(PARSE(&g, "x", "w", "--state=a", "--json=1"), BECKON_USAGE);
    assert_int_equal(PARSE(&g, "x", "w", "--state=a", "--jso"), BECKON_USAGE);
    assert_int_equal(PARSE(&g, "x", "w", "v", "--state=a"), BECKON_USAGE); /* a word too many */
    assert_int_equal(PARSE(&g, "x", "--state=a"), BECKON_USAGE);           /* a word missing */
}

static void test_unix_path(void **state)
{
    struct sockaddr_un addr;
    char dir[200];

    (void)state;
    assert_int_equal(bk_unix_path("/var/lib/beckond", 5, &addr), BK_OK);
    assert_string_equal(addr.sun_path, "/var/lib/beckond/beckond.sock");
    memset(dir, 'd', sizeof dir);
    dir[sizeof dir - 1] = '\0';
    assert_int_equal(bk_unix_path(dir, 5, &addr), BK_OK);
    assert_string_equal(addr.sun_path, "/proc/self/fd/5/beckond.sock");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hmac),        cmocka_unit_test(a_key_made_ready_gives_the_same_mac),
        cmocka_unit_test(test_escape),      cmocka_unit_test(test_audit),
        cmocka_unit_test(test_options),     cmocka_unit_test(test_unix_path),
        cmocka_unit_test(test_audit_renew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
