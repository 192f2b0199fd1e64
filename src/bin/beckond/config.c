/* Reading beckond.conf. Knows every setting; the first mistake ends the reading. */
#include "bin/beckond/config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "bin/beckond/config_defaults.h"
#include "wire/enrol.h"

enum {
    MAX_DEVICES_LIMIT = 16777214, /* one shard of the location table takes no more */
    PER_SECOND_LIMIT = 1000000,
    RELAY_ALLOCATIONS_LIMIT = 65536,
};
/* A terabyte a second: past it numbers of a rate would run over. */
#define BYTES_PER_SECOND_LIMIT UINT64_C(1000000000000)

/* A file being read: where we are, for messages, and what has been given already. */
struct reading {
    FILE *file;
    const char *path;
    int line;
    unsigned given; /* bits of `settings` */
    bool failed;
    struct bk_config *config;
    char *why;
};

static void blame(struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Keeps the first mistake only: later ones often follow from it. What it quotes of the file may hold bytes
 * that a terminal would act on. */
static void blame(struct reading *r, const char *format, ...)
{
    va_list args;
    int n;

    if (r->failed) {
        return;
    }
    r->failed = true;
    n = snprintf(r->why, BK_CONFIG_WHY_BYTES, "%s:%d: ", r->path, r->line);
    if (n < 0 || n >= BK_CONFIG_WHY_BYTES) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(r->why + n, (size_t)(BK_CONFIG_WHY_BYTES - n), format, args);
    va_end(args);
    for (char *c = r->why; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7F) {
            *c = '?';
        }
    }
}

static bool label_char(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_';
}

bool bk_config_host_valid(struct bk_slice host)
{
    struct bk_addr ignored;
    bool letter = false;
    uint8_t before = '.';

    if (host.n == 0 || host.n > BK_HOST_MAX_BYTES) {
        return false;
    }
    if (host.p[0] != '[' && bk_addr_parse(host, 1, &ignored) == BK_OK && ignored.port == 1) {
        return true;
    }
    for (size_t i = 0; i < host.n; i++) {
        uint8_t c = host.p[i];
        if (!label_char(c) && c != '.') {
            return false;
        }
        if ((c == '.' || c == '-') && before == '.') {
            return false; /* an empty label, or one that looks like an option */
        }
        letter = letter || (c != '.' && (c < '0' || c > '9'));
        before = c;
    }
    return letter && before != '.'; /* digits and dots alone would be a broken address */
}

/* ---- one function per kind of value; each returns what was expected instead, or NULL ---- */

static const char *take_host(struct bk_config *c, struct bk_slice value)
{
    if (!bk_config_host_valid(value) || !bk_slice_to_text(value, c->host, sizeof c->host)) {
        return "a host name or an IP address";
    }
    return NULL;
}

static const char *take_listen(struct bk_config *c, struct bk_slice value)
{
    struct bk_addr addr;

    if (bk_addr_parse(value, 1, &addr) != BK_OK || addr.port != 1) {
        return "an IP address without a port";
    }
    if (c->n_listen == BK_CONFIG_LISTEN_MAX) {
        return "at most 5 addresses";
    }
    addr.port = 0;
    c->listen[c->n_listen++] = addr;
    return NULL;
}

static const char *take_port(struct bk_slice value, uint16_t *out)
{
    uint64_t port;

    if (bk_number_parse(value, UINT16_MAX, &port) != BK_OK || port == 0) {
        return "a port, 1 to 65535";
    }
    *out = (uint16_t)port;
    return NULL;
}

static const char *take_udp_port(struct bk_config *c, struct bk_slice value)
{
    return take_port(value, &c->udp_port);
}

static const char *take_request_port(struct bk_config *c, struct bk_slice value)
{
    return take_port(value, &c->request_port);
}

static const char *take_agent_port(struct bk_config *c, struct bk_slice value)
{
    return take_port(value, &c->agent_port);
}

static const char *take_second_udp_port(struct bk_config *c, struct bk_slice value)
{
    uint64_t port;

    if (bk_number_parse(value, UINT16_MAX, &port) != BK_OK) {
        return "a port, 1 to 65535, or 0 for none";
    }
    c->second_udp_port = (uint16_t)port;
    return NULL;
}

static const char *take_yes(struct bk_slice value, bool *out)
{
    *out = bk_slice_equal(value, bk_slice_text("yes"));
    return *out || bk_slice_equal(value, bk_slice_text("no")) ? NULL : "yes or no";
}

