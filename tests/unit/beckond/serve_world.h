/* A server without connections: UDP sockets on loopback, at ports that are free, workers, and a core. */
#ifndef BK_TESTS_BECKOND_SERVE_WORLD_H
#define BK_TESTS_BECKOND_SERVE_WORLD_H

#include "beckond/setup.h"

#include <event2/event.h>

#include "bin/beckond/hmac_openssl.h"
#include "bin/beckond/serve_private.h"
#include "net/clock.h"

enum {
    SERVE_TRIES = 50,
};

static inline struct bk_serve *serve_new(const char *const *listen, size_t n)
{
    struct bk_serve *s = calloc(1, sizeof *s);

    assert_non_null(s);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(bk_addr_parse(bk_slice_text(listen[i]), 1, &s->config.listen[i]), BK_OK);
        s->config.listen[i].port = 0;
    }
    s->config.n_listen = n;
    s->config.answer_binding = true;
    s->config.udp_port = 1200;
    s->config.second_udp_port = 1202;
    s->timer_at = BK_TIME_NEVER;
    s->last_job = &s->first_job;
    return s;
}

static inline void serve_free(struct bk_serve *s)
{
    bk_serve_close_udp(s);
    bk_server_free(s->core);
    if (s->base != NULL) {
        event_base_free(s->base);
    }
    free(s);
}

static inline void serve_core(struct bk_serve *s)
{
    struct bk_server_config config = {
        .alloc = bk_alloc_libc(),
        .shards = bk_serve_workers_shards(s->workers),
        .lock = bk_serve_workers_lock(s->workers),
        .rng = bk_random_system(),
        .mac = bk_mac_openssl(),
        .n_master = 1,
        .max_devices = 1000,
        .max_streams = 4,
        .max_calls = 4,
        .answer_binding = true,
        .binding_per_s = 1000,
        .changes = bk_serve_changes(s),
    };
    struct bk_now now = bk_clock_now();

    assert_int_equal(bk_server_new(&config, &now, &s->core), BK_OK);
}

/* With sockets, at ports that are free. */
static inline struct bk_serve *serve_open(const char *const *listen, size_t n, uint32_t workers)
{
    struct bk_serve *s = serve_new(listen, n);
    enum beckon_status status = BECKON_FAILED;

    s->config.workers = workers;
    s->base = event_base_new();
    assert_non_null(s->base);
    for (int i = 0; i < SERVE_TRIES && status != BECKON_OK; i++) {
        s->config.udp_port = (uint16_t)(20000 + (getpid() + 2 * i * 997) % 20000);
        s->config.second_udp_port = (uint16_t)(s->config.udp_port + 1);
        status = bk_serve_open_udp(s);
        if (status != BECKON_OK) {
            bk_serve_close_udp(s);
        }
    }
    assert_int_equal(status, BECKON_OK);
    serve_core(s);
    assert_int_equal(bk_serve_workers_start(s), BECKON_OK);
    bk_serve_workers_go(s->workers);
    return s;
}

#endif
