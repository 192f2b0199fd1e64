/* Questions to the shell's store that have no answer yet. A number is never used twice: its upper half
 * is a serial, its lower half the place in the table. */
#include "core/server/state.h"

#include <string.h>

uint32_t bk_server_query_start(struct bk_server *s, enum bk_server_query_kind kind, uint32_t stream,
                               const uint8_t txid[BK_STUN_TXID_BYTES])
{
    struct bk_server_stream *t = &s->streams[stream];
    if (kind != BK_QUERY_CONNECT && t->n_queries >= BK_SERVER_PER_STREAM_MAX) {
        return 0;
    }
    uint32_t query = bk_pool_take(&s->query_pool);
    if (query == 0) {
        return 0;
    }
    struct bk_server_query *q = &s->queries[query];
    *q = (struct bk_server_query){
        .number = (uint64_t)++s->query_serial << 32 | query,
        .kind = kind,
        .stream = t->number,
    };
    memcpy(q->txid, txid, sizeof q->txid);
    t->n_queries += kind != BK_QUERY_CONNECT;
    return query;
}

bool bk_server_query_end(struct bk_server *s, uint64_t number, struct bk_server_query *out)
{
    uint32_t query = (uint32_t)number;
    if (query == 0 || query > s->query_pool.high || s->queries[query].number != number) {
        return false;
    }
    *out = s->queries[query];
    s->queries[query] = (struct bk_server_query){0};
    bk_pool_give(&s->query_pool, query);
    uint32_t stream = bk_server_stream(s, out->stream);
    if (stream != 0 && out->kind != BK_QUERY_CONNECT) {
        s->streams[stream].n_queries--;
    }
    return true;
}