static const char *take_relay(struct bk_config *c, struct bk_slice value)
{
    return take_yes(value, &c->relay);
}

static const char *take_relay_connect(struct bk_config *c, struct bk_slice value)
{
    return take_yes(value, &c->relay_connect);
}

static const char *take_relay_ports(struct bk_config *c, struct bk_slice value)
{
    const uint8_t *dash = value.n == 0 ? NULL : memchr(value.p, '-', value.n);
    size_t n = dash == NULL ? 0 : (size_t)(dash - value.p);
    uint64_t first = 0, last = 0;

    if (dash == NULL || bk_number_parse(bk_slice(value.p, n), UINT16_MAX, &first) != BK_OK ||
        bk_number_parse(bk_slice(dash + 1, value.n - n - 1), UINT16_MAX, &last) != BK_OK ||
        first < 1024 || last < first) {
        return "FIRST-LAST, ports from 1024 to 65535";
    }
    c->relay_first_port = (uint16_t)first;
    c->relay_last_port = (uint16_t)last;
    return NULL;
}

static const char *take_relay_address(struct bk_config *c, struct bk_slice value)
{
    struct bk_addr addr, *place;

    if (bk_addr_parse(value, 1, &addr) != BK_OK || addr.port != 1) {
        return "an IP address without a port";
    }
    place = bk_addr_is_v4(&addr) ? &c->relay_address4 : &c->relay_address6;
    if (place->port != 0) {
        return "one IPv4 and one IPv6 address at most";
    }
    *place = addr; /* the port says that it is set */
    return NULL;
}

static const char *take_allocations(struct bk_slice value, uint32_t *out)
{
    uint64_t n;

    if (bk_number_parse(value, RELAY_ALLOCATIONS_LIMIT, &n) != BK_OK || n == 0) {
        return "a number, 1 to 65536";
    }
    *out = (uint32_t)n;
    return NULL;
}

static const char *take_relay_allocations(struct bk_config *c, struct bk_slice value)
{
    return take_allocations(value, &c->relay_allocations);
}

static const char *take_relay_user_allocations(struct bk_config *c, struct bk_slice value)
{
    return take_allocations(value, &c->relay_user_allocations);
}

static const char *take_bytes_per_second(struct bk_slice value, uint64_t *out)
{
    if (bk_number_parse(value, BYTES_PER_SECOND_LIMIT, out) != BK_OK ||
        (*out != 0 && *out < 10000)) {
        return "bytes, 10000 or more, or 0 for no limit";
    }
    return NULL;
}

static const char *take_relay_bytes(struct bk_config *c, struct bk_slice value)
{
    return take_bytes_per_second(value, &c->relay_bytes_per_s);
}

static const char *take_relay_user_bytes(struct bk_config *c, struct bk_slice value)
{
    return take_bytes_per_second(value, &c->relay_user_bytes_per_s);
}

bool bk_config_host_port(struct bk_slice text, struct bk_slice *host, uint16_t *port)
{
    struct bk_addr literal;
    uint64_t number = 0;
    size_t n = text.n;

    while (n > 0 && text.p[n - 1] != ':') {
        n--;
    }
    if (n < 2 || bk_number_parse(bk_slice(text.p + n, text.n - n), UINT16_MAX, &number) != BK_OK ||
        number == 0) {
        return false;
    }
    *port = (uint16_t)number;
    *host = bk_slice(text.p, n - 1);
    if (host->p[0] == '[') {
        bool v6 = bk_addr_parse(text, 0, &literal) == BK_OK;
        *host = bk_slice(host->p + 1, v6 ? host->n - 2 : 0);
        return v6;
    }
    return memchr(host->p, ':', host->n) == NULL && bk_config_host_valid(*host);
}

static const char *take_external_relay(struct bk_config *c, struct bk_slice value)
{
    struct bk_slice host;
    uint16_t port;

    if (value.n > 0 && (!bk_config_host_port(value, &host, &port) ||
                        !bk_slice_to_text(value, c->external_relay, sizeof c->external_relay))) {
        return "HOST:PORT, an IPv6 address in brackets, or nothing";
    }
    return NULL;
}

static const char *take_external_relay_secret(struct bk_config *c, struct bk_slice value)
{
    if (!bk_slice_to_text(value, c->external_relay_secret, sizeof c->external_relay_secret)) {
        return "text of at most 128 characters";
    }
    return NULL;
}

