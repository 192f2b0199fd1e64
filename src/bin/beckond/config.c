/* Reading beckond.conf. Knows every setting; the first mistake ends the reading. */
#include "bin/beckond/config.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"
#include "wire/enrol.h"

enum {
    DEFAULT_MAX_DEVICES = 1000000,
    DEFAULT_BINDING_PER_SECOND = 10,
    DEFAULT_REQUESTS_PER_SECOND = 20,
    MAX_DEVICES_LIMIT = 16777214, /* the location table takes no more */
    PER_SECOND_LIMIT = 1000000,
};

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

static const char *take_max_devices(struct bk_config *c, struct bk_slice value)
{
    if (bk_number_parse(value, MAX_DEVICES_LIMIT, &c->max_devices) != BK_OK ||
        c->max_devices == 0) {
        return "a number, 1 to 16777214";
    }
    return NULL;
}

static const char *take_answer_binding(struct bk_config *c, struct bk_slice value)
{
    c->answer_binding = bk_slice_equal(value, bk_slice_text("yes"));
    if (!c->answer_binding && !bk_slice_equal(value, bk_slice_text("no"))) {
        return "yes or no";
    }
    return NULL;
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

static const char *take_call_form(struct bk_config *c, struct bk_slice value)
{
    (void)c;
    return bk_slice_equal(value, bk_slice_text("first")) ? NULL : "first";
}

static const struct setting {
    const char *key;
    const char *(*take)(struct bk_config *c, struct bk_slice value);
    bool repeatable;
} settings[] = {
    {"host", take_host, false},
    {"listen", take_listen, true},
    {"udp_port", take_udp_port, false},
    {"request_port", take_request_port, false},
    {"agent_port", take_agent_port, false},
    {"max_devices", take_max_devices, false},
    {"answer_binding", take_answer_binding, false},
    {"binding_per_second", take_binding_per_second, false},
    {"requests_per_second", take_requests_per_second, false},
    {"user", take_user, false},
    {"call_form", take_call_form, false},
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
            blame(r, "%s = %s is not understood; expected %s", key, value, expected);
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
    c->max_devices = DEFAULT_MAX_DEVICES;
    c->answer_binding = true;
    c->binding_per_second = DEFAULT_BINDING_PER_SECOND;
    c->requests_per_second = DEFAULT_REQUESTS_PER_SECOND;
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
    } else if (out->host[0] == '\0') {
        blame(&r, "host is missing; give under [server] the name or address by which this server "
                  "is found");
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

enum bk_err bk_config_template(const char *host, char *out, size_t cap)
{
    static const char text[] =
        "# beckond's configuration. Lines that begin with # are comments; a commented setting "
        "shows\n"
        "# its default. SIGHUP makes a running server read this file again.\n"
        "\n"
        "[server]\n"
        "# The name or address under which agents and users find this server. It goes into join\n"
        "# tokens and must be one of those that `beckond init` put into the server's certificate.\n"
        "host = %s\n"
        "\n"
        "# Addresses to listen on; the line may be repeated, up to 5 times. The default takes "
        "IPv4\n"
        "# and IPv6 on every interface. (Ports, addresses: takes effect with a restart.)\n"
        "# listen = ::\n"
        "\n"
        "# UDP: registration and notification; and plain STUN Binding.\n"
        "# udp_port = %d\n"
        "# TCP: users' requests, and joining.\n"
        "# request_port = %d\n"
        "# TCP: agents that have been called, and joining. May be the same as request_port.\n"
        "# agent_port = %d\n"
        "\n"
        "# How many devices may be registered at one time.\n"
        "# (Takes effect with a restart.)\n"
        "# max_devices = %d\n"
        "\n"
        "# Whether plain STUN Binding requests are answered, and how many a second from one IPv4\n"
        "# address or IPv6 /64 network.\n"
        "# answer_binding = yes\n"
        "# binding_per_second = %d\n"
        "\n"
        "# How many requests (lookups, calls, renewals) a second one user or device may make, and\n"
        "# how many joins may come from one IPv4 address or IPv6 /64 network; ten times as many "
        "in\n"
        "# a burst. 0 is no limit.\n"
        "# requests_per_second = %d\n"
        "\n"
        "# Started by root: the user to become once the sockets are open. The state directory "
        "must\n"
        "# belong to that user. Empty: stays who it is. (Takes effect with a restart.)\n"
        "# user =\n"
        "\n"
        "# How calls reach a device. \"first\": a notification by UDP, and the request over TLS.\n"
        "# call_form = first\n";
    int n;

    if (strlen(host) > BK_CONFIG_HOST_MAX_BYTES) {
        return BK_E_RANGE;
    }
    n = snprintf(out, cap, text, host, BK_SERVER_UDP_PORT, BK_SERVER_REQUEST_PORT,
                 BK_SERVER_AGENT_PORT, DEFAULT_MAX_DEVICES, DEFAULT_BINDING_PER_SECOND,
                 DEFAULT_REQUESTS_PER_SECOND);
    return n < 0 || (size_t)n >= cap ? BK_E_NOSPACE : BK_OK;
}
