/* The texts of the library: statuses, error lines, forward specifications, call names, authorities, tokens. */
#include "lib/place.h"

#include <errno.h>

#include "lib/enrolment.h"
#include "lib/fail.h"
#include "lib/forward_spec.h"
#include "lib/names.h"
#include "lib/outgoing_text.h"
#include "lib/stream_text.h"

/* Every status has a short name of its own, and all others none. */
static void test_status_names(void **state)
{
    const char *names[BECKON_PENDING + 1];

    (void)state;
    for (int s = BECKON_OK; s <= BECKON_PENDING; s++) {
        names[s] = beckon_status_name((enum beckon_status)s);
        assert_non_null(names[s]);
        assert_string_not_equal(names[s], "unknown");
        assert_true(strspn(names[s], "abcdefghijklmnopqrstuvwxyz-") == strlen(names[s]));
        for (int t = BECKON_OK; t < s; t++) {
            assert_string_not_equal(names[s], names[t]);
        }
    }
    assert_string_equal(beckon_status_name((enum beckon_status)(BECKON_PENDING + 1)), "unknown");
}

static char logged[2048];

static void on_log(void *ctx, int level, const char *line)
{
    assert_null(ctx);
    assert_int_equal(level, 1);
    (void)snprintf(logged, sizeof logged, "%s", line);
}

static void test_one_line(void **state)
{
    struct beckon_error error;
    char much[3000];

    (void)state;
    assert_int_equal(bk_fail(&error, BECKON_BUSY, "a\nb\r\x1b[0m%s\x7f", "\t\xC3\xA4"),
                     BECKON_BUSY);
    assert_string_equal(error.text, "a?b??[0m?\xC3\xA4?");
    assert_int_equal(error.status, BECKON_BUSY);
    assert_int_equal(bk_fail(NULL, BECKON_OFFLINE, "x"), BECKON_OFFLINE);
    memset(much, 'm', sizeof much);
    much[sizeof much - 1] = '\0';
    (void)bk_fail(&error, BECKON_FAILED, "%s", much);
    assert_int_equal(strlen(error.text), BECKON_ERROR_TEXT_BYTES - 1);
    bk_log(on_log, NULL, 1, "%s", "peer says\nhello");
    assert_string_equal(logged, "peer says?hello");
    bk_log(on_log, NULL, 1, "%s", much);
    assert_int_equal(strlen(logged), 1023);
    bk_log(NULL, NULL, 1, "%s", much);
}

static void test_failures(void **state)
{
    static const enum beckon_status expected[] = {
        [BK_FAIL_SERVER] = BECKON_SERVER_DOWN,
        [BK_FAIL_SERVER_PROTOCOL] = BECKON_FAILED,
        [BK_FAIL_UNKNOWN_DEVICE] = BECKON_UNKNOWN_DEVICE,
        [BK_FAIL_REVOKED] = BECKON_REVOKED,
        [BK_FAIL_USER_REVOKED] = BECKON_REVOKED,
        [BK_FAIL_OFFLINE] = BECKON_OFFLINE,
        [BK_FAIL_OVERLOADED] = BECKON_BUSY,
        [BK_FAIL_CERTIFICATE] = BECKON_KEY_CHANGED,
        [BK_FAIL_PIN_CHANGED] = BECKON_KEY_CHANGED,
        [BK_FAIL_PIN_REFUSED] = BECKON_KEY_CHANGED,
        [BK_FAIL_NO_CANDIDATE] = BECKON_NO_MAPPING,
        [BK_FAIL_PASSWORD] = BECKON_REFUSED,
        [BK_FAIL_NO_PASSWORD] = BECKON_REFUSED,
        [BK_FAIL_KEY] = BECKON_REFUSED,
        [BK_FAIL_BACK_OFF] = BECKON_REFUSED,
        [BK_FAIL_NO_SERVICE] = BECKON_NO_SERVICE,
        [BK_FAIL_NO_ANSWER] = BECKON_NO_PATH,
        [BK_FAIL_BUSY] = BECKON_BUSY,
        [BK_FAIL_STALE] = BECKON_FAILED,
    };
    const uint8_t pin[BK_PIN_BYTES] = {0};
    struct bk_outgoing_facts facts = {.server = "h.example",
                                      .server_text = "",
                                      .why = "",
                                      .state_dir = "/state",
                                      .equipment_id = 2133,
                                      .pin = pin};
    static struct beckon_error errors[COUNT(expected)];

    (void)state;
    for (size_t i = 0; i < COUNT(expected); i++) {
        bk_outgoing_error((enum bk_requester_failure)i, &facts, &errors[i]);
        assert_int_equal(errors[i].status, expected[i]);
        assert_error(&errors[i], expected[i], "; "); /* what happened; what to do */
        assert_true(strlen(errors[i].text) < BECKON_ERROR_TEXT_BYTES - 1);
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(errors[i].text, errors[j].text);
        }
    }
    assert_error(&errors[BK_FAIL_SERVER], BECKON_SERVER_DOWN,
                 "server h.example: it does not answer");
    assert_error(&errors[BK_FAIL_PIN_CHANGED], BECKON_KEY_CHANGED, "/state/known_devices");
    assert_error(&errors[BK_FAIL_PIN_REFUSED], BECKON_KEY_CHANGED,
                 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_error(&errors[BK_FAIL_PIN_CHANGED], BECKON_KEY_CHANGED, "beckon pin --replace URI");
    assert_error(&errors[BK_FAIL_KEY], BECKON_REFUSED, "\"beckon key\"");
    facts.expired = true;
    bk_outgoing_error(BK_FAIL_CERTIFICATE, &facts, &errors[0]);
    assert_error(&errors[0], BECKON_KEY_CHANGED, "offered an expired box key: the device");
    facts.expired = false;
    facts.untimely = true;
    bk_outgoing_error(BK_FAIL_CERTIFICATE, &facts, &errors[0]);
    assert_error(&errors[0], BECKON_KEY_CHANGED, "check this host's clock; if that is right");
    assert_true(strlen(errors[0].text) < BECKON_ERROR_TEXT_BYTES - 1);
    facts.server_text = "its certificate has expired";
    facts.why = "UPnP-IGD: no router answers";
    bk_outgoing_error(BK_FAIL_SERVER, &facts, &errors[0]);
    assert_error(&errors[0], BECKON_SERVER_DOWN, "its certificate has expired");
    bk_outgoing_error(BK_FAIL_NO_CANDIDATE, &facts, &errors[0]);
    assert_error(&errors[0], BECKON_NO_MAPPING, "(UPnP-IGD: no router answers)");
    facts.accepted = true;
    bk_outgoing_error(BK_FAIL_NO_ANSWER, &facts, &errors[0]);
    assert_error(&errors[0], BECKON_NO_PATH, "nor we it (UPnP-IGD: no router answers); ");
}

