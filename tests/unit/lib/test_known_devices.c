/* known_devices and the requester's state directory. */
#include "lib/place.h"

#include <sys/wait.h>

#include "lib/agent_config.h"
#include "lib/client_state.h"
#include "lib/files.h"
#include "seal/seal.h"

static uint8_t pin_a[BK_PIN_BYTES], pin_b[BK_PIN_BYTES];
static char text_a[BK_PIN_TEXT_BYTES];

static int group(void **state)
{
    (void)state;
    memset(pin_a, 0xA5, sizeof pin_a);
    memset(pin_b, 0x5A, sizeof pin_b);
    bk_pin_format(pin_a, text_a);
    return bk_seal_init() == BK_OK ? 0 : -1;
}

static void test_add_and_find(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    bool found = true;

    assert_int_equal(bk_known_find(p->dir, 1, &found, pin, &error), BECKON_OK); /* no file */
    assert_false(found);
    assert_int_equal(bk_known_add(p->dir, 1, pin_a, &error), BECKON_OK);
    assert_int_equal(bk_known_add(p->dir, BK_EQUIPMENT_ID_MAX, pin_b, &error), BECKON_OK);
    assert_int_equal(bk_known_add(p->dir, 1, pin_a, &error), BECKON_OK); /* again: no second line */
    assert_int_equal(bk_known_find(p->dir, 1, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_memory_equal(pin, pin_a, sizeof pin);
    assert_int_equal(bk_known_find(p->dir, BK_EQUIPMENT_ID_MAX, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_memory_equal(pin, pin_b, sizeof pin);
    assert_int_equal(bk_known_find(p->dir, 2, &found, pin, &error), BECKON_OK);
    assert_false(found);
}

/* Eight programs that pin at the same moment: no line is lost. */
static void test_added_side_by_side(void **state)
{
    enum { WRITERS = 8, EACH = 12 };
    struct place *p = *state;
    pid_t pids[WRITERS];
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];

    for (uint64_t w = 0; w < WRITERS; w++) {
        pids[w] = fork();
        assert_true(pids[w] >= 0);
        if (pids[w] == 0) {
            bool good = true;

            for (uint64_t i = 1; i <= EACH; i++) {
                good = good && bk_known_add(p->dir, 1000 * w + i, pin_a, &error) == BECKON_OK;
            }
            _exit(good ? 0 : 1);
        }
    }
    for (size_t w = 0; w < WRITERS; w++) {
        int status = -1;

        assert_int_equal(waitpid(pids[w], &status, 0), pids[w]);
        assert_int_equal(status, 0);
    }
    for (uint64_t w = 0; w < WRITERS; w++) {
        for (uint64_t i = 1; i <= EACH; i++) {
            bool found = false;

            assert_int_equal(bk_known_find(p->dir, 1000 * w + i, &found, pin, &error), BECKON_OK);
            assert_true(found);
        }
    }
}

static void test_changed(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    bool found;

    assert_int_equal(bk_known_add(p->dir, 7, pin_a, &error), BECKON_OK);
    assert_int_equal(bk_known_add(p->dir, 7, pin_b, &error), BECKON_KEY_CHANGED);
    assert_error(&error, BECKON_KEY_CHANGED, "device 7 shows another key");
    assert_error(&error, BECKON_KEY_CHANGED, "known_devices");
    assert_int_equal(bk_known_find(p->dir, 7, &found, pin, &error), BECKON_OK);
    assert_memory_equal(pin, pin_a, sizeof pin); /* kept */
}

/* A name keeps its ID, and the two kinds of lines do not get in each other's way. */
static void test_names(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    uint64_t id = 1;
    bool found;

    assert_int_equal(bk_known_name(p->dir, "lamp", &id, &error), BECKON_OK); /* no file */
    assert_int_equal(id, 0);
    assert_int_equal(bk_known_add_name(p->dir, "lamp", 2133, &error), BECKON_OK);
    assert_int_equal(bk_known_add(p->dir, 2133, pin_a, &error), BECKON_OK);
    assert_int_equal(bk_known_add_name(p->dir, "lamp2", 7, &error), BECKON_OK);
    assert_int_equal(bk_known_name(p->dir, "lamp", &id, &error), BECKON_OK);
    assert_int_equal(id, 2133);
    assert_int_equal(bk_known_name(p->dir, "lamp2", &id, &error), BECKON_OK);
    assert_int_equal(id, 7);
    assert_int_equal(bk_known_name(p->dir, "lam", &id, &error), BECKON_OK);
    assert_int_equal(id, 0);
    assert_int_equal(bk_known_find(p->dir, 2133, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_memory_equal(pin, pin_a, sizeof pin);
    assert_int_equal(bk_known_find(p->dir, 7, &found, pin, &error), BECKON_OK);
    assert_false(found); /* named, not pinned */
}

static void test_no_newline_at_end(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    char text[128];
    bool found;

    (void)snprintf(text, sizeof text, "# mine\n\n5 %s", text_a);
    place_write_text(p, "known_devices", text);
    assert_int_equal(bk_known_find(p->dir, 5, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_int_equal(bk_known_add(p->dir, 6, pin_b, &error), BECKON_OK);
    assert_int_equal(bk_known_find(p->dir, 5, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_memory_equal(pin, pin_a, sizeof pin);
    assert_int_equal(bk_known_find(p->dir, 6, &found, pin, &error), BECKON_OK);
    assert_true(found);
}

/* A line that was appended by whatever means takes nothing over. */
static void test_first_line_counts(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    char text[256], text_b[BK_PIN_TEXT_BYTES];
    uint64_t id;
    bool found;

    bk_pin_format(pin_b, text_b);
    (void)snprintf(text, sizeof text, "5 %s\nlamp 5\n5 %s\nlamp 6\n", text_a, text_b);
    place_write_text(p, "known_devices", text);
    assert_int_equal(bk_known_find(p->dir, 5, &found, pin, &error), BECKON_OK);
    assert_true(found);
    assert_memory_equal(pin, pin_a, sizeof pin);
    assert_int_equal(bk_known_name(p->dir, "lamp", &id, &error), BECKON_OK);
    assert_int_equal(id, 5);
    assert_int_equal(bk_known_add(p->dir, 5, pin_b, &error), BECKON_KEY_CHANGED);
}

static void test_malformed(void **state)
{
    static const char *const lines[] = {
        "1",      "1 ",       "x PIN",  "1  PIN", "1\tPIN", "0 PIN",   "1 PINx",
        "1 PIN ", "lamp 2 3", "lamp 0", "Lamp 2", " 1 PIN", "1 PIN\r", "9223372036854775808 PIN"};
    struct place *p = *state;
    struct beckon_error error;
    uint8_t pin[BK_PIN_BYTES];
    char text[256];
    bool found;

    for (size_t i = 0; i < COUNT(lines); i++) {
        const char *mark = strstr(lines[i], "PIN");
        size_t n = mark == NULL ? strlen(lines[i]) : (size_t)(mark - lines[i]);

        (void)snprintf(text, sizeof text, "2 %s\n# two\n%.*s%s%s\n", text_a, (int)n, lines[i],
                       mark == NULL ? "" : text_a, mark == NULL ? "" : mark + 3);
        place_write_text(p, "known_devices", text);
        assert_int_equal(bk_known_find(p->dir, 2, &found, pin, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, "/known_devices:3: not \"ID FINGERPRINT\"");
        assert_int_equal(bk_known_add(p->dir, 3, pin_b, &error), BECKON_BAD_CONFIG);
    }
}

static void test_size_limit(void **state)
{
    struct place *p = *state;
    struct beckon_error error;
    char *text = malloc(BK_FILE_MAX_BYTES + 1);
    uint8_t pin[BK_PIN_BYTES];
    bool found;

    assert_non_null(text);
    memset(text, '#', BK_FILE_MAX_BYTES + 1);
    place_write(p, "known_devices", text, BK_FILE_MAX_BYTES);
    assert_int_equal(bk_known_find(p->dir, 1, &found, pin, &error), BECKON_OK);
    assert_int_equal(bk_known_add(p->dir, 1, pin_a, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "is full");
    place_write(p, "known_devices", text, BK_FILE_MAX_BYTES + 1);
    assert_int_equal(bk_known_find(p->dir, 1, &found, pin, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "larger than 64 KiB");
    free(text);
}

static void test_pin_uri(void **state)
{
    struct place *p = *state;
    struct bk_uri uri = {.host = "h.example", .equipment_id = 2133};
    struct beckon_error error;
    char text[BK_URI_TEXT_BYTES], dir[160];
    uint8_t pin[BK_PIN_BYTES];
    bool found;

    memcpy(uri.pin, pin_a, sizeof uri.pin);
    assert_int_equal(bk_uri_write(&uri, text), BK_OK);
    place_path(p, "new", dir); /* made where it is missing */
    assert_int_equal(beckon_client_pin(dir, text, 0, &error), BECKON_OK);
    assert_int_equal(bk_known_find(dir, 2133, &found, pin, &error), BECKON_OK);
    assert_true(found);
    memcpy(uri.pin, pin_b, sizeof uri.pin);
    assert_int_equal(bk_uri_write(&uri, text), BK_OK);
    assert_int_equal(beckon_client_pin(dir, text, 0, &error), BECKON_KEY_CHANGED);
    assert_int_equal(beckon_client_pin(dir, "beckon://h/\n", 0, &error), BECKON_USAGE);
    assert_error(&error, BECKON_USAGE, "is no beckon:// URI");
    bk_file_remove(dir, "known_devices");
}

static void pin(const struct place *p, uint64_t equipment_id, const uint8_t *key, int replace,
                enum beckon_status expected)
{
    struct bk_uri uri = {.host = "h.example", .equipment_id = equipment_id};
    char text[BK_URI_TEXT_BYTES];
    struct beckon_error error;

    memcpy(uri.pin, key, sizeof uri.pin);
    assert_int_equal(bk_uri_write(&uri, text), BK_OK);
    assert_int_equal(beckon_client_pin(p->dir, text, replace, &error), expected);
}

/* Another key is taken only when told so; nothing else in the file is touched. */
static void test_replaced(void **state)
{
    struct place *p = *state;
    char a[BK_PIN_TEXT_BYTES], b[BK_PIN_TEXT_BYTES], text[512], expected[512];
    struct beckon_error error;
    uint8_t found_pin[BK_PIN_BYTES];
    size_t n;
    bool found;

    bk_pin_format(pin_a, a);
    bk_pin_format(pin_b, b);
    (void)snprintf(text, sizeof text, "# mine\n7 %s\nlamp 7\n\n8 %s\n7 %s\n# end", a, a, a);
    place_write_text(p, "known_devices", text);
    pin(p, 7, pin_b, 0, BECKON_KEY_CHANGED);
    pin(p, 7, pin_a, 1, BECKON_OK); /* nothing changes */
    assert_int_equal(bk_known_find(p->dir, 7, &found, found_pin, &error), BECKON_OK);
    assert_memory_equal(found_pin, pin_a, BK_PIN_BYTES);
    pin(p, 7, pin_b, 1, BECKON_OK);
    (void)snprintf(expected, sizeof expected, "# mine\n7 %s\nlamp 7\n\n8 %s\n# end\n", b, a);
    assert_int_equal(bk_file_read(p->dir, "known_devices", (uint8_t *)text, sizeof text, &n),
                     BK_OK);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(text, expected, n);
    pin(p, 7, pin_a, 0, BECKON_KEY_CHANGED);
    pin(p, 9, pin_a, 1, BECKON_OK); /* one that is not there */
    assert_int_equal(bk_known_find(p->dir, 9, &found, found_pin, &error), BECKON_OK);
    assert_true(found);
    place_write_text(p, "known_devices", "nonsense\n");
    pin(p, 7, pin_b, 1, BECKON_BAD_CONFIG);
}

/* ---- the state directory ---- */

static void make_state(const struct place *p, const char *config)
{
    char path[160];
    EVP_PKEY *key;
    X509 *cert;

    assert_int_equal(bk_x509_key_make(&key), BK_OK);
    assert_int_equal(bk_x509_make_ca(key, "Test CA", 1800000000, &cert), BK_OK);
    place_path(p, "user.key", path);
    assert_int_equal(bk_x509_key_save(path, key, true), BK_OK);
    place_path(p, "user.crt", path);
    assert_int_equal(bk_x509_save(path, cert, true), BK_OK);
    place_path(p, "ca.crt", path);
    assert_int_equal(bk_x509_save(path, cert, true), BK_OK);
    place_write_text(p, "beckon.conf", config);
    EVP_PKEY_free(key);
    X509_free(cert);
}

static void test_state(void **state)
{
    struct place *p = *state;
    struct bk_client_state s;
    struct beckon_error error;

    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED, "run \"beckon join\" first");
    make_state(p, "[client]\nserver = h.example\n");
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_int_equal(s.n_servers, 1);
    assert_string_equal(s.servers[0], "h.example");
    assert_int_equal(s.port, BK_SERVER_REQUEST_PORT);
    assert_non_null(s.own.key);
    bk_client_state_fini(&s);
    assert_null(s.own.key);
    place_write_text(p, "beckon.conf", "[client]\nserver = h\nport = 443\n");
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_int_equal(s.port, 443);
    bk_client_state_fini(&s);
}

/* Several servers of one operator, in the order in which they are tried. */
static void test_servers(void **state)
{
    static const char *const wrong[] = {"a,", ",a",  "a,,b",   "a b",
                                        ",",  " , ", "a, b c", "a,b,c,d,e"};
    struct place *p = *state;
    struct bk_client_state s;
    struct beckon_error error;
    char text[300];

    make_state(p, "[client]\nserver = a.example ,b.example,\t192.0.2.1, 2001:db8::1\n");
    assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_OK);
    assert_int_equal(s.n_servers, 4);
    assert_string_equal(s.servers[0], "a.example");
    assert_string_equal(s.servers[1], "b.example");
    assert_string_equal(s.servers[2], "192.0.2.1");
    assert_string_equal(s.servers[3], "2001:db8::1");
    bk_client_state_fini(&s);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        (void)snprintf(text, sizeof text, "[client]\nserver = %s\n", wrong[i]);
        place_write_text(p, "beckon.conf", text);
        if (bk_client_state_read(p->dir, &s, &error) != BECKON_BAD_CONFIG) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
        assert_error(&error, BECKON_BAD_CONFIG, "beckon.conf:2: \"server\" in [client]");
    }
}

static void test_state_mistakes(void **state)
{
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"[client]\nport = 1\n", "beckon.conf: [client] lacks server"},
        {"[client]\nserver =\n", "beckon.conf:2:"},
        {"[client]\nserver = h\nport = 0\n", "beckon.conf:3: \"port\" in [client]: not a port"},
        {"[client]\nserver = h\nprot = 1\n", "beckon.conf:3: \"prot\" in [client]: unknown key"},
        {"[agent]\nserver = h\n", "beckon.conf:2: \"server\" in [agent]: unknown section"},
        {"[client\n", "beckon.conf:1:"},
    };
    static const char *const files[] = {"user.key", "user.crt", "ca.crt"};
    struct place *p = *state;
    struct bk_client_state s;
    struct beckon_error error;

    for (size_t i = 0; i < COUNT(cases); i++) {
        make_state(p, cases[i].text);
        assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, cases[i].where);
    }
    for (size_t i = 0; i < COUNT(files); i++) { /* nothing of what was read before is left behind */
        make_state(p, "[client]\nserver = h\n");
        place_write_text(p, files[i], "no PEM\n");
        assert_int_equal(bk_client_state_read(p->dir, &s, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, files[i]);
        assert_null(s.own.key);
    }
}

static void test_addresses(void **state)
{
    static const struct {
        const char *listen, *advertise, *what;
    } cases[] = {
        {"5000", NULL, "--listen \"5000\" is not [ADDR]:PORT"},
        {"host:5000", NULL, "--listen"},
        {":65536", NULL, "--listen"},
        {NULL, "1.2.3.4:5000", "--advertise needs --listen"},
        {":5000", "1.2.3.4", "--advertise \"1.2.3.4\" is not ADDR:PORT"},
        {":5000", "1.2.3.4:0", "--advertise"},
    };
    struct place *p = *state;
    struct beckon_client *c;
    struct beckon_error error;

    make_state(p, "[client]\nserver = h\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct beckon_client_options options = {
            .state_dir = p->dir, .listen = cases[i].listen, .advertise = cases[i].advertise};

        assert_int_equal(beckon_client_new(&options, &c, &error), BECKON_USAGE);
        assert_null(c);
        assert_error(&error, BECKON_USAGE, cases[i].what);
    }
    for (size_t i = 0; i < 2; i++) {
        struct beckon_client_options options = {.state_dir = p->dir,
                                                .listen = i == 0 ? ":5000" : "127.0.0.1:5000",
                                                .advertise = "4.17.168.2:5000"};

        assert_int_equal(beckon_client_new(&options, &c, &error), BECKON_OK);
        beckon_client_free(c);
    }
    beckon_client_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_add_and_find),
        WITH_PLACE(test_changed),
        WITH_PLACE(test_names),
        WITH_PLACE(test_no_newline_at_end),
        WITH_PLACE(test_malformed),
        WITH_PLACE(test_size_limit),
        WITH_PLACE(test_pin_uri),
        WITH_PLACE(test_first_line_counts),
        WITH_PLACE(test_state),
        WITH_PLACE(test_servers),
        WITH_PLACE(test_state_mistakes),
        WITH_PLACE(test_addresses),
        WITH_PLACE(test_added_side_by_side),
        WITH_PLACE(test_replaced),
    };

    return cmocka_run_group_tests(tests, group, NULL);
}
