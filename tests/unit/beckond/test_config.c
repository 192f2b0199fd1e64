/* beckond.conf: what is taken, and that every mistake names its file and line. */
#include "beckond/setup.h"

#include "bin/beckond/config.h"

static enum bk_err load(struct place *p, const char *text, struct bk_config *c,
                        char why[BK_CONFIG_WHY_BYTES])
{
    FILE *f = fopen(p->path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    why[0] = '\0';
    return bk_config_load(p->path, c, why);
}

static void test_defaults(void **state)
{
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES];
    static const uint8_t wildcard[16] = {0};

    assert_int_equal(load(*state, "[server]\nhost = rendezvous.example.com\n", &c, why), BK_OK);
    assert_string_equal(c.host, "rendezvous.example.com");
    assert_int_equal(c.udp_port, 1200);
    assert_int_equal(c.request_port, 1201);
    assert_int_equal(c.agent_port, 1300);
    assert_int_equal(c.max_devices, 1000000);
    assert_int_equal(c.workers, 0); /* one for each processor */
    assert_true(c.fast_form);
    assert_true(c.answer_binding);
    assert_int_equal(c.binding_per_second, 10);
    assert_int_equal(c.requests_per_second, 20);
    assert_string_equal(c.user, "");
    assert_int_equal(c.second_udp_port, 1202);
    assert_true(c.relay);
    assert_int_equal(c.relay_first_port, 49152);
    assert_int_equal(c.relay_last_port, 65535);
    assert_int_equal(c.relay_address4.port, 0);
    assert_int_equal(c.relay_address6.port, 0);
    assert_false(c.relay_connect);
    assert_int_equal(c.relay_user_allocations, 16);
    assert_int_equal(c.relay_allocations, 1000);
    assert_int_equal(c.relay_user_bytes_per_s, 0);
    assert_int_equal(c.relay_bytes_per_s, 0);
    assert_string_equal(c.external_relay, "");
    assert_int_equal(c.n_listen, 1);
    assert_memory_equal(c.listen[0].ip, wildcard, sizeof wildcard);
}

static void test_all_settings(void **state)
{
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES], text[BK_ADDR_TEXT_BYTES];

    assert_int_equal(load(*state,
                          "# a comment\n\n[server]\nhost = 130.74.23.6\n  listen = 130.74.23.6\n"
                          "listen = 2001:db8::1\nudp_port=1\nrequest_port = 443 ; a comment\n"
                          "agent_port = 443\nmax_devices = 5\nanswer_binding = no\n"
                          "binding_per_second = 7\nrequests_per_second = 0\nuser = beckon-1\n"
                          "workers = 64\nfast_form = no",
                          &c, why),
                     BK_OK);
    assert_int_equal(c.workers, 64);
    assert_false(c.fast_form);
    assert_int_equal(c.n_listen, 2);
    bk_addr_format_ip(&c.listen[0], text);
    assert_string_equal(text, "130.74.23.6");
    bk_addr_format_ip(&c.listen[1], text);
    assert_string_equal(text, "2001:db8::1");
    assert_int_equal(c.udp_port, 1);
    assert_int_equal(c.request_port, 443);
    assert_int_equal(c.agent_port, 443);
    assert_int_equal(c.max_devices, 5);
    assert_false(c.answer_binding);
    assert_int_equal(c.binding_per_second, 7);
    assert_int_equal(c.requests_per_second, 0);
    assert_string_equal(c.user, "beckon-1");
}

