/* agent.conf: what is taken, and that every mistake names its place. */
#include "lib/place.h"

#include "lib/agent_config.h"

static enum beckon_status load(const struct place *p, const char *text, struct bk_agent_config *c,
                               struct beckon_error *error)
{
    *error = (struct beckon_error){0};
    place_write_text(p, "agent.conf", text);
    return bk_agent_config_read(p->dir, NULL, c, error);
}

static void test_defaults(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;

    assert_int_equal(load(*state, "[agent]\nid = 2133\nserver = h.example\n", &c, &error),
                     BECKON_OK);
    assert_int_equal(c.equipment_id, 2133);
    assert_string_equal(c.server, "h.example");
    assert_int_equal(c.port, 2000);
    assert_int_equal(c.server_udp_port, 1200);
    assert_int_equal(c.server_agent_port, 1300);
    assert_int_equal(c.keepalive_s, 0);
    assert_int_equal(c.n_services, 0);
}

static void test_every_key(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;
    const struct bk_service *s;

    assert_int_equal(load(*state,
                          "# a comment\n; another\n[agent]\nid=9223372036854775807 ; inline\n"
                          "server = 2001:db8::1\nport = 1\nserver_udp_port = 65535\n"
                          "server_agent_port = 443\nkeepalive = 60\n\n"
                          "[service ssh]\ntarget = tcp:127.0.0.1:22\n"
                          "[service web-6]\ntarget = tcp:[::1]:80\n"
                          "[service app.1_x]\ntarget = unix:/run/app.sock\n"
                          "[service name]\ntarget = tcp:localhost:1",
                          &c, &error),
                     BECKON_OK);
    assert_true(c.equipment_id == BK_EQUIPMENT_ID_MAX);
    assert_string_equal(c.server, "2001:db8::1");
    assert_int_equal(c.port, 1);
    assert_int_equal(c.server_udp_port, 65535);
    assert_int_equal(c.server_agent_port, 443);
    assert_int_equal(c.keepalive_s, 60);
    assert_int_equal(c.n_services, 4);
    s = bk_service_find(&c, bk_slice_text("ssh"));
    assert_non_null(s);
    assert_int_equal(s->kind, BK_TARGET_TCP);
    assert_string_equal(s->host, "127.0.0.1");
    assert_int_equal(s->port, 22);
    s = bk_service_find(&c, bk_slice_text("web-6"));
    assert_non_null(s);
    assert_string_equal(s->host, "::1");
    assert_int_equal(s->port, 80);
    s = bk_service_find(&c, bk_slice_text("app.1_x"));
    assert_non_null(s);
    assert_int_equal(s->kind, BK_TARGET_UNIX);
    assert_string_equal(s->host, "/run/app.sock");
    s = bk_service_find(&c, bk_slice_text("name"));
    assert_non_null(s);
    assert_string_equal(s->host, "localhost");
    assert_null(bk_service_find(&c, bk_slice_text("ss")));
    assert_null(bk_service_find(&c, bk_slice_text("ssh2")));
    assert_null(bk_service_find(&c, BK_SLICE_EMPTY));
}

static void test_servers(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;

    assert_int_equal(load(*state, "[agent]\nid = 1\nserver = one.example\n", &c, &error),
                     BECKON_OK);
    assert_int_equal(c.n_servers, 1);
    assert_string_equal(c.server, "one.example");
    assert_string_equal(c.servers[0], "one.example");
    assert_int_equal(
        load(*state, "[agent]\nid = 1\nserver = a ,b,\t 192.0.2.1 , [2001:db8::1]\n", &c, &error),
        BECKON_OK);
    assert_int_equal(c.n_servers, BK_AGENT_SERVERS_MAX);
    assert_string_equal(c.server, "a");
    assert_string_equal(c.servers[1], "b");
    assert_string_equal(c.servers[2], "192.0.2.1");
    assert_string_equal(c.servers[3], "[2001:db8::1]");
    assert_int_equal(load(*state, "[agent]\nid = 1\nserver = a\nserver = b, c\n", &c, &error),
                     BECKON_OK);
    assert_int_equal(c.n_servers, 3);
    assert_string_equal(c.server, "a");
    assert_string_equal(c.servers[2], "c");
}

#define HEAD "[agent]\nid = 1\nserver = h\n"

