/* Names to addresses. Each question reads the host's configuration afresh, so that a machine that moved to
 * another network asks that network's servers, and an idle program holds no resolver memory. */
#include "net/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include <event2/dns.h>
#include <event2/event_struct.h>

#include "net/clock.h"

enum {
    HOST_MAX_BYTES = 255,
    LINE_MAX_BYTES = 1024,
    OTHER_FAMILY_MS = 100, /* how long an answer waits for the other family's (RFC 8305 says 50) */
    ONE_FAMILY_MAX = BK_RESOLVE_MAX,
};

struct bk_resolver {
    struct event_base *base;
    struct bk_resolve *first;
};

struct bk_resolve {
    struct bk_resolver *resolver; /* NULL: finished, cancelled or dropped, nothing more to tell */
    struct bk_resolve *next, **link;
    struct event timer; /* tells what is known, at the latest */
    struct evdns_base *dns;
    bk_resolved_fn done;
    void *ctx;
    uint16_t port;
    char host[HOST_MAX_BYTES + 1];
    unsigned open;   /* questions to name servers without an answer */
    bool timed_out;  /* a name server did not answer */
    bool failed;     /* one could not answer */
    enum bk_err err; /* for an end without addresses */
    const char *text;
    size_t n4, n6;
    struct bk_addr v4[ONE_FAMILY_MAX], v6[ONE_FAMILY_MAX];
};

/* ---- Ending a question ---- */

static void release(struct event *timer, void *ctx)
{
    (void)timer;
    struct bk_resolve *q = ctx;
    if (q->dns != NULL) {
        evdns_base_free(q->dns, 0);
    }
    free(q);
}

/* Answers of evdns may be queued already: memory goes behind them, from the loop (or with it). */
static void let_go(struct bk_resolve *q)
{
    *q->link = q->next;
    if (q->next != NULL) {
        q->next->link = q->link;
    }
    q->resolver = NULL;
    (void)event_del(&q->timer);
    (void)event_finalize(0, &q->timer, release);
}

static void finish(struct bk_resolve *q)
{
    struct bk_addr addrs[BK_RESOLVE_MAX];
    size_t n = 0, most = q->n4 > q->n6 ? q->n4 : q->n6;
    for (size_t i = 0; i < most; i++) {
        if (i < q->n6 && n < BK_RESOLVE_MAX) {
            addrs[n++] = q->v6[i];
        }
        if (i < q->n4 && n < BK_RESOLVE_MAX) {
            addrs[n++] = q->v4[i];
        }
    }
    bk_resolved_fn done = q->done;
    void *ctx = q->ctx;
    enum bk_err err = n > 0 ? BK_OK : q->err;
    const char *text = n > 0 ? "" : q->text;
    let_go(q);
    done(ctx, err, addrs, n, text);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what;
    finish(ctx);
}

static void finish_within(struct bk_resolve *q, unsigned ms)
{
    struct timeval tv = bk_timeval_ms(ms);
    (void)event_add(&q->timer, &tv);
}

static void give_up(struct bk_resolve *q, enum bk_err err, const char *text)
{
    q->err = err;
    q->text = text;
}

/* ---- What is known without asking ---- */

static void keep(struct bk_resolve *q, int family, const void *ip)
{
    struct bk_addr a;
    if (family == AF_INET && q->n4 < ONE_FAMILY_MAX) {
        const uint8_t *b = ip;
        q->v4[q->n4++] = bk_addr_v4(b[0], b[1], b[2], b[3], q->port);
    } else if (family == AF_INET6 && q->n6 < ONE_FAMILY_MAX) {
        memset(&a, 0, sizeof a);
        memcpy(a.ip, ip, 16);
        a.port = q->port;
        q->v6[q->n6++] = a;
    }
}