static void test_device_that_says_nothing(void **state)
{
    struct bk_outgoing_facts facts = {.server = "h.example", .why = "UPnP-IGD: no router answers"};
    struct beckon_error error;

    (void)state;
    bk_outgoing_error(BK_FAIL_NO_ANSWER, &facts, &error);
    assert_error(&error, BECKON_NO_PATH, "did not say what became of it; look at beckon-agent");
}

static void test_forward_spec(void **state)
{
    static const char *const bad[] = {"",          "8080",         ":ssh",        "0:ssh",
                                      "65536:ssh", "8080:",        "8080:SSH",    "127.0.0.1:ssh",
                                      "x:80:ssh",  "1.2.3:80:ssh", "::1:80:ssh",  "[::1]:0:ssh",
                                      "80 :ssh",   "-1:ssh",       "[::1]:80ssh", "80:s:sh"};
    struct bk_forward_spec spec;
    char text[BK_ADDR_TEXT_BYTES], long_name[80] = "80:";

    (void)state;
    assert_int_equal(bk_forward_spec_read("1:ssh", &spec), BK_OK);
    bk_addr_format(&spec.addr, text);
    assert_string_equal(text, "127.0.0.1:1");
    assert_string_equal(spec.service, "ssh");
    assert_int_equal(bk_forward_spec_read("0.0.0.0:65535:web.1", &spec), BK_OK);
    bk_addr_format(&spec.addr, text);
    assert_string_equal(text, "0.0.0.0:65535");
    assert_string_equal(spec.service, "web.1");
    assert_int_equal(bk_forward_spec_read("[2001:db8::1]:80:a", &spec), BK_OK);
    bk_addr_format(&spec.addr, text);
    assert_string_equal(text, "[2001:db8::1]:80");
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (bk_forward_spec_read(bad[i], &spec) != BK_E_MALFORMED) {
            fail_msg("\"%s\" was taken", bad[i]);
        }
    }
    memset(long_name + 3, 'n', BK_NAME_MAX_BYTES + 1);
    assert_int_equal(bk_forward_spec_read(long_name, &spec), BK_E_MALFORMED);
    long_name[3 + BK_NAME_MAX_BYTES] = '\0';
    assert_int_equal(bk_forward_spec_read(long_name, &spec), BK_OK);
}

