/* Join tokens, beckon:// URIs and base64url: one text for each value, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "seal/seal.h"
#include "seal/text.h"

static int setup(void **state)
{
    (void)state;
    return bk_seal_init() == BK_OK ? 0 : -1;
}

static void base64(void **state)
{
    (void)state;
    struct {
        const char *plain;
        const char *text;
    } rows[] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xFB\xFF", "-_8"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[16];
        uint8_t back[16];
        size_t n;
        size_t length = strlen(rows[i].text);
        assert_int_equal(bk_base64_write(bk_slice_text(rows[i].plain), out, length + 1), BK_OK);
        assert_string_equal(out, rows[i].text);
        assert_int_equal(bk_base64_write(bk_slice_text(rows[i].plain), out, length), BK_E_NOSPACE);
        size_t exact = strlen(rows[i].plain);
        assert_int_equal(bk_base64_read(bk_slice_text(rows[i].text), back, exact, &n), BK_OK);
        assert_int_equal(n, exact);
        assert_memory_equal(back, rows[i].plain, n);
        if (exact > 0) {
            assert_int_equal(bk_base64_read(bk_slice_text(rows[i].text), back, exact - 1, &n),
                             BK_E_NOSPACE);
        }
    }
    const char *bad[] = {"A", "Zg=", "Zg==", "Zh", "Zm9vY", "Zm 8", "Zm8\n", "+w", "/w", "Zm9v."};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint8_t back[16];
        size_t n;
        assert_int_equal(bk_base64_read(bk_slice_text(bad[i]), back, sizeof back, &n),
                         BK_E_MALFORMED);
        assert_int_equal(n, 0);
    }
}

/* Every byte but the 64 of the alphabet is refused, at every position. */
static void base64_takes_its_alphabet_only(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (unsigned c = 0; c < 256; c++) {
        bool known = c != 0 && strchr(alphabet, (int)c) != NULL;
        for (size_t at = 0; at < 8; at++) {
            char text[] = "AAAAAAAA";
            uint8_t back[6];
            size_t n;
            text[at] = (char)c;
            assert_int_equal(bk_base64_read(bk_slice(text, 8), back, sizeof back, &n),
                             known ? BK_OK : BK_E_MALFORMED);
        }
    }
}

static struct bk_token sample(const char *host)
{
    struct bk_token t;
    memset(&t, 0, sizeof t);
    t.role = BK_ROLE_DEVICE;
    memset(t.secret, 0x5E, sizeof t.secret);
    memset(t.ca_pin, 0xCA, sizeof t.ca_pin);
    t.port = 1201;
    memcpy(t.host, host, strlen(host) + 1);
    return t;
}

static void tokens(void **state)
{
    (void)state;
    char longest[BK_HOST_MAX_BYTES + 1];
    memset(longest, 'h', BK_HOST_MAX_BYTES);
    longest[BK_HOST_MAX_BYTES] = '\0';
    const char *hosts[] = {"a", "rendezvous.example.com", "130.74.23.6", "2001:db8::1", longest};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct bk_token in = sample(hosts[i]);
        struct bk_token back;
        char text[BK_TOKEN_TEXT_BYTES];
        in.role = i % 2 == 0 ? BK_ROLE_DEVICE : BK_ROLE_USER;
        assert_int_equal(bk_token_write(&in, text), BK_OK);
        assert_memory_equal(text, "beckon1.", 8);
        assert_int_equal(bk_token_read(bk_slice_text(text), &back), BK_OK);
        assert_int_equal(back.role, in.role);
        assert_int_equal(back.port, in.port);
        assert_string_equal(back.host, in.host);
        assert_memory_equal(back.secret, in.secret, sizeof in.secret);
        assert_memory_equal(back.ca_pin, in.ca_pin, sizeof in.ca_pin);
        size_t length = strlen(text);
        for (size_t n = 0; n < length; n++) { /* cut short, and each character mistyped */
            char was = text[n];
            assert_int_equal(bk_token_read(bk_slice(text, n), &back), BK_E_MALFORMED);
            text[n] = was == 'A' ? 'B' : 'A';
            assert_int_equal(bk_token_read(bk_slice_text(text), &back), BK_E_MALFORMED);
            assert_int_equal(back.port, 0);
            text[n] = was;
        }
    }
}

static void tokens_out_of_range(void **state)
{
    (void)state;
    char text[BK_TOKEN_TEXT_BYTES];
    const char *hosts[] = {"", "-oProxyCommand=x", "a b", "a/b", "a\nb", "[::1]", "h\xC3\xB6st"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        struct bk_token in = sample(hosts[i]);
        assert_int_equal(bk_token_write(&in, text), BK_E_RANGE);
    }
    struct bk_token in = sample("host");
    in.port = 0;
    assert_int_equal(bk_token_write(&in, text), BK_E_RANGE);
    in = sample("host");
    in.role = BK_ROLE_SERVER;
    assert_int_equal(bk_token_write(&in, text), BK_E_RANGE);
}