static bool keep_literal(struct bk_resolve *q, const char *text)
{
    uint8_t ip[16];
    if (inet_pton(AF_INET, text, ip) == 1) {
        keep(q, AF_INET, ip);
    } else if (inet_pton(AF_INET6, text, ip) == 1) {
        keep(q, AF_INET6, ip);
    } else {
        return false;
    }
    return true;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool same_name(const char *a, const char *b)
{
    while (*a != '\0' && lower(*a) == lower(*b)) {
        a++;
        b++;
    }
    return *a == *b;
}

/* The next word of a line, cut out of it; NULL at its end or at a comment. */
static char *next_word(char **at)
{
    char *p = *at + strspn(*at, " \t\r\n");
    if (*p == '\0' || *p == '#') {
        return NULL;
    }
    char *end = p + strcspn(p, " \t\r\n#");
    bool last = *end == '\0' || *end == '#';
    *end = '\0';
    *at = last ? end : end + 1;
    return p;
}

static void keep_from_hosts(struct bk_resolve *q)
{
    char line[LINE_MAX_BYTES];
    FILE *f = fopen("/etc/hosts", "re");
    if (f == NULL) {
        return;
    }
    while (fgets(line, sizeof line, f) != NULL) {
        char *at = line;
        const char *ip = next_word(&at), *name = NULL;
        while (ip != NULL && (name = next_word(&at)) != NULL) {
            if (same_name(name, q->host)) {
                (void)keep_literal(q, ip);
                break;
            }
        }
    }
    (void)fclose(f);
}

/* libevent would fall back to a name server on this host, and wait for it. */
static bool have_name_server(void)
{
    char line[LINE_MAX_BYTES];
    bool found = false;
    FILE *f = fopen("/etc/resolv.conf", "re");
    if (f == NULL) {
        return false;
    }
    while (!found && fgets(line, sizeof line, f) != NULL) {
        char *at = line;
        const char *word = next_word(&at);
        found = word != NULL && strcmp(word, "nameserver") == 0 && next_word(&at) != NULL;
    }
    (void)fclose(f);
    return found;
}

/* ---- Asking ---- */

static void on_answer(int result, char type, int count, int ttl, void *addresses, void *ctx)
{
    (void)ttl;
    struct bk_resolve *q = ctx;
    if (q->resolver == NULL) {
        return;
    }
    q->open--;
    if (result == DNS_ERR_NONE && count > 0) {
        size_t step = type == DNS_IPv4_A ? 4 : 16;
        for (size_t i = 0; i < (size_t)count; i++) {
            keep(q, type == DNS_IPv4_A ? AF_INET : AF_INET6, (const uint8_t *)addresses + i * step);
        }
    } else if (result == DNS_ERR_TIMEOUT) {
        q->timed_out = true;
    } else if (result != DNS_ERR_NONE && result != DNS_ERR_NOTEXIST && result != DNS_ERR_NODATA) {
        q->failed = true;
    }
    if (q->timed_out) {
        give_up(q, BK_E_TIMEOUT, "no name server answers");
    } else if (q->failed) {
        give_up(q, BK_E_IO, "the name server cannot answer");
    } else {
        give_up(q, BK_E_NOTFOUND, "no such host name");
    }
    if (q->open == 0) {
        finish(q);
    } else if (q->n4 + q->n6 > 0) {
        finish_within(q, OTHER_FAMILY_MS);
    }
}

static enum bk_err ask(struct bk_resolve *q)
{
    q->dns = evdns_base_new(q->resolver->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (q->dns == NULL) {
        return BK_E_NOMEM;
    }
    (void)evdns_base_set_option(q->dns, "timeout:", "2");
    (void)evdns_base_set_option(q->dns, "attempts:", "2");
    if (evdns_base_resolv_conf_parse(q->dns, DNS_OPTION_NAMESERVERS | DNS_OPTION_SEARCH,
                                     "/etc/resolv.conf") != 0 ||
        evdns_base_count_nameservers(q->dns) == 0) {
        give_up(q, BK_E_IO, "no usable name server is configured");
        return BK_OK;
    }
    give_up(q, BK_E_TIMEOUT, "no name server answers");
    if (evdns_base_resolve_ipv6(q->dns, q->host, 0, on_answer, q) != NULL) {
        q->open++;
    }
    if (evdns_base_resolve_ipv4(q->dns, q->host, 0, on_answer, q) != NULL) {
        q->open++;
    }
    if (q->open == 0) {
        give_up(q, BK_E_IO, "the name server cannot be asked");
    }
    return BK_OK;
}

/* ---- The owner's verbs ---- */

/* What libevent would print about name servers, our callers are told by the answer. */
static void say_nothing(int is_warning, const char *text)
{
    (void)is_warning, (void)text;
}

enum bk_err bk_resolver_new(struct event_base *base, struct bk_resolver **out)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL) {
        return BK_E_NOMEM;
    }
    (*out)->base = base;
    evdns_set_log_fn(say_nothing);
    return BK_OK;
}

void bk_resolver_free(struct bk_resolver *r)
{
    if (r == NULL) {
        return;
    }
    while (r->first != NULL) {
        let_go(r->first);
    }
    free(r);
}

/* The host without brackets. False: too long, or nothing. */
static bool copy_host(struct bk_resolve *q, const char *host)
{
    size_t n = host != NULL ? strlen(host) : 0;
    if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
        host++;
        n -= 2;
    }
    if (n == 0 || n > HOST_MAX_BYTES) {
        return false;
    }
    memcpy(q->host, host, n);
    q->host[n] = '\0';
    return true;
}

enum bk_err bk_resolve_start(struct bk_resolver *r, const char *host, uint16_t port,
                             bk_resolved_fn done, void *ctx, struct bk_resolve **out)
{
    *out = NULL;
    struct bk_resolve *q = calloc(1, sizeof *q);
    if (q == NULL) {
        return BK_E_NOMEM;
    }
    if (!copy_host(q, host)) {
        free(q);
        return BK_E_MALFORMED;
    }
    q->resolver = r;
    q->done = done;
    q->ctx = ctx;
    q->port = port;
    q->link = &r->first;
    q->next = r->first;
    if (q->next != NULL) {
        q->next->link = &q->next;
    }
    r->first = q;
    evtimer_assign(&q->timer, r->base, on_timer, q);
    if (!keep_literal(q, q->host)) {
        keep_from_hosts(q);
    }
    enum bk_err err = BK_OK;
    if (q->n4 + q->n6 == 0) {
        if (have_name_server()) {
            err = ask(q);
        } else {
            give_up(q, BK_E_IO, "no name server is configured");
        }
    }
    if (err != BK_OK) {
        let_go(q);
        return err;
    }
    finish_within(q, q->open > 0 ? BK_RESOLVE_MS : 0);
    *out = q;
    return BK_OK;
}

void bk_resolve_cancel(struct bk_resolve *q)
{
    if (q != NULL) {
        let_go(q);
    }
}