/* The server name of a call is 32 digits of SHA-256("beckon call name 1" | call ID). */
static void test_call_name(void **state)
{
    uint8_t id[BK_CALL_ID_BYTES] = {0};
    char name[BK_CALL_NAME_BYTES], other[BK_CALL_NAME_BYTES];

    (void)state;
    for (uint8_t i = 0; i < sizeof id; i++) {
        id[i] = i;
    }
    bk_call_name(id, name);
    assert_string_equal(name, "0dd00b5045824c1c9c5666f7f6b6b1f0.call.invalid");
    id[15] ^= 1;
    bk_call_name(id, other);
    assert_string_not_equal(name, other);
}

static void test_stream_texts(void **state)
{
    static const struct {
        struct bk_h2_outcome outcome;
        enum beckon_status status;
        const char *what;
    } cases[] = {
        {{.how = BK_H2_REFUSED, .status = 404}, BECKON_NO_SERVICE, "offers no service \"web\""},
        {{.how = BK_H2_REFUSED, .status = 502},
         BECKON_NO_SERVICE,
         "\"web\" does not answer on the device"},
        {{.how = BK_H2_REFUSED, .status = 503}, BECKON_NO_SERVICE, "\"web\""},
        {{.how = BK_H2_RESET}, BECKON_FAILED, "\"web\" broke the connection off"},
        {{.how = BK_H2_LOCAL, .local_errno = EPIPE}, BECKON_FAILED, "Broken pipe"},
        {{.how = BK_H2_LOST}, BECKON_FAILED, "was lost"},
    };
    struct bk_h2_outcome clean = {.how = BK_H2_CLEAN, .status = 200};
    char name[BK_NAME_MAX_BYTES + 1], authority[BK_AUTHORITY_BYTES];
    struct beckon_error error;

    (void)state;
    assert_int_equal(bk_stream_error(&clean, "web", &error), BECKON_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(bk_stream_error(&cases[i].outcome, "web", &error), cases[i].status);
        assert_error(&error, cases[i].status, cases[i].what);
    }
    bk_authority("ssh", authority);
    assert_string_equal(authority, "ssh:1");
    memset(name, 'n', BK_NAME_MAX_BYTES);
    name[BK_NAME_MAX_BYTES] = '\0';
    bk_authority(name, authority);
    assert_int_equal(strlen(authority), BK_NAME_MAX_BYTES + 2);
    assert_string_equal(authority + BK_NAME_MAX_BYTES, ":1");
}

static void test_token(void **state)
{
    struct bk_token token = {.role = BK_ROLE_DEVICE, .port = 1201, .host = "h.example"}, out;
    char text[BK_TOKEN_TEXT_BYTES + 4];
    struct beckon_error error;

    (void)state;
    assert_int_equal(bk_token_write(&token, text), BK_OK);
    assert_int_equal(bk_token_check(text, BK_ROLE_DEVICE, &out, &error), BECKON_OK);
    assert_string_equal(out.host, "h.example");
    strncat(text, "\r\n", 3);
    assert_int_equal(bk_token_check(text, BK_ROLE_DEVICE, &out, &error), BECKON_OK);
    assert_int_equal(bk_token_check(text, BK_ROLE_USER, &out, &error), BECKON_BAD_TOKEN);
    assert_error(&error, BECKON_BAD_TOKEN, "for a device; use it with \"beckon-agent join\"");
    text[20] = text[20] == 'A' ? 'B' : 'A'; /* mistyped */
    assert_int_equal(bk_token_check(text, BK_ROLE_DEVICE, &out, &error), BECKON_BAD_TOKEN);
    assert_error(&error, BECKON_BAD_TOKEN, "this is no join token");
    assert_int_equal(bk_token_check("", BK_ROLE_DEVICE, &out, &error), BECKON_BAD_TOKEN);
    assert_int_equal(bk_token_check("\n \n", BK_ROLE_DEVICE, &out, &error), BECKON_BAD_TOKEN);
    token.role = BK_ROLE_USER;
    assert_int_equal(bk_token_write(&token, text), BK_OK);
    assert_int_equal(bk_token_check(text, BK_ROLE_USER, &out, &error), BECKON_OK);
    assert_int_equal(bk_token_check(text, BK_ROLE_DEVICE, &out, &error), BECKON_BAD_TOKEN);
    assert_error(&error, BECKON_BAD_TOKEN, "for a user; use it with \"beckon join\"");
}

static int group(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_names), cmocka_unit_test(test_one_line),
        cmocka_unit_test(test_failures),     cmocka_unit_test(test_device_that_says_nothing),
        cmocka_unit_test(test_forward_spec), cmocka_unit_test(test_call_name),
        cmocka_unit_test(test_stream_texts), cmocka_unit_test(test_token),
    };

    return cmocka_run_group_tests(tests, group, NULL);
}