static void test_relay_settings(void **state)
{
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES], text[BK_ADDR_TEXT_BYTES];

    assert_int_equal(load(*state,
                          "[server]\nhost = h\nsecond_udp_port = 0\nrelay = no\n"
                          "relay_ports = 50000-50000\nrelay_address = 130.74.23.6\n"
                          "relay_address = 2001:db8::1\nrelay_connect = yes\n"
                          "relay_allocations = 65536\nrelay_user_allocations = 1\n"
                          "relay_bytes_per_second = 10000\nrelay_user_bytes_per_second = 0\n"
                          "external_relay = [2001:db8::2]:3478\nexternal_relay_secret = a b;c\n",
                          &c, why),
                     BK_OK);
    assert_int_equal(c.second_udp_port, 0);
    assert_false(c.relay);
    assert_int_equal(c.relay_first_port, 50000);
    assert_int_equal(c.relay_last_port, 50000);
    bk_addr_format_ip(&c.relay_address4, text);
    assert_string_equal(text, "130.74.23.6");
    bk_addr_format_ip(&c.relay_address6, text);
    assert_string_equal(text, "2001:db8::1");
    assert_true(c.relay_connect);
    assert_int_equal(c.relay_allocations, 65536);
    assert_int_equal(c.relay_user_allocations, 1);
    assert_int_equal(c.relay_bytes_per_s, 10000);
    assert_string_equal(c.external_relay, "[2001:db8::2]:3478");
    assert_string_equal(c.external_relay_secret, "a b;c");
    assert_int_equal(load(*state, "[server]\nhost = h\nudp_port = 65534\n", &c, why), BK_OK);
    assert_int_equal(c.second_udp_port, 0);
}

static void test_host_port(void **state)
{
    static const struct {
        const char *text, *host; /* NULL: refused */
        uint16_t port;
    } rows[] = {
        {"turn.example:3478", "turn.example", 3478},
        {"1.2.3.4:1", "1.2.3.4", 1},
        {"[::1]:65535", "::1", 65535},
        {"turn.example", NULL, 0},
        {"turn.example:", NULL, 0},
        {":3478", NULL, 0},
        {"turn.example:0", NULL, 0},
        {"turn.example:65536", NULL, 0},
        {"::1:3478", NULL, 0},
        {"[::1]3478", NULL, 0},
        {"[turn.example]:3478", NULL, 0},
        {"[]:1", NULL, 0},
        {"[:1", NULL, 0},
        {"", NULL, 0},
        {":", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bk_slice host;
        uint16_t port = 0;
        bool ok = bk_config_host_port(bk_slice_text(rows[i].text), &host, &port);
        assert_int_equal(ok, rows[i].host != NULL);
        if (ok) {
            assert_true(bk_slice_equal(host, bk_slice_text(rows[i].host)));
            assert_int_equal(port, rows[i].port);
        }
    }
}

/* What init writes reads as the defaults, and so it does with every comment sign before a setting taken
 * away: the file tells the truth about the defaults. */
static void test_template(void **state)
{
    static char text[BK_CONFIG_TEMPLATE_BYTES], bare[BK_CONFIG_TEMPLATE_BYTES];
    struct bk_config plain, spelt;
    char why[BK_CONFIG_WHY_BYTES];
    size_t n = 0;

    assert_int_equal(bk_config_template("h.example", text, sizeof text), BK_OK);
    assert_int_equal(load(*state, text, &plain, why), BK_OK);
    for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        const char *equals = memchr(line, '=', (size_t)(end - line));
        const char *from = line[0] == '#' && equals != NULL ? line + 2 : line;
        memcpy(bare + n, from, (size_t)(end + 1 - from));
        n += (size_t)(end + 1 - from);
    }
    assert_non_null(strstr(bare, "\nagent_port = 1300\n"));
    assert_int_equal(load(*state, bare, &spelt, why), BK_OK);
    assert_memory_equal(&plain, &spelt, sizeof plain);
    assert_int_equal(bk_config_template("h.example", text, 40), BK_E_NOSPACE);
}