static const char *take_max_devices(struct bk_config *c, struct bk_slice value)
{
    if (bk_number_parse(value, MAX_DEVICES_LIMIT, &c->max_devices) != BK_OK ||
        c->max_devices == 0) {
        return "a number, 1 to 16777214";
    }
    return NULL;
}

static const char *take_workers(struct bk_config *c, struct bk_slice value)
{
    uint64_t n;

    if (bk_number_parse(value, BK_CONFIG_WORKERS_MAX, &n) != BK_OK || n == 0) {
        return "a number, 1 to 64";
    }
    c->workers = (uint32_t)n;
    return NULL;
}

static const char *take_answer_binding(struct bk_config *c, struct bk_slice value)
{
    return take_yes(value, &c->answer_binding);
}

static const char *take_binding_per_second(struct bk_config *c, struct bk_slice value)
{
    uint64_t n;

    if (bk_number_parse(value, PER_SECOND_LIMIT, &n) != BK_OK || n == 0) {
        return "a number, 1 to 1000000";
    }
    c->binding_per_second = (uint32_t)n;
    return NULL;
}

static const char *take_requests_per_second(struct bk_config *c, struct bk_slice value)
{
    uint64_t n;

    if (bk_number_parse(value, PER_SECOND_LIMIT, &n) != BK_OK) {
        return "a number, 0 (no limit) to 1000000";
    }
    c->requests_per_second = (uint32_t)n;
    return NULL;
}

static const char *take_user(struct bk_config *c, struct bk_slice value)
{
    bool ok = bk_slice_to_text(value, c->user, sizeof c->user) && c->user[0] != '-';

    for (size_t i = 0; ok && i < value.n; i++) {
        ok = label_char(value.p[i]) || value.p[i] == '.';
    }
    return ok ? NULL : "the name of a user of this system, or nothing";
}

static const char *take_fast_form(struct bk_config *c, struct bk_slice value)
{
    return take_yes(value, &c->fast_form);
}

static const struct setting {
    const char *key;
    const char *(*take)(struct bk_config *c, struct bk_slice value);
    bool repeatable;
    bool secret; /* its value is not shown */
} settings[] = {
    {"host", take_host, false, false},
    {"listen", take_listen, true, false},
    {"udp_port", take_udp_port, false, false},
    {"request_port", take_request_port, false, false},
    {"agent_port", take_agent_port, false, false},
    {"max_devices", take_max_devices, false, false},
    {"workers", take_workers, false, false},
    {"answer_binding", take_answer_binding, false, false},
    {"binding_per_second", take_binding_per_second, false, false},
    {"requests_per_second", take_requests_per_second, false, false},
    {"user", take_user, false, false},
    {"fast_form", take_fast_form, false, false},
    {"second_udp_port", take_second_udp_port, false, false},
    {"relay", take_relay, false, false},
    {"relay_ports", take_relay_ports, false, false},
    {"relay_address", take_relay_address, true, false},
    {"relay_connect", take_relay_connect, false, false},
    {"relay_allocations", take_relay_allocations, false, false},
    {"relay_user_allocations", take_relay_user_allocations, false, false},
    {"relay_bytes_per_second", take_relay_bytes, false, false},
    {"relay_user_bytes_per_second", take_relay_user_bytes, false, false},
    {"external_relay", take_external_relay, false, false},
    {"external_relay_secret", take_external_relay_secret, false, true},
};

/* inih's callback: 1 goes on, 0 is an error. We always go on and keep the first mistake ourselves. */
static int take(void *user, const char *section, const char *key, const char *value)
{
    struct reading *r = user;

    if (strcmp(section, "server") != 0) {
        blame(r, "there is no section [%s]; settings belong under [server]", section);
        return 1;
    }
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        const char *expected;
        if (strcmp(key, settings[i].key) != 0) {
            continue;
        }
        if ((r->given & (1u << i)) != 0 && !settings[i].repeatable) {
            blame(r, "%s is given twice; keep one", key);
        }
        r->given |= 1u << i;
        expected = settings[i].take(r->config, bk_slice_text(value));
        if (expected != NULL) {
            blame(r, "%s = %s is not understood; expected %s", key,
                  settings[i].secret ? "..." : value, expected);
        }
        return 1;
    }
    blame(r, "there is no setting named %s; beckond.conf as written by init lists them all", key);
    return 1;
}