static void test_mistakes(void **state)
{
    static const struct {
        const char *text, *where;
    } cases[] = {
        {"[agent]\nid = 0\n", "agent.conf:2: \"id\" in [agent]: not an equipment ID"},
        {"[agent]\nid = 01\n", "agent.conf:2:"},
        {"[agent]\nid = -1\n", "agent.conf:2:"},
        {"[agent]\nid = 9223372036854775808\n", "below 2^63"},
        {"[agent]\nid =\n", "agent.conf:2:"},
        {"[agent]\nserver =\n", "agent.conf:2: \"server\" in [agent]: not a host"},
        {"[agent]\nserver = a,\n", "agent.conf:2: \"server\" in [agent]: not a host"},
        {"[agent]\nserver = , a\n", "not a host, or a list of hosts with commas"},
        {"[agent]\nserver = a,,b\n", "not a host"},
        {"[agent]\nserver = a b\n", "not a host"},
        {"[agent]\nserver = a, b, a\n", "\"server\" in [agent]: a host comes twice"},
        {"[agent]\nserver = a, b, c, d, e\n", "\"server\" in [agent]: more than 4 hosts"},
        {HEAD "port = 0\n", "agent.conf:4: \"port\" in [agent]: not a port"},
        {HEAD "port = 65536\n", "agent.conf:4:"},
        {HEAD "port = 12x\n", "agent.conf:4:"},
        {HEAD "server_udp_port = x\n", "\"server_udp_port\" in [agent]: not a port"},
        {HEAD "server_agent_port = \n", "\"server_agent_port\" in [agent]: not a port"},
        {HEAD "keepalive = 4\n", "agent.conf:4: \"keepalive\" in [agent]: not a number of seconds"},
        {HEAD "keepalive = 61\n", "from 5 to 60"},
        {HEAD "user =\n", "agent.conf:4: \"user\" in [agent]: not a user"},
        {HEAD "user = a123456789012345678901234567890123\n", "not a user"},
        {HEAD "renew_within = 0\n", "not a number of seconds from 1 to 2592000"},
        {HEAD "renew_within = 2592001\n", "agent.conf:4:"},
        {HEAD "[access A]\nservices = x\n",
         "agent.conf:5: \"services\" in [access A]: not an access"},
        {HEAD "[access a]\nservices = ssh\n",
         "agent.conf:5: \"services\" in [access a]: names a service that has no [service] section"},
        {HEAD "[service s]\ntarget = tcp:h:1\n[access a]\nservices = s,\n", "agent.conf:7:"},
        {HEAD "[service s]\ntarget = tcp:h:1\n[access a]\nservices =\n", "agent.conf:7:"},
        {HEAD "[access a]\nexpires = 2027-02-29\n",
         "agent.conf:5: \"expires\" in [access a]: not a date"},
        {HEAD "[access a]\npassword = x\n",
         "agent.conf:5: \"password\" in [access a]: unknown key"},
        {HEAD "[callback]\nallow = 10.0.0.0/33\n",
         "agent.conf:5: \"allow\" in [callback]: not a prefix"},
        {HEAD "[callback]\ndeny = example.com\n",
         "agent.conf:5: \"deny\" in [callback]: not a prefix"},
        {HEAD "[callback]\ndeny =\n", "not a prefix"},
        {HEAD "[callback]\nrefuse = 10.0.0.0/8\n", "unknown key"},
        {HEAD "keepalvie = 25\n", "agent.conf:4: \"keepalvie\" in [agent]: unknown key"},
        {HEAD "\n\nwhat is this\n", "agent.conf:6: neither [section]"},
        {HEAD "[agnet]\nid = 1\n", "agent.conf:5: \"id\" in [agnet]: unknown section"},
        {"id = 1\n", "agent.conf:1: \"id\" in []: unknown section"},
        {HEAD "[service]\ntarget = tcp:h:1\n", "unknown section"},
        {HEAD "[service SSH]\ntarget = tcp:h:1\n", "not a service name"},
        {HEAD "[service SSH]\ntarget = tcp:h:1\n", "or too many services; correct that line"},
        {HEAD "[service ]\ntarget = tcp:h:1\n", "not a service name"},
        {HEAD "[service a]\ntraget = tcp:h:1\n",
         "agent.conf:5: \"traget\" in [service a]: unknown key"},
        {HEAD "[service a]\ntarget = tcp:h\n",
         "agent.conf:5: \"target\" in [service a]: not a target"},
        {HEAD "[service a]\ntarget = tcp::1\n", "not a target"},
        {HEAD "[service a]\ntarget = tcp:[]:1\n", "not a target"},
        {HEAD "[service a]\ntarget = tcp:h:0\n", "not a target"},
        {HEAD "[service a]\ntarget = tcp:h:65536\n", "not a target"},
        {HEAD "[service a]\ntarget = sctp:h:1\n", "not a target"},
        {HEAD "[service a]\ntarget = unix:run/x\n", "not a target"},
        {HEAD "[service a]\ntarget = unix:\n", "not a target"},
        {HEAD "[service a]\ntarget = \n", "not a target"},
        {"[agent]\nserver = h\n", "agent.conf: [agent] lacks id; add it"},
        {"[agent]\nid = 1\n", "agent.conf: [agent] lacks server; add it"},
        {"", "lacks id"},
        {HEAD "\x1b[31mkey\r\x7f = 1\n", "unknown key"},
    };
    static struct bk_agent_config c;
    struct beckon_error error;

    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_int_equal(load(*state, cases[i].text, &c, &error), BECKON_BAD_CONFIG);
        assert_error(&error, BECKON_BAD_CONFIG, cases[i].where);
    }
}