static void test_mistakes(void **state)
{
    static const struct {
        const char *text;
        const char *where; /* what the message must contain */
    } cases[] = {
        {"[server]\nhost = h\nprot = 1\n", "/file:3: there is no setting named prot"},
        {"[server]\nhost = h\n\nudp_port = 0\n", "/file:4: udp_port = 0"},
        {"[server]\nhost = h\nudp_port = 65536\n", "/file:3: udp_port = 65536"},
        {"[server]\nhost = h\nudp_port = 12x\n", "/file:3:"},
        {"[server]\nhost = h\nudp_port =\n", "/file:3:"},
        {"[server]\nhost = h\nanswer_binding = true\n", "yes or no"},
        {"[server]\nhost = h\nmax_devices = 0\n", "/file:3: max_devices"},
        {"[server]\nhost = h\nworkers = 0\n", "a number, 1 to 64"},
        {"[server]\nhost = h\nworkers = 65\n", "a number, 1 to 64"},
        {"[server]\nhost = h\nfast_form = fast\n", "yes or no"},
        {"[server]\nhost = h\nbinding_per_second = -1\n", "/file:3: binding_per_second"},
        {"[server]\nhost = h\nrequests_per_second = 1000001\n", "0 (no limit) to 1000000"},
        {"[server]\nhost = h\nuser = -x\n", "/file:3: user = -x"},
        {"[server]\nhost = h\nuser = a b\n", "the name of a user"},
        {"[server]\nhost = h\nuser = abcdefghijklmnopqrstuvwxyz0123456\n", "/file:3: user"},
        {"[server]\nhost = h\n  prot = 1\n", "/file:3: there is no setting named prot"},
        {"[server]\nhost = h\nlisten = eth0\n", "/file:3: listen = eth0"},
        {"[server]\nhost = h\nlisten = 1.2.3.4:80\n", "without a port"},
        {"[server]\nhost = h\nhost = i\n", "/file:3: host is given twice"},
        {"[server]\nhost = h i\n", "/file:2: host = h i"},
        {"[server]\nhost = 1.2.3\n", "/file:2:"},
        {"[server]\nhost = \x1b[31m\x7f\n", "/file:2: host = ?[31m? is"},
        {"[sever]\n", "/file:1: there is no section [sever]"},
        {"host = h\n", "/file:1: there is no section []"},
        {"[server]\nhost = h\n[agent]\n", "/file:3: there is no section [agent]"},
        {"[server]\nhost = h\nwhat is this\n", "/file:3: neither"},
        {"[server]\nhost = h\n  udp_port 12\n", "/file:3: neither"},
        {"[server]\nhost = h\nsecond_udp_port = 1200\n", "another port than udp_port"},
        {"[server]\nhost = h\nsecond_udp_port = 65536\n", "or 0 for none"},
        {"[server]\nhost = h\nrelay = 1\n", "yes or no"},
        {"[server]\nhost = h\nrelay_ports = 1023-2000\n", "FIRST-LAST"},
        {"[server]\nhost = h\nrelay_ports = 2000-1999\n", "FIRST-LAST"},
        {"[server]\nhost = h\nrelay_ports = 2000-65536\n", "FIRST-LAST"},
        {"[server]\nhost = h\nrelay_ports = 2000\n", "FIRST-LAST"},
        {"[server]\nhost = h\nrelay_ports = -\n", "FIRST-LAST"},
        {"[server]\nhost = h\nrelay_address = h\n", "without a port"},
        {"[server]\nhost = h\nrelay_address = 1.1.1.1\nrelay_address = 1.1.1.2\n",
         "/file:4: relay_address = 1.1.1.2"},
        {"[server]\nhost = h\nrelay_allocations = 0\n", "1 to 65536"},
        {"[server]\nhost = h\nrelay_user_allocations = 65537\n", "1 to 65536"},
        {"[server]\nhost = h\nrelay_bytes_per_second = 9999\n", "10000 or more"},
        {"[server]\nhost = h\nrelay_user_bytes_per_second = 1000000000001\n", "10000 or more"},
        {"[server]\nhost = h\nexternal_relay = turn.example\n", "HOST:PORT"},
        {"[server]\nhost = h\nexternal_relay = turn.example:1\n", "belong together"},
        {"[server]\nhost = h\nexternal_relay_secret = s\n", "belong together"},
        /* A secret is not shown. */
        {"[server]\nhost = h\nexternal_relay_secret = \xe9\n", "external_relay_secret = ... is"},
        {"[server]\n", "host is missing"},
        {"", "host is missing"},
    };
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES];

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(load(*state, cases[i].text, &c, why), BK_E_MALFORMED);
        if (strstr(why, cases[i].where) == NULL) {
            fail_msg("case %zu: \"%s\" does not contain \"%s\"", i, why, cases[i].where);
        }
        assert_null(strchr(why, '\n'));
    }
}