/* inih's reader, like fgets: counts lines, and checks what inih lets pass in silence. */
static char *next_line(char *out, int cap, void *stream)
{
    struct reading *r = stream;
    size_t n;

    if (r->failed || fgets(out, cap, r->file) == NULL) {
        return NULL;
    }
    r->line++;
    n = strlen(out);
    if (n > BK_CONFIG_LINE_MAX_BYTES) {
        blame(r, "the line is longer than %d characters; shorten it", BK_CONFIG_LINE_MAX_BYTES);
        return NULL;
    }
    /* inih would take an indented line for more of the value before it; here it is a line like any. */
    size_t blanks = strspn(out, " \t");
    memmove(out, out + blanks, n - blanks + 1);
    if (out[0] == '[' && strchr(out, ']') != NULL) {
        char *end = strchr(out, ']');
        *end = '\0';
        if (strcmp(out + 1, "server") != 0) {
            blame(r, "there is no section [%s]; settings belong under [server]", out + 1);
        }
        *end = ']';
    }
    return out;
}

static void set_defaults(struct bk_config *c)
{
    memset(c, 0, sizeof *c);
    c->udp_port = BK_SERVER_UDP_PORT;
    c->request_port = BK_SERVER_REQUEST_PORT;
    c->agent_port = BK_SERVER_AGENT_PORT;
    c->max_devices = BK_CONFIG_DEFAULT_MAX_DEVICES;
    c->fast_form = true;
    c->answer_binding = true;
    c->binding_per_second = BK_CONFIG_DEFAULT_BINDING_PER_SECOND;
    c->requests_per_second = BK_CONFIG_DEFAULT_REQUESTS_PER_SECOND;
    c->relay = true;
    c->relay_first_port = BK_CONFIG_DEFAULT_RELAY_FIRST;
    c->relay_last_port = BK_CONFIG_DEFAULT_RELAY_LAST;
    c->relay_user_allocations = BK_CONFIG_DEFAULT_RELAY_USER_ALLOCATIONS;
    c->relay_allocations = BK_CONFIG_DEFAULT_RELAY_ALLOCATIONS;
}

static bool was_given(const struct reading *r, const char *key)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(settings[i].key, key) == 0) {
            return (r->given & (1u << i)) != 0;
        }
    }
    return false;
}

/* What follows from other settings, and what does not go together. */
static void complete(struct reading *r)
{
    struct bk_config *c = r->config;

    if (!was_given(r, "second_udp_port") &&
        c->udp_port <= UINT16_MAX - BK_CONFIG_SECOND_UDP_OFFSET) {
        c->second_udp_port = (uint16_t)(c->udp_port + BK_CONFIG_SECOND_UDP_OFFSET);
    }
    if (c->host[0] == '\0') {
        blame(r, "host is missing; give under [server] the name or address by which this server "
                 "is found");
    } else if (c->second_udp_port == c->udp_port) {
        blame(r, "second_udp_port must be another port than udp_port");
    } else if ((c->external_relay[0] == '\0') != (c->external_relay_secret[0] == '\0')) {
        blame(r, "external_relay and external_relay_secret belong together; give both or neither");
    }
}

enum bk_err bk_config_load(const char *path, struct bk_config *out, char why[BK_CONFIG_WHY_BYTES])
{
    struct reading r = {.path = path, .config = out, .why = why};
    int line;

    set_defaults(out);
    r.file = fopen(path, "re");
    if (r.file == NULL) {
        (void)snprintf(why, BK_CONFIG_WHY_BYTES, "%s: %s", path, strerror(errno));
        return errno == ENOENT ? BK_E_NOTFOUND : BK_E_IO;
    }
    line = ini_parse_stream(next_line, &r, take, &r);
    if (ferror(r.file) != 0 && !r.failed) {
        (void)snprintf(why, BK_CONFIG_WHY_BYTES, "%s: cannot be read to its end", path);
        r.failed = true;
    } else if (line != 0) {
        r.line = line > 0 ? line : r.line;
        blame(&r, "neither a [section], nor KEY = VALUE, nor a comment");
    } else {
        complete(&r);
    }
    (void)fclose(r.file);
    if (r.failed) {
        return BK_E_MALFORMED;
    }
    if (out->n_listen == 0) {
        out->n_listen = 1; /* "::", which takes both families */
    }
    return BK_OK;
}