/* Name and path at their limits and one above. */
static void test_limits(void **state)
{
    static char text[8192];
    char path[120];
    static struct bk_agent_config c;
    struct beckon_error error;
    size_t n;

    memset(path, 'p', sizeof path);
    path[0] = '/';
    (void)snprintf(text, sizeof text, HEAD "[service a]\ntarget = unix:%.107s\n", path);
    assert_int_equal(load(*state, text, &c, &error), BECKON_OK);
    assert_int_equal(strlen(c.services[0].host), 107);
    (void)snprintf(text, sizeof text, HEAD "[service a]\ntarget = unix:%.108s\n", path);
    assert_int_equal(load(*state, text, &c, &error), BECKON_BAD_CONFIG);

    n = (size_t)snprintf(text, sizeof text, HEAD);
    for (unsigned i = 0; i < BK_AGENT_SERVICES_MAX; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "[service s%u]\ntarget = tcp:h:1\n", i);
    }
    assert_int_equal(load(*state, text, &c, &error), BECKON_OK);
    assert_int_equal(c.n_services, BK_AGENT_SERVICES_MAX);
    (void)snprintf(text + n, sizeof text - n, "[service s0]\ntarget = tcp:h:2\n");
    assert_int_equal(load(*state, text, &c, &error), BECKON_OK); /* known: takes no new place */
    assert_int_equal(c.services[0].port, 2);
    (void)snprintf(text + n, sizeof text - n, "[service more]\ntarget = tcp:h:2\n");
    assert_int_equal(load(*state, text, &c, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "too many services");
}

static void test_no_file(void **state)
{
    struct place *p = *state;
    char long_dir[1100];
    static struct bk_agent_config c;
    struct beckon_error error;

    assert_int_equal(bk_agent_config_read(p->dir, NULL, &c, &error), BECKON_NOT_JOINED);
    assert_error(&error, BECKON_NOT_JOINED, "run \"beckon-agent join\"");
    assert_int_equal(bk_agent_config_read("/nowhere", p->dir, &c, &error), BECKON_FAILED);
    assert_error(&error, BECKON_FAILED, "cannot be read"); /* a directory */
    memset(long_dir, 'd', sizeof long_dir);
    long_dir[sizeof long_dir - 1] = '\0';
    assert_int_equal(bk_agent_config_read(long_dir, NULL, &c, &error), BECKON_USAGE);
}

static void test_other_file(void **state)
{
    struct place *p = *state;
    char path[160];
    static struct bk_agent_config c;
    struct beckon_error error;

    place_path(p, "other", path);
    place_write_text(p, "other", HEAD "[service ssh]\ntarget = tcp:h:22\n");
    assert_int_equal(bk_agent_config_read("/nowhere", path, &c, &error), BECKON_OK);
    assert_int_equal(c.n_services, 1);
}