/* Right checksum, wrong inside: made by hand from the documented layout. */
static void well_summed_nonsense(void **state)
{
    (void)state;
    struct {
        uint8_t role;
        uint8_t port;
        const char *host;
        enum bk_err expected;
    } rows[] = {
        {2, 1, "host", BK_OK},           {3, 1, "host", BK_OK},
        {1, 1, "host", BK_E_MALFORMED},  {4, 1, "host", BK_E_MALFORMED},
        {2, 0, "host", BK_E_MALFORMED},  {2, 1, "", BK_E_MALFORMED},
        {2, 1, "-host", BK_E_MALFORMED}, {2, 1, "ho st", BK_E_MALFORMED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t bytes[128] = {rows[i].role};
        uint8_t sum[32];
        char text[BK_TOKEN_TEXT_BYTES] = "beckon1.";
        struct bk_token back;
        size_t n = 1 + 16 + 32;
        bytes[n++] = 0;
        bytes[n++] = rows[i].port;
        memcpy(bytes + n, rows[i].host, strlen(rows[i].host));
        n += strlen(rows[i].host);
        struct bk_slice part = bk_slice(bytes, n);
        bk_sha256(&part, 1, sum);
        memcpy(bytes + n, sum, 4);
        assert_int_equal(bk_base64_write(bk_slice(bytes, n + 4), text + 8, sizeof text - 8), BK_OK);
        assert_int_equal(bk_token_read(bk_slice_text(text), &back), rows[i].expected);
    }
}

#define PIN "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void uris(void **state)
{
    (void)state;
    const char *good[] = {"beckon://rendezvous.example.com/2133#" PIN,
                          "beckon://130.74.23.6/1#" PIN, "beckon://[2001:db8::1]/2133#" PIN,
                          "beckon://h/9223372036854775807#" PIN};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct bk_uri uri;
        char text[BK_URI_TEXT_BYTES];
        assert_int_equal(bk_uri_read(bk_slice_text(good[i]), &uri), BK_OK);
        assert_int_equal(bk_uri_write(&uri, text), BK_OK);
        assert_string_equal(text, good[i]);
        for (size_t n = 0; n < strlen(good[i]); n++) {
            assert_int_equal(bk_uri_read(bk_slice(good[i], n), &uri), BK_E_MALFORMED);
        }
    }
    struct bk_uri uri;
    assert_int_equal(bk_uri_read(bk_slice_text(good[2]), &uri), BK_OK);
    assert_string_equal(uri.host, "2001:db8::1");
    assert_true(uri.equipment_id == 2133);
}

static void no_uris(void **state)
{
    (void)state;
    const char *bad[] = {"http://h/1#" PIN,     "BECKON://h/1#" PIN,     "beckon://h/0#" PIN,
                         "beckon://h/01#" PIN,  "beckon://h/1#" PIN "A", "beckon:///1#" PIN,
                         "beckon://h/#" PIN,    "beckon://h/1/#" PIN,    "beckon://h:1201/1#" PIN,
                         "beckon://::1/1#" PIN, "beckon://[h]/1#" PIN,   "beckon://[/1#" PIN,
                         "beckon://[]/1#" PIN,  "beckon://-h/1#" PIN,    "beckon://h/1?#" PIN,
                         "beckon://h/1# " PIN,  "beckon://u@h/1#" PIN};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct bk_uri uri;
        assert_int_equal(bk_uri_read(bk_slice_text(bad[i]), &uri), BK_E_MALFORMED);
    }
    struct bk_uri uri = {"h", 0, {0}};
    char text[BK_URI_TEXT_BYTES];
    assert_int_equal(bk_uri_write(&uri, text), BK_E_RANGE);
    uri.equipment_id = UINT64_MAX;
    assert_int_equal(bk_uri_write(&uri, text), BK_E_RANGE);
    memset(uri.host, 'h', BK_HOST_MAX_BYTES);
    uri.equipment_id = INT64_MAX;
    assert_int_equal(bk_uri_write(&uri, text), BK_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64),
        cmocka_unit_test(base64_takes_its_alphabet_only),
        cmocka_unit_test(tokens),
        cmocka_unit_test(tokens_out_of_range),
        cmocka_unit_test(well_summed_nonsense),
        cmocka_unit_test(uris),
        cmocka_unit_test(no_uris),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