static void test_long_line(void **state)
{
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES], text[1200];

    memset(text, 'a', sizeof text);
    memcpy(text, "[server]\nhost = ", 16);
    text[sizeof text - 1] = '\0';
    assert_int_equal(load(*state, text, &c, why), BK_E_MALFORMED);
    assert_non_null(strstr(why, "/file:2: the line is longer"));
}

/* What init writes can always be read back: a host that is too long for a line of the file is refused. */
static void test_long_host(void **state)
{
    static char text[BK_CONFIG_TEMPLATE_BYTES];
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES], host[BK_HOST_MAX_BYTES + 1];

    for (size_t n = 160; n <= BK_HOST_MAX_BYTES; n++) {
        memset(host, 'a', n);
        host[n] = '\0';
        enum bk_err err = bk_config_template(host, text, sizeof text);
        assert_int_equal(err, n <= BK_CONFIG_HOST_MAX_BYTES ? BK_OK : BK_E_RANGE);
        if (err == BK_OK) {
            assert_int_equal(load(*state, text, &c, why), BK_OK);
            assert_string_equal(c.host, host);
        }
    }
}

static void test_too_many_listens(void **state)
{
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES];

    assert_int_equal(
        load(*state,
             "[server]\nhost = h\nlisten = 1.1.1.1\nlisten = 1.1.1.2\nlisten = 1.1.1.3\n"
             "listen = 1.1.1.4\nlisten = 1.1.1.5\nlisten = 1.1.1.6\n",
             &c, why),
        BK_E_MALFORMED);
    assert_non_null(strstr(why, "/file:8:"));
}

static void test_missing_file(void **state)
{
    struct place *p = *state;
    struct bk_config c;
    char why[BK_CONFIG_WHY_BYTES];

    assert_int_equal(bk_config_load(p->path, &c, why), BK_E_NOTFOUND);
    assert_non_null(strstr(why, "/file: No such file"));
}

static void test_hosts(void **state)
{
    static const char *const good[] = {"a",           "rendezvous.example.com",
                                       "x-1.y",       "130.74.23.6",
                                       "::1",         "2001:db8::1",
                                       "localhost",   "a_b.c",
                                       "3com.example"};
    static const char *const bad[] = {"",      ".",         "a.",  ".a",      "a..b",
                                      "-a",    "a.-b",      "a b", "a:80",    "[::1]",
                                      "1.2.3", "1.2.3.4:5", "a/b", "\xc3\xa4"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(bk_config_host_valid(bk_slice_text(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(bk_config_host_valid(bk_slice_text(bad[i])));
    }
}

#define WITH_PLACE(test) cmocka_unit_test_setup_teardown(test, place_make, place_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_defaults),       WITH_PLACE(test_all_settings),
        WITH_PLACE(test_template),       WITH_PLACE(test_mistakes),
        WITH_PLACE(test_relay_settings), cmocka_unit_test(test_host_port),
        WITH_PLACE(test_long_line),      WITH_PLACE(test_too_many_listens),
        WITH_PLACE(test_missing_file),   cmocka_unit_test(test_hosts),
        WITH_PLACE(test_long_host),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