static void test_accesses(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;
    const struct bk_access *access;

    assert_int_equal(load(*state, HEAD "[service ssh]\ntarget = tcp:h:1\n", &c, &error), BECKON_OK);
    assert_int_equal(c.n_accesses, 1);
    access = bk_access_find(&c, bk_slice_text("owner"));
    assert_ptr_equal(access, &c.accesses[0]);
    assert_true(access->services == UINT64_MAX && access->expires_s == 0);

    assert_int_equal(load(*state,
                          HEAD "[access lodger]\nservices = web ,ssh\nexpires = 2027-01-31\n"
                               "[access owner]\nservices = tv\n services = ssh\n"
                               "[access all]\nexpires = 2027-01-31T12:00:00Z\n"
                               "[service ssh]\ntarget = tcp:h:1\n[service tv]\ntarget = tcp:h:1\n"
                               "[service web]\ntarget = tcp:h:1\n",
                          &c, &error),
                     BECKON_BAD_CONFIG); /* not more of the line above */
    assert_error(&error, BECKON_BAD_CONFIG, "agent.conf:9: the line is indented");

    assert_int_equal(load(*state,
                          HEAD "[access lodger]\nservices = web ,ssh\nexpires = 2027-01-31\n"
                               "[access owner]\nservices = tv\nservices = ssh\n"
                               "[access all]\nexpires = 2027-01-31T12:00:00Z\n"
                               "[service ssh]\ntarget = tcp:h:1\n[service tv]\ntarget = tcp:h:1\n"
                               "[service web]\ntarget = tcp:h:1\n",
                          &c, &error),
                     BECKON_OK);
    assert_int_equal(c.n_accesses, 3);
    access = bk_access_find(&c, bk_slice_text("lodger"));
    assert_non_null(access);
    assert_true(access->services == 0x5);
    assert_true(access->expires_s == 1801440000); /* the end of that day */
    assert_true(c.accesses[0].services == 0x3);
    access = bk_access_find(&c, bk_slice_text("all"));
    assert_non_null(access);
    assert_true(access->services == UINT64_MAX);
    assert_true(access->expires_s == 1801440000 - 12 * 3600);
    assert_null(bk_access_find(&c, bk_slice_text("own")));
    assert_null(bk_access_find(&c, BK_SLICE_EMPTY));
}

static void test_callback_lists(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;
    struct bk_addr a = bk_addr_v4(10, 1, 2, 3, 1);
    char text[1024];
    size_t n;

    assert_int_equal(load(*state,
                          HEAD "user = beckon\nrenew_within = 60\n[callback]\n"
                               "allow = 10.0.0.0/8, 2001:db8::/32\nallow = 192.0.2.0/24\n"
                               "deny = 10.1.0.0/16\n",
                          &c, &error),
                     BECKON_OK);
    assert_string_equal(c.user, "beckon");
    assert_int_equal(c.renew_within_s, 60);
    assert_int_equal(c.allow.n, 3);
    assert_int_equal(c.deny.n, 1);
    assert_true(bk_prefix_contains(&c.deny.at[0], &a));
    a.ip[13] = 2;
    assert_false(bk_prefix_contains(&c.deny.at[0], &a));
    assert_true(bk_prefix_contains(&c.allow.at[0], &a));

    n = (size_t)snprintf(text, sizeof text, HEAD "[callback]\n");
    for (unsigned i = 0; i < BK_POLICY_LIST_MAX; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "deny = 10.%u.0.0/16\n", i);
    }
    assert_int_equal(load(*state, text, &c, &error), BECKON_OK);
    assert_int_equal(c.deny.n, BK_POLICY_LIST_MAX);
    (void)snprintf(text + n, sizeof text - n, "deny = 11.0.0.0/8\n");
    assert_int_equal(load(*state, text, &c, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "agent.conf:21: \"deny\" in [callback]: more than 16");
}

/* As many accesses as there may be, and one more. */
static void test_access_limit(void **state)
{
    static struct bk_agent_config c;
    struct beckon_error error;
    char text[1024];
    size_t n = (size_t)snprintf(text, sizeof text, HEAD);

    for (unsigned i = 1; i < BK_AGENT_ACCESSES_MAX; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "[access a%u]\nexpires = 2030-01-01\n", i);
    }
    (void)snprintf(text + n, sizeof text - n, "[access owner]\nexpires = 2030-01-01\n");
    assert_int_equal(load(*state, text, &c, &error), BECKON_OK);
    assert_int_equal(c.n_accesses, BK_AGENT_ACCESSES_MAX);
    (void)snprintf(text + n, sizeof text - n, "[access more]\nexpires = 2030-01-01\n");
    assert_int_equal(load(*state, text, &c, &error), BECKON_BAD_CONFIG);
    assert_error(&error, BECKON_BAD_CONFIG, "too many of them");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PLACE(test_defaults), WITH_PLACE(test_every_key),      WITH_PLACE(test_mistakes),
        WITH_PLACE(test_limits),   WITH_PLACE(test_no_file),        WITH_PLACE(test_other_file),
        WITH_PLACE(test_accesses), WITH_PLACE(test_callback_lists), WITH_PLACE(test_access_limit),
        WITH_PLACE(test_servers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
