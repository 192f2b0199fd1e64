/* The client object: options, state, and the loop that its calls run in. */
#include "lib/client.h"

#include <stdlib.h>
#include <string.h>

#include "lib/fail.h"

/* "--path mapped,relayed". */
static enum beckon_status read_kinds(struct beckon_client *c, const char *text,
                                     struct beckon_error *error)
{
    c->kinds = text == NULL ? ~0U : 0;
    for (const char *at = text; at != NULL;) {
        size_t n = strcspn(at, ",");
        unsigned kind = BECKON_PATH_HOST;

        while (kind <= BECKON_PATH_RELAYED &&
               (strlen(beckon_path_name((enum beckon_path)kind)) != n ||
                strncmp(beckon_path_name((enum beckon_path)kind), at, n) != 0)) {
            kind++;
        }
        if (kind > BECKON_PATH_RELAYED) {
            return bk_fail(error, BECKON_USAGE,
                           "--path \"%.60s\" is not a list of host, mapped, punched, relayed",
                           text);
        }
        c->kinds |= 1U << kind;
        at = at[n] == ',' ? at + n + 1 : NULL;
    }
    return BECKON_OK;
}

/* "--listen [ADDR]:PORT" and "--advertise ADDR:PORT". */
static enum beckon_status read_addresses(struct beckon_client *c,
                                         const struct beckon_client_options *options,
                                         struct beckon_error *error)
{
    if (options->listen != NULL) {
        if (bk_addr_parse(bk_slice_text(options->listen), 0, &c->listen) != BK_OK) {
            return bk_fail(error, BECKON_USAGE, "--listen \"%.60s\" is not [ADDR]:PORT",
                           options->listen);
        }
        if (bk_addr_scope(&c->listen) == BK_SCOPE_UNSPECIFIED) { /* ":PORT": both families */
            memset(c->listen.ip, 0, sizeof c->listen.ip);
        }
    }
    if (options->advertise != NULL) {
        if (options->listen == NULL) {
            return bk_fail(error, BECKON_USAGE,
                           "--advertise needs --listen: the port that the mapping leads to");
        }
        if (bk_addr_parse(bk_slice_text(options->advertise), 0, &c->advertise) != BK_OK ||
            c->advertise.port == 0) {
            return bk_fail(error, BECKON_USAGE, "--advertise \"%.60s\" is not ADDR:PORT",
                           options->advertise);
        }
    }
    return BECKON_OK;
}

enum beckon_status beckon_client_new(const struct beckon_client_options *options,
                                     struct beckon_client **out, struct beckon_error *error)
{
    struct beckon_client *c;
    enum beckon_status status;

    *out = NULL;
    if (options->state_dir == NULL || strlen(options->state_dir) >= BK_PATH_BYTES) {
        return bk_fail(error, BECKON_USAGE, "a state directory is needed, below %d bytes",
                       BK_PATH_BYTES);
    }
    c = calloc(1, sizeof *c);
    if (c == NULL || bk_seal_init() != BK_OK) {
        free(c);
        return bk_fail(error, BECKON_FAILED, "no memory");
    }
    c->stop.fd = -1;
    c->options = *options;
    memcpy(c->state_dir, options->state_dir, strlen(options->state_dir) + 1);
    c->options.state_dir = c->state_dir;
    c->options.listen = NULL; /* parsed here, never used again */
    c->options.advertise = NULL;
    c->options.paths = NULL;
    status = read_addresses(c, options, error);
    if (status == BECKON_OK) {
        status = read_kinds(c, options->paths, error);
    }
    if (status == BECKON_OK) {
        status = bk_client_state_read(c->state_dir, &c->state, error);
    }
    if (status == BECKON_OK) {
        c->base = event_base_new();
        if (c->base == NULL || bk_stop_init(&c->stop, c->base) != BK_OK ||
            bk_resolver_new(c->base, &c->resolver) != BK_OK) {
            status = bk_fail(error, BECKON_FAILED, "no memory or descriptors for the event loop");
        }
    }
    if (status != BECKON_OK) {
        beckon_client_free(c);
        return status;
    }
    c->sessions = bk_sessions_open(c->state_dir);
    *out = c;
    return BECKON_OK;
}

void beckon_client_stop(struct beckon_client *c)
{
    bk_stop_raise(&c->stop);
}

void beckon_client_report(const struct beckon_client *c, struct beckon_report *out)
{
    bk_record_report(&c->record, out);
}

void beckon_client_free(struct beckon_client *c)
{
    if (c == NULL) {
        return;
    }
    bk_sessions_close(c->sessions);
    bk_resolver_free(c->resolver);
    bk_stop_fini(&c->stop);
    if (c->base != NULL) {
        event_base_free(c->base);
    }
    bk_client_state_fini(&c->state);
    free(c);
}
